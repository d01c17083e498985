"""``python -m benchmarks``: compare this package with its peers.

``layers`` takes a load apart, ``near-cache`` measures what a cache in each process would be worth,
``sizing`` what an operator has to plan for, ``masters`` what each further master of a cluster adds;
``plan`` makes the plans in a page anew, from the figures that stand there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import django
from django.core.management import call_command
from django.db import connections

from benchmarks import (
    environment,
    event_loop,
    layers,
    masters,
    memory,
    near_cache,
    one_by_one,
    plan,
    plan_tables,
    report,
    sizing,
    whole_requests,
)
from benchmarks.contenders import ALL, Contender
from benchmarks.measuring import Rounds
from tests.servers import RedisServer

#: What is measured by itself, and how its server is reached.
ALONE = {
    "layers": "on a unix socket",
    "near-cache": "on a unix socket",
    "sizing": "over TCP on the same machine",
    "masters": "over TCP on the same machine",
}
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
    made.add_argument("what", nargs="?", choices=["compare", *ALONE, "plan"], default="compare")
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
    if given.what == "plan":
        return replan(given.markdown)
    # Ended by a signal, the servers are stopped as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if given.server:
        os.environ["REDIS_SERVER"] = given.server
    with tempfile.TemporaryDirectory(prefix="drs-bench-") as directory, RedisServer() as server:
        os.environ["BENCHMARK_SOCKET"] = server.socket
        os.environ["BENCHMARK_DIRECTORY"] = directory
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        with server.client() as client:
            facts = environment.environment(
                client.info("server"), reached=ALONE.get(given.what, "on a unix socket")
            )
        print(*environment.lines(facts), "", sep="\n", flush=True)
        try:
            set_up()
            if given.what in ALONE:
                made = alone(given, server.socket)
                result: dict[str, Any] = {
                    "environment": facts,
                    given.what: [asdict(table) for table in made],
                }
            else:
                result = {"environment": facts, **compare(given, server.socket, Path(directory))}
                made = report.tables(result, {contender.name: contender.label for contender in ALL})
        except KeyboardInterrupt:
            progress("")("stopped")
            return 130
    planned = plans({table.title: table.rows for table in made}) if given.what == "sizing" else []
    if planned:
        result["plan"] = [asdict(table) for table in planned]
    for table in (*made, *planned):
        print(table.text())
    if given.markdown:
        page = given.markdown.read_text() if given.markdown.exists() else ""
        texts = {
            given.what: "\n".join([*(f"- {line}" for line in environment.lines(facts)), "", _markdown(made)])
        }
        if planned:
            texts["plan"] = _markdown(planned)
        given.markdown.write_text(report.all_placed(page, texts))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1, ensure_ascii=False))
    return 0


def set_up() -> None:
    """Django, with its tables in a new database."""
    django.setup()
    call_command("migrate", verbosity=0)


def alone(given: argparse.Namespace, path: str) -> list[report.Table]:
    """The tables of what is measured by itself."""
    match given.what:
        case "layers":
            return [layers.measure(path, rounds=given.rounds or (5 if given.quick else 25))]
        case "near-cache":
            return [near_cache.measure(path)]
        case "sizing":
            return sizing.measure(sizing.QUICK if given.quick else sizing.Extent(), progress("sizing"))
        case _:
            return masters.measure(masters.QUICK if given.quick else masters.Extent(), progress("masters"))


def replan(page: Path | None) -> int:
    """Make the plans in a page of figures anew."""
    if page is None:
        raise SystemExit("Which page has the figures? --markdown names it.")
    text = page.read_text()
    tables = plans({title: report.rows_of(text, title) for title in plan.TITLES})
    for table in tables:
        print(table.text())
    page.write_text(report.placed(text, "plan", _markdown(tables)))
    return 0


def plans(rows: Mapping[str, Sequence[Sequence[str]]]) -> list[report.Table]:
    """What follows from figures as they are shown, so that whoever reads them can follow."""
    return plan_tables.plan_tables(plan.Figures.read(rows))


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


def _markdown(tables: Sequence[report.Table]) -> str:
    return "\n".join(table.markdown() for table in tables)


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
