"""What does a visitor notice when a master of a cluster hands over to its replica, as in a rolling upgrade?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from threading import Event, Thread
from time import perf_counter, sleep

from benchmarks.contenders import THIS
from benchmarks.report import Table, shown
from benchmarks.sizing_servers import sessions_at
from django_redis_sessions import conf
from django_redis_sessions.errors import SessionStoreError
from tests.servers import RedisServer
from tests.topologies import Cluster, until

#: Seconds of saving before and after.
_CALM = 0.3


@dataclass(slots=True)
class Saves:
    """What became of saves that followed each other without a pause: longest wait in seconds, and errors."""

    longest: float = 0.0
    errors: int = 0
    over: Event = field(default_factory=Event)

    def go_on(self, session_key: str) -> None:
        """Save until it is over."""
        last = perf_counter()
        while not self.over.is_set():
            session = THIS.session_store()(session_key)
            try:
                session["at"] = last
                session.save()
            except SessionStoreError:
                self.errors += 1
                continue
            now = perf_counter()
            self.longest, last = max(self.longest, now - last), now


def measure(times: int, progress: Callable[[str], object]) -> Table:
    """How long saves wait, and whether they fail; so many failovers, to and fro."""
    progress("a cluster, for failovers on command")
    calm, handing = Saves(), []
    with Cluster() as cluster, sessions_at(cluster.url):
        session = THIS.session_store()()
        session["at"] = 0
        session.create()
        record = conf.store().keys.record(session.session_key)
        for _ in range(times):
            _during(calm, session.session_key, lambda: sleep(2 * _CALM))
            saves = Saves()
            _during(saves, session.session_key, lambda: _hand_over(cluster, record))
            handing.append(saves)
    return Table(
        "A failover on command",
        "`python -m benchmarks sizing` saves one session after the other on a cluster of three masters and three "
        f"replicas, while `CLUSTER FAILOVER` makes a master and its replica change places, {times} times.",
        ["", "measured", "read from"],
        [
            [
                "longest wait for a save, ms",
                shown(median(each.longest for each in handing) * 1e3),
                "the clock",
            ],
            ["– without a failover", shown(calm.longest * 1e3), "the clock"],
            ["saves that failed", f"{sum(each.errors for each in handing)}", "`SessionStoreError`"],
        ],
    )


def _during(saves: Saves, session_key: str | None, act: Callable[[], object]) -> None:
    assert session_key is not None
    saves.over.clear()
    thread = Thread(target=saves.go_on, args=[session_key])
    thread.start()
    try:
        act()
    finally:
        saves.over.set()
        thread.join()


def _hand_over(cluster: Cluster, record: str) -> None:
    sleep(_CALM)
    master = cluster.master_of(record)
    replica = _replica_of(cluster, master)
    with replica.client() as client:
        client.execute_command("CLUSTER", "FAILOVER")
        until(lambda: client.info("replication")["role"] == "master")
    with master.client() as client:
        until(lambda: client.info("replication").get("master_link_status") == "up")
    sleep(_CALM)


def _replica_of(cluster: Cluster, master: RedisServer) -> RedisServer:
    with master.client() as client:
        return cluster.at(int(client.info("replication")["slave0"]["port"]))
