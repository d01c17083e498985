"""Which servers are measured for a plan, and how is one reached?

On loopback and not on a unix socket, because a network costs a server CPU too.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

from django.test import override_settings

from benchmarks.accounts import information
from benchmarks.traffic import RawConnection
from tests.servers import RedisServer, free_port
from tests.topologies import until

#: A ping to a replica would be counted as what was replicated, and a rewrite that nobody asked for as well.
_OPTIONS = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "3600")
_OPTIONS += ("--auto-aof-rewrite-percentage", "0", "--client-output-buffer-limit", "replica 0 0 0")
_APPENDING = ("--appendonly", "yes", "--appendfsync", "everysec")


def server(*, is_appending: bool = False, primary: RedisServer | None = None) -> RedisServer:
    """A server that is not started yet, and will be a replica of ``primary``."""
    options = [*_OPTIONS, *(_APPENDING if is_appending else ())]
    if primary is not None:
        options += ["--replicaof", f"127.0.0.1 {primary.port}"]
    return RedisServer(*options, port=free_port())


def connected(to: RedisServer) -> closing[RawConnection]:
    """A connection past the package, for as long as a block lasts."""
    return closing(RawConnection(to.socket))


def sessions_on(there: RedisServer, **options: Any) -> override_settings:
    """Keeps this process's sessions there, for as long as a block lasts."""
    return sessions_at(there.url, **options)


def sessions_at(url: str, **options: Any) -> override_settings:
    """The same by URL; on a machine at its limits, a late reply is no outage."""
    return override_settings(SESSION_REDIS={"URL": url, "TIMEOUT": 30, **options})


def await_sync(replica: RedisServer, primary: RedisServer) -> None:
    """Return when a replica has all that its primary has."""
    with connected(replica) as follower, connected(primary) as leader:
        until(lambda: _is_in_sync(follower, leader), seconds=600)


def _is_in_sync(follower: RawConnection, leader: RawConnection) -> bool:
    try:
        there = information(follower)
    except Exception as error:
        if "LOADING" in str(error):
            return False
        raise
    here = information(leader)
    return (
        there.get("master_link_status") == "up" and there["slave_repl_offset"] == here["master_repl_offset"]
    )
