#!/usr/bin/env python3
"""Copy this checkout without the package itself, so that tests run there can only import the installed wheel.

``stage_tests.py DESTINATION``
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = {"django_redis_sessions", "build", "dist", "__pycache__"}


def not_staged(folder: str, names: list[str]) -> set[str]:
    """What stays behind: hidden folders and made things everywhere, the package at the top."""
    if Path(folder) == ROOT:
        return {name for name in names if name in LEFT_OUT or name.startswith(".")}
    return {name for name in names if name == "__pycache__"}


def main() -> None:
    destination = Path(sys.argv[1])
    shutil.rmtree(destination, ignore_errors=True)
    shutil.copytree(ROOT, destination, ignore=not_staged)


if __name__ == "__main__":
    main()
