#!/usr/bin/env python3
"""Print the folder with the tests of the Django that is installed, as its source distribution on PyPI has them.

Wheels leave them out. Needs pip and Django in the running interpreter.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from cache import fetch_once


def fetch(folder: Path, django_version: str) -> None:
    with tempfile.TemporaryDirectory() as download:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
                *("--no-deps", "--no-binary", ":all:", "--dest", download, f"django=={django_version}"),
            ],
            check=True,
            stdout=sys.stderr,
        )
        (archive,) = Path(download).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            # Python 3.11.2 of Debian 12 has no filters yet.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(folder)  # noqa: S202 - PyPI's file of Django


def main() -> None:
    django_version = version("django")
    folder = fetch_once(f"django-{django_version}", lambda folder: fetch(folder, django_version))
    (tests,) = folder.glob("*/tests")
    print(tests)


if __name__ == "__main__":
    main()
