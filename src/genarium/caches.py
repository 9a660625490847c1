"""Where what is built once a machine is kept."""

import os
import sys
from pathlib import Path


def folder(name: str) -> Path:
    """Return the folder of one kind of thing, which need not exist.

    Parameters
    ----------
    name : str
        "stan" for Stan's toolchain and programs, "compiled" for densities.

    Returns
    -------
    Path
        ``genarium/<name>`` in ``$XDG_CACHE_HOME``, or else in the platform's place for a user's caches.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    if root:
        base = Path(root)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base.absolute() / "genarium" / name
