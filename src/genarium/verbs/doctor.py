"""Doctor: what of this machine genarium can use, and what is missing."""

import os
import platform
import re
from importlib import metadata
from typing import Any

from genarium import caches
from genarium.tree import RECORDED

FOR_DEVELOPERS = ("dev", "peers")
"""Extras that no user needs."""


def doctor() -> dict[str, Any]:
    """Return what a report of a problem should hold, and what this machine lacks.

    Returns
    -------
    dict
        ``genarium``, ``python``, ``platform`` (text); ``cores`` (that this process may use); ``packages`` (name to
        version, or None); ``extras`` (name to the packages of it that are not installed); ``stan`` (of
        ``genarium stan status``: ``version`` and ``source`` of what is used, or the ``problem``); ``caches`` (folder to
        bytes).
    """
    from genarium.engines.cmdstan import status

    stan: Any = status()
    used = stan["selected"] or {}
    folders = [caches.folder(name) for name in ("stan", "compiled")]
    return {
        "genarium": _version("genarium"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": {name: _version(name) for name in RECORDED if name != "genarium"},
        "extras": _extras(),
        "stan": {key: used.get(key) for key in ("version", "source")} | {"problem": stan["problem"]},
        "caches": {
            str(one): sum(file.stat().st_size for file in one.rglob("*") if file.is_file() and not file.is_symlink())
            for one in folders
        },
    }


def as_text(told: dict[str, Any]) -> str:
    """Lay it out for people, with the command that mends what is missing."""
    lines = [f"genarium {told['genarium']}, Python {told['python']}, {told['platform']}, {told['cores']} cores"]
    lines.append(
        "packages: " + ", ".join(f"{name} {version or 'absent'}" for name, version in told["packages"].items())
    )
    for extra, lacking in told["extras"].items():
        state = f"without {', '.join(lacking)}: pip install 'genarium[{extra}]'" if lacking else "installed"
        lines.append(f"extra {extra}: {state}")
    stan = told["stan"]
    lines.append(f"Stan: {stan['problem'] or '{} ({})'.format(stan['version'], stan['source'])}")
    lines += [f"cache: {folder}, {size / 1e6:,.0f} MB" for folder, size in told["caches"].items()]
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _extras() -> dict[str, list[str]]:
    """Return the packages of every extra for users that are not installed here."""
    out: dict[str, list[str]] = {}
    for line in metadata.requires("genarium") or []:
        found = re.match(r"([\w.-]+).*;.*extra == ['\"](\w+)['\"]", line)
        if found is None or found[2] in FOR_DEVELOPERS:
            continue
        lacking = out.setdefault(found[2], [])
        if _version(found[1]) is None and found[1] not in lacking:
            lacking.append(found[1])
    return out
