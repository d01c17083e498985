"""Do operations per second grow with the masters of a cluster? ``python -m benchmarks masters``.

Compares a cluster of three masters with one of a single master, without replicas. On a machine with
few cores the clients, and more servers than there are cores, are in each other's way; so besides
operations per second it looks at the CPU that each master takes for each operation of the whole
site: what a master has to do is what limits a cluster that has cores enough. What is calculated
from that is called calculated.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.accounts import account
from benchmarks.contenders import THIS
from benchmarks.content import TYPICAL
from benchmarks.masters_clients import Done, Job
from benchmarks.measuring import rotated
from benchmarks.report import Table, shown
from benchmarks.sizing_servers import connected, sessions_at
from tests.topologies import Cluster

#: How many masters the two clusters have.
FEW, MORE = 1, 3
#: The ways to ask, and by how many processes.
PROCESSES = {"store": 4, "prepared": 1}
OPERATIONS = ("load", "load + save")
#: For so many masters it is calculated what they can do.
CALCULATED = (1, 3, 10, 30, 100)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    sessions: int = 6_000
    seconds: float = 1.0
    rounds: int = 9


QUICK = Extent(sessions=600, seconds=0.1, rounds=1)


@dataclass(frozen=True, slots=True)
class Round:
    """One operation, asked of one cluster for a while."""

    per_second: float
    #: Microseconds of CPU for each operation of the site: of each master, and of all clients.
    masters_us: Sequence[float]
    clients_us: float
    #: Of all calls, the share of each master.
    shares: Sequence[float]


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster, the keys of its sessions, and the processes that ask."""

    cluster: Cluster
    session_keys: Sequence[str]

    def ask(self, way: str, operation: str, clients: Sequence[Client], seconds: float) -> Round:
        """One round."""
        servers = self.cluster.servers
        jobs = [
            Job(
                way,
                operation,
                self.cluster.url,
                [server.port for server in servers],
                self.session_keys[number :: len(clients)],
                seconds,
            )
            for number in range(len(clients))
        ]
        with ExitStack() as stack:
            connections = [stack.enter_context(connected(server)) for server in servers]
            for client, job in zip(clients, jobs, strict=True):
                client.tell(json.dumps(asdict(job)))
            for client in clients:
                client.hear()
            before = [account(connection) for connection in connections]
            for client in clients:
                client.tell("go")
            done = [Done(**json.loads(client.hear())) for client in clients]
            spent = [
                account(connection).since(then) for connection, then in zip(connections, before, strict=True)
            ]
        number = sum(each.operations for each in done)
        calls = [each.calls_of("get") for each in spent]
        return Round(
            per_second=sum(each.operations / each.seconds for each in done),
            masters_us=[each.cpu / number * 1e6 for each in spent],
            clients_us=sum(each.cpu for each in done) / number * 1e6,
            shares=[each / sum(calls) for each in calls],
        )


class Client:
    """A process that asks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.masters_clients"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        """Say something to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        """What it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("A client gave up.")
        return line

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def measure(extent: Extent, progress: Callable[[str], object]) -> list[Table]:
    """What was measured, and what is calculated from it."""
    found: dict[tuple[str, str, int], list[Round]] = {}
    with ExitStack() as stack:
        sites = {}
        for number in (FEW, MORE):
            progress(f"masters: {number}")
            sites[number] = stack.enter_context(_site(number, extent.sessions))
        clients = [Client() for _ in range(max(PROCESSES.values()))]
        for client in clients:
            stack.callback(client.stop)
        cases = [(way, operation) for way in PROCESSES for operation in OPERATIONS]
        for turn in range(extent.rounds):
            progress(f"round {turn + 1} of {extent.rounds}")
            for way, operation in rotated(cases, turn):
                for number in rotated([FEW, MORE], turn):
                    taken = sites[number].ask(way, operation, clients[: PROCESSES[way]], extent.seconds)
                    found.setdefault((way, operation, number), []).append(taken)
    return [_measured(found), _calculated(found)]


@contextmanager
def _site(masters: int, sessions: int) -> Iterator[Site]:
    with Cluster(masters=masters, are_replicated=False) as cluster:
        with sessions_at(cluster.url):
            session_keys = asyncio.run(_created(sessions))
        yield Site(cluster, session_keys)


async def _created(number: int) -> list[str]:
    """Keys of so many new sessions, each of which has been saved: so every master knows the script."""
    store, users = THIS.session_store(), iter(range(number))
    made = []

    async def create() -> None:
        for user in users:
            session = store()
            await session.aupdate(TYPICAL | {"_auth_user_id": str(100_000 + user)})
            await session.acreate()
            await session.aset("visits", 2)
            await session.asave()
            made.append(str(session.session_key))

    await asyncio.gather(*(create() for _ in range(100)))
    return made


_LABELS = {"store": "the session store", "prepared": "prepared commands"}


def _measured(found: dict[tuple[str, str, int], list[Round]]) -> Table:
    rows = []
    for way, processes in PROCESSES.items():
        for operation in OPERATIONS:
            few, more = found[way, operation, FEW], found[way, operation, MORE]
            clients = f"{processes} process" + ("es" if processes > 1 else "")
            rows += [
                _row(
                    f"`{operation}` by {_LABELS[way]}, {clients}: a second", few, more, lambda r: r.per_second
                ),
                _row("– CPU of the clients, µs", few, more, lambda r: r.clients_us),
                _row("– CPU of all masters, µs", few, more, lambda r: sum(r.masters_us)),
            ]
            # Whoever sends prepared commands sends more to the master that answers sooner.
            if way == "store":
                rows += [
                    _row("– share of the busiest master", few, more, lambda r: max(r.shares)),
                    _row("– CPU of the busiest master, µs", few, more, lambda r: max(r.masters_us)),
                ]
    return Table(
        "Three masters against one",
        "`python -m benchmarks masters`, medians over rounds in which both clusters were asked in turn; the ratio is "
        "the median of the rounds' ratios.\nCPU is that of `used_cpu_user` and `used_cpu_sys`, and of the clients' "
        "processes, for one operation of the whole site.",
        ["", f"{FEW} master", f"{MORE} masters", "ratio"],
        rows,
    )


def _row(
    label: str, few: Sequence[Round], more: Sequence[Round], figure: Callable[[Round], float]
) -> list[str]:
    here, there = [figure(each) for each in few], [figure(each) for each in more]
    ratio = median(b / a for a, b in zip(here, there, strict=True))
    return [label, shown(median(here)), shown(median(there)), f"{ratio:.2f}"]


def _calculated(found: dict[tuple[str, str, int], list[Round]]) -> Table:
    rows = []
    for masters in CALCULATED:
        row = [f"{masters}"]
        for way in PROCESSES:
            for operation in OPERATIONS:
                asked = found[way, operation, min(masters, MORE)]
                cost = median(sum(each.masters_us) for each in asked)
                row.append(shown(masters * 1e6 / cost))
        rows.append(row)
    return Table(
        "What masters could do",
        "Calculated, not measured: operations a second, if each master has a core of its own that is busy all the "
        "time, an equal share of the operations, and needs for one of them the CPU that was measured with one master "
        f"or, in all other rows, with {MORE}.",
        ["masters", *(f"`{operation}`, {_LABELS[way]}" for way in PROCESSES for operation in OPERATIONS)],
        rows,
    )
