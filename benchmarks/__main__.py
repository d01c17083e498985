"""``python -m benchmarks``: compare this package with its peers.

``layers`` takes a load apart, ``near-cache`` measures what a cache in each process would be worth.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import django
from django.core.management import call_command
from django.db import connections

from benchmarks import environment, event_loop, layers, memory, near_cache, one_by_one, report, whole_requests
from benchmarks.contenders import ALL, Contender
from benchmarks.measuring import Rounds
from tests.servers import RedisServer

PARTS = ("sync", "memory", "async", "http")
#: Seconds for the rounds of each part; warming up comes on top.
SECONDS = {"sync": 75.0, "async": 45.0, "http": 55.0}
QUICK_SECONDS = {"sync": 6.0, "async": 4.0, "http": 5.0}
#: A batch takes at least so many seconds.
BATCH = 0.02
QUICK_BATCH = 0.004
#: For so long a site is asked in each round.
VISIT = 0.5
QUICK_VISIT = 0.2


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("what", nargs="?", choices=["compare", "layers", "near-cache"], default="compare")
    made.add_argument(
        "--only", metavar="PARTS", type=_parts, default=PARTS, help="words of " + ",".join(PARTS)
    )
    made.add_argument("--cases", metavar="START", default="", help="sync cases whose names begin so")
    made.add_argument("--quick", action="store_true", help="few rounds, to try it out; the figures are rough")
    made.add_argument("--rounds", type=int, help="exactly so many rounds, however long they take")
    made.add_argument("--server", metavar="PATH", help="the server program to run, as REDIS_SERVER has it")
    made.add_argument(
        "--markdown", metavar="FILE", type=Path, help="write the tables, into their place if FILE has one"
    )
    made.add_argument("--json", metavar="FILE", type=Path, help="write everything that was measured")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 if nothing was measured."""
    given = parser().parse_args(arguments)
    # Ended by a signal, the servers are stopped as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if given.server:
        os.environ["REDIS_SERVER"] = given.server
    with tempfile.TemporaryDirectory(prefix="drs-bench-") as directory, RedisServer() as server:
        os.environ["BENCHMARK_SOCKET"] = server.socket
        os.environ["BENCHMARK_DIRECTORY"] = directory
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        with server.client() as client:
            facts = environment.environment(client.info("server"))
        print(*environment.lines(facts), "", sep="\n", flush=True)
        try:
            set_up()
            if given.what == "layers":
                made = [layers.measure(server.socket, rounds=given.rounds or (5 if given.quick else 25))]
                result: dict[str, Any] = {"environment": facts, "layers": [asdict(table) for table in made]}
            elif given.what == "near-cache":
                made = [near_cache.measure(server.socket)]
                result = {"environment": facts, "near-cache": [asdict(table) for table in made]}
            else:
                result = {"environment": facts, **compare(given, server.socket, Path(directory))}
                made = report.tables(result, {contender.name: contender.label for contender in ALL})
        except KeyboardInterrupt:
            progress("")("stopped")
            return 130
    for table in made:
        print(table.text())
    if given.markdown:
        facts_listed = [f"- {line}" for line in environment.lines(facts)]
        text = "\n".join([*facts_listed, "", *(table.markdown() for table in made)])
        page = given.markdown.read_text() if given.markdown.exists() else ""
        given.markdown.write_text(report.placed(page, given.what, text))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1, ensure_ascii=False))
    return 0


def set_up() -> None:
    """Django, with its tables in a new database."""
    django.setup()
    call_command("migrate", verbosity=0)


def compare(given: argparse.Namespace, path: str, directory: Path) -> dict[str, Any]:
    """What each part found out."""
    contenders = taking_part()
    seconds = QUICK_SECONDS if given.quick else SECONDS
    least = QUICK_BATCH if given.quick else BATCH

    def rounds(part: str) -> Rounds:
        if given.rounds:
            return Rounds(0, least=given.rounds)
        return Rounds(seconds[part], least=1 if given.quick else 3)

    result: dict[str, Any] = {}
    if "memory" in given.only:
        result["memory"] = memory.measure(contenders, path)
    if "sync" in given.only:
        cases = [case for case in one_by_one.CASES if case.name.startswith(given.cases)]
        if given.quick and not given.cases:
            cases = [case for case in cases if not case.is_of_a_size]
        result["sync"] = one_by_one.measure(
            contenders, path, cases=cases, rounds=rounds("sync"), least=least, progress=progress("sync")
        )
    if "async" in given.only:
        result["async"] = event_loop.measure(
            contenders,
            path,
            cases=[case for case in event_loop.CASES if not given.quick or case.concurrent != 10],
            rounds=rounds("async"),
            least=least,
            progress=progress("async"),
        )
    if "http" in given.only:
        result["http"] = whole_requests.measure(
            contenders,
            directory,
            rounds=rounds("http"),
            seconds=QUICK_VISIT if given.quick else VISIT,
            progress=progress("http"),
        )
    _close_databases()
    progress("")("done")
    return result


def taking_part() -> list[Contender]:
    """Those that are installed; who is not is named."""
    for contender in ALL:
        if not contender.is_installed:
            print(f"Left out, since {contender.needs} is not installed: {contender.label}", file=sys.stderr)
    return [contender for contender in ALL if contender.is_installed]


def progress(part: str) -> Callable[[str], None]:
    """Tells on stderr what is being done, in one line that is written over on a terminal."""

    def tell(text: str) -> None:
        line = f"{monotonic() - _start:4.0f} s  {part} {text}"
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            print(
                "\r" + line[:width].ljust(width),
                end="\n" if text == "done" else "",
                file=sys.stderr,
                flush=True,
            )
        else:
            print(line, file=sys.stderr, flush=True)

    return tell


_start = monotonic()


def _close_databases() -> None:
    connections.close_all()


def _parts(text: str) -> tuple[str, ...]:
    words = tuple(text.split(","))
    for word in words:
        if word not in PARTS:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(PARTS)}")
    return words


if __name__ == "__main__":
    sys.exit(main())
