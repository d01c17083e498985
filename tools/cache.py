"""Where do this project's tools keep what they fetched?"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    """The folder shared by all checkouts of one user; exists when this returns.

    A machine without a usable home (an empty container) gets a folder under its temporary directory.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    for parent in (Path(base), Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"):
        folder = parent / "django-redis-sessionstore"
        # A "~" that could not be expanded would be a folder of that name here.
        if not parent.is_absolute():
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise SystemExit("There is no folder to keep downloads in; set XDG_CACHE_HOME.")


def fetch_once(name: str, fetch: Callable[[Path], None]) -> Path:
    """The folder `name` in the cache, filled by `fetch` the first time.

    It appears complete or not at all, so an interrupted or a parallel run leaves nothing half-done behind.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    unfinished = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=folder.parent))
    try:
        fetch(unfinished)
        unfinished.chmod(0o755)
        try:
            unfinished.rename(folder)
        except OSError:
            # Another run was faster; its folder is as good.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder
