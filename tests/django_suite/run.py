#!/usr/bin/env python3
"""Run Django's own session tests with this engine.

They come from the source distribution of the installed Django: from DJANGO_TESTS, its `tests` folder, else fetched by
tools/fetch_django_tests.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FETCH = HERE.parents[1] / "tools/fetch_django_tests.py"


def tests_of_django() -> str:
    given = os.environ.get("DJANGO_TESTS")
    if given:
        return given
    return subprocess.run(
        [sys.executable, FETCH], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-v", "--verbosity", type=int, default=1)
    parser.add_argument("-k", action="append", metavar="PATTERN")
    arguments = parser.parse_args()

    # Last, because Django's tests folder holds many a common name.
    sys.path.append(tests_of_django())
    os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

    import django
    from django.test.runner import DiscoverRunner

    import django_redis_sessions

    django.setup()
    print(
        f"Django {django.__version__}, engine from {Path(django_redis_sessions.__file__).parent}", flush=True
    )
    runner = DiscoverRunner(verbosity=arguments.verbosity, test_name_patterns=arguments.k)
    return runner.run_tests(["engine_tests"])


if __name__ == "__main__":
    sys.exit(bool(main()))
