"""Folders anywhere, imported as packages of this one under names that say where they lie.

``/home/me/my_model`` is the package ``genarium.folders._2fhome_2fme.my_model``: what stands in it can be pickled, and
any process on the same files can import it again. Nothing is imported from a folder but by that name.
"""

import os
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


def module_name(folder: Path) -> str:
    """Return the name under which a folder is imported.

    Parameters
    ----------
    folder : Path
        Absolute; its own name must be one that Python can import.
    """
    return f"{__name__}.{_encoded(str(folder.parent))}.{folder.name}"


def folder_of(module: str) -> Path | None:
    """Return the folder that a module's name says, or None if it is not one of these."""
    parts = module.removeprefix(f"{__name__}.").split(".")
    return Path(_decoded(parts[0]), parts[1]) if module.startswith(f"{__name__}.") and len(parts) > 1 else None


def _encoded(path: str) -> str:
    """Write a path as an identifier: letters and digits as they are, any other byte as ``_xx``."""
    kept = (chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"_{byte:02x}" for byte in os.fsencode(path))
    return "".join(kept)


def _decoded(text: str) -> str:
    """Read a path that :func:`_encoded` wrote."""
    return os.fsdecode(re.sub(rb"_([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode()))


class _Finder(MetaPathFinder):
    """Finds the folder above a model's as a package without sources; what lies in it is Python's own to find."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parent, _, last = fullname.rpartition(".")
        if parent != __name__ or _encoded(_decoded(last)) != last:
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [_decoded(last)]
        return spec


sys.meta_path.append(_Finder())
