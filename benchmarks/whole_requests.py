"""How many whole requests does a site serve, under gunicorn and under uvicorn?

One site for each contender and protocol, all started at the beginning and idle unless it is their
turn. Who asks is a process of its own (``visitors``).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any

from benchmarks.contenders import CACHED_DB, THIS, Contender
from benchmarks.measuring import Rounds, ratio, rotated
from benchmarks.visitors import Job

VISITORS = 16
THREADS = 4
PROTOCOLS = {"wsgi": "gunicorn", "asgi": "uvicorn"}
PAGES = {"reads and writes the session": "/count/", "does not touch it": "/untouched/"}

#: How long a site may take to answer its first request, in seconds.
PATIENCE = 120


@dataclass(slots=True)
class Round:
    """One site asked for one page for a while."""

    per_second: float
    p50_ms: float
    p99_ms: float
    #: Of the site's processes, for each request; None where the system does not say.
    cpu_ms: float | None


@dataclass(slots=True)
class Entry:
    """One contender's site, asked for one page."""

    contender: Contender
    protocol: str
    page: str
    site: Site
    rounds: list[Round] = field(default_factory=list)

    def measure(self, visitors: Visitors, seconds: float) -> Round:
        """One more round."""
        before = self.site.cpu()
        answer = visitors.perform(Job(self.site.socket, PAGES[self.page], VISITORS, seconds))
        after = self.site.cpu()
        requests = answer.pop("requests")
        spent = None if before is None or after is None else (after - before) * 1e3 / requests
        return Round(cpu_ms=spent, **answer)


class Site:
    """A server process with one contender's settings."""

    def __init__(self, contender: Contender, protocol: str, directory: Path) -> None:
        name = f"{protocol}-{contender.name}"
        self.socket = str(directory / f"{name}.sock")
        self._log = directory / f"{name}.log"
        environ = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "BENCHMARK_CONTENDER": contender.name,
            "BENCHMARK_PROTOCOL": protocol,
        }
        command = _gunicorn(self.socket, directory) if protocol == "wsgi" else _uvicorn(self.socket)
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command, "benchmarks.serving:application"],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def await_answer(self) -> None:
        """Return as soon as it answers."""
        deadline = monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or monotonic() > deadline:
                raise RuntimeError(f"A site did not start:\n{self._log.read_text()}")
            sleep(0.02)

    def cpu(self) -> float | None:
        """Seconds of CPU that the process and its workers have used; None where /proc does not say."""
        try:
            tick = os.sysconf("SC_CLK_TCK")
            # A gunicorn works in a child of the process that was started.
            return sum(_ticks(pid) for pid in (self._process.pid, *_children(self._process.pid))) / tick
        except OSError:
            return None

    def stop(self) -> None:
        """Ask the process to end, and end it if it does not."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(PATIENCE)
            try:
                probe.connect(self.socket)
                probe.sendall(b"GET /untouched/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return probe.recv(4096).startswith(b"HTTP/1.1 200")
            except OSError:
                return False


def _gunicorn(path: str, directory: Path) -> list[str]:
    options = ["--worker-class", "gthread", "--workers", "1", "--threads", str(THREADS)]
    options += ["--keep-alive", "75", "--log-level", "warning", "--worker-tmp-dir", str(directory)]
    known = {
        word for setting in import_module("gunicorn.config").KNOWN_SETTINGS for word in setting.cli or ()
    }
    if "--no-control-socket" in known:  # several gunicorns would quarrel about one in the home directory
        options.append("--no-control-socket")
    return ["gunicorn", "--bind", f"unix:{path}", *options]


def _uvicorn(path: str) -> list[str]:
    options = ["--no-access-log", "--log-level", "warning", "--lifespan", "off"]
    return ["uvicorn", "--uds", path, "--timeout-keep-alive", "75", *options]


class Visitors:
    """The process that asks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.visitors"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def perform(self, job: Job) -> dict[str, Any]:
        """What the visitors saw."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The visitors of {job.site} gave up.")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def _children(pid: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The program's name stands in parentheses and may hold anything.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile
        if parent == pid:
            yield int(stat.parent.name)


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@contextmanager
def sites(contenders: Sequence[Contender], directory: Path) -> Iterator[list[Entry]]:
    """Every site, running, with an entry for each of its pages."""
    with ExitStack() as stack:
        entries = []
        for protocol, program in PROTOCOLS.items():
            if find_spec(program) is None:
                continue
            for contender in contenders:
                site = Site(contender, protocol, directory)
                stack.callback(site.stop)
                entries += [Entry(contender, protocol, page, site) for page in PAGES]
        for entry in entries:
            entry.site.await_answer()
        yield entries


def measure(
    contenders: Sequence[Contender],
    directory: Path,
    *,
    rounds: Rounds,
    seconds: float,
    progress: Callable[[str], object],
) -> dict[str, Any]:
    """``{"wsgi: page": {contender: figures}}``; each site is asked for ``seconds`` in each round."""
    engines = [contender for contender in contenders if contender.engine and contender != CACHED_DB]
    progress("starting the sites")
    with ExitStack() as stack:
        entries = stack.enter_context(sites(engines, directory))
        visitors = Visitors()
        stack.callback(visitors.stop)
        progress("warming up")
        for entry in entries:
            entry.measure(visitors, min(seconds, 0.2))
        cases: dict[str, list[Entry]] = {}
        for entry in entries:
            cases.setdefault(f"{entry.protocol}: {entry.page}", []).append(entry)
        for turn in rounds:
            progress(f"round {turn + 1}")
            for case in cases.values():
                for entry in rotated(case, turn):
                    entry.rounds.append(entry.measure(visitors, seconds))
    return {name: _compared(case) for name, case in cases.items()}


def _compared(case: list[Entry]) -> dict[str, Any]:
    (ours,) = (entry.rounds for entry in case if entry.contender == THIS)
    return {entry.contender.name: _figures(entry.rounds, ours) for entry in case}


def _figures(rounds: list[Round], ours: list[Round]) -> dict[str, Any]:
    cpu = [one.cpu_ms for one in rounds if one.cpu_ms is not None]
    return {
        "per_second": round(median(one.per_second for one in rounds), 1),
        "ratio": ratio([one.per_second for one in ours], [one.per_second for one in rounds]),
        "p50_ms": round(median(one.p50_ms for one in rounds), 3),
        "p99_ms": round(median(one.p99_ms for one in rounds), 3),
        # The system counts in hundredths of a second, so the mean of all rounds says more than a median.
        "cpu_ms": round(sum(cpu) / len(cpu), 4) if cpu else None,
        "rounds_per_second": [round(one.per_second, 1) for one in rounds],
    }
