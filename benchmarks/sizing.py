"""What does a session cost a server, in every currency that an operator pays in? ``python -m benchmarks sizing``.

Starts servers of its own, on loopback. Where it can, it reads what does not depend on who else is at
work on the machine: bytes, counts and seconds of CPU, as ``INFO`` has them. What has to be timed is
timed on the clock, and a busy machine makes it longer. ``plan`` makes plans of the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib.auth import user_logged_in

from benchmarks import sizing_bulk, sizing_failover, sizing_requests, sizing_sessions
from benchmarks.report import Table


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    #: Sessions of each kind whose memory is taken.
    stored: int = 100_000
    #: Visits to each page in each round.
    visits: int = 400
    rounds: int = 7
    #: Sessions on the server that is written to files, followed and emptied, how many are moved, and how often.
    bulk: int = 1_000_000
    moved: int = 100_000
    repetitions: int = 5
    failovers: int = 8


QUICK = Extent(stored=300, visits=10, rounds=1, bulk=20_000, moved=1_000, repetitions=1, failovers=1)


def measure(extent: Extent, progress: Callable[[str], object]) -> list[Table]:
    """The tables of figures, of which ``plan`` makes plans."""
    # Whether the user exists is the database's affair.
    user_logged_in.disconnect(dispatch_uid="update_last_login")
    sessions = sizing_sessions.measure(extent.stored, progress)
    requests, commands = sizing_requests.measure(extent.visits, extent.rounds, progress)
    server = sizing_bulk.measure(extent.bulk, extent.moved, extent.repetitions, progress)
    failover = sizing_failover.measure(extent.failovers, progress)
    return [sessions, requests, commands, server, failover]
