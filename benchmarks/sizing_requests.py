"""What does a request cost the server, the site and whoever follows the server?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import cache
from statistics import median
from time import process_time

from django.core.handlers.wsgi import WSGIHandler

from benchmarks.accounts import Account, account
from benchmarks.direct_visits import DirectVisitor
from benchmarks.measuring import rotated, undisturbed
from benchmarks.report import Table, shown
from benchmarks.sizing_servers import await_sync, connected, server, sessions_on
from benchmarks.traffic import Counter, Traffic
from tests.servers import RedisServer

#: The pages, by what their views do.
PAGES = {
    "leaves it alone": "/untouched/",
    "reads": "/read/",
    "changes": "/change/",
    "begins": "/browse/",
    "signs in": "/sign-in/",
    "signs out": "/sign-out/",
}
#: What a visitor has to have asked for before.
BEFORE = {
    "leaves it alone": ("/browse/", "/sign-in/"),
    "reads": ("/browse/", "/sign-in/"),
    "changes": ("/browse/", "/sign-in/"),
    "begins": (),
    "signs in": ("/browse/",),
    "signs out": ("/browse/", "/sign-in/"),
}


@dataclass(slots=True)
class Costs:
    """What the visits to one page cost, round by round."""

    visits: int
    accounts: list[Account] = field(default_factory=list)
    traffic: list[Traffic] = field(default_factory=list)
    site: list[float] = field(default_factory=list)

    def each(self, cost: Callable[[Account], float]) -> float:
        """For one visit, the median of the rounds."""
        return median(cost(found) for found in self.accounts) / self.visits

    @property
    def server_us(self) -> float:
        """The server's CPU for one visit."""
        return self.each(lambda found: found.cpu) * 1e6

    @property
    def site_us(self) -> float:
        """This process's CPU for one visit."""
        return median(self.site) / self.visits * 1e6

    def command_us(self, name: str) -> float:
        """How long one call of a command takes."""
        found = [one.commands[name] for one in self.accounts]
        return median(one.us / one.calls for one in found)


def measure(visits: int, rounds: int, progress: Callable[[str], object]) -> tuple[Table, Table]:
    """A row for each page, and one for each command; so many visits to each page in each round."""
    said = {}
    with ExitStack() as stack:
        alone = stack.enter_context(server())
        primary = stack.enter_context(server(is_appending=True))
        replica = stack.enter_context(server(primary=primary))
        await_sync(replica, primary)
        with sessions_on(alone):
            for page in PAGES:
                said[page] = _said(alone, page)
        found = {there: {page: Costs(visits) for page in PAGES} for there in (alone, primary)}
        for turn in range(rounds):
            progress(f"requests, round {turn + 1} of {rounds}")
            for page in rotated(list(PAGES), turn):
                for there in rotated([alone, primary], turn):
                    with sessions_on(there):
                        _visit(there, page, found[there][page])
    return _pages_table(found[alone], found[primary], said), _commands_table(found[alone], found[primary])


def _pages_table(alone: Mapping[str, Costs], backed: Mapping[str, Costs], said: Mapping[str, str]) -> Table:
    rows = []
    for page in PAGES:
        traffic = alone[page].traffic
        rows.append(
            [
                page,
                said[page] or "–",
                _whole(median(each.round_trips for each in traffic)),
                _whole(median(each.bytes_sent for each in traffic)),
                _whole(median(each.bytes_received for each in traffic)),
                shown(alone[page].server_us),
                shown(backed[page].server_us),
                shown(alone[page].site_us),
                _whole(backed[page].each(lambda found: found.replicated)),
                _whole(backed[page].each(lambda found: found.appended)),
            ]
        )
    return Table(
        "A request",
        "`python -m benchmarks sizing` calls Django's WSGI handler with our middleware, as a web server does, one "
        "visitor after the other.\n"
        "The commands are from `MONITOR`, round trips and bytes to and from Redis from `INFO stats`, the server's "
        "CPU, by itself and with an append-only file (`everysec`) and one replica, from `used_cpu_user` and "
        "`used_cpu_sys`, bytes replicated from `master_repl_offset`, bytes appended from `aof_current_size`.\n"
        "The site's CPU is that of the process.",
        [
            "a view that",
            "commands",
            "round trips",
            "bytes to Redis",
            "bytes from it",
            "server's CPU, µs",
            "with file and replica, µs",
            "site's CPU, µs",
            "bytes replicated",
            "bytes appended",
        ],
        rows,
    )


def _whole(value: float) -> str:
    """A count without its fraction: now and then a key that expires is deleted while somebody else asks."""
    return f"{value:,.0f}" if round(value) else "–"


def _commands_table(alone: Mapping[str, Costs], backed: Mapping[str, Costs]) -> Table:
    rows = []
    for page, name in (
        ("reads", "get"),
        ("changes", "evalsha"),
        ("begins", "set"),
        ("signs in", "evalsha"),
        ("signs out", "evalsha"),
    ):
        us, backed_us = alone[page].command_us(name), backed[page].command_us(name)
        rows.append([f"`{name.upper()}` of a view that {page}", shown(us), shown(backed_us)])
    return Table(
        "A command",
        "Microseconds of one call, by `usec` and `calls` of `INFO commandstats`; what it takes to read a command "
        "from its connection and to send the reply is not in it.",
        ["", "server by itself", "with file and replica"],
        rows,
    )


def _said(there: RedisServer, page: str) -> str:
    """The commands that one visit sends, in their order; the third one, when scripts are known and routes built."""
    for _ in range(2):
        _prepared(page).ask(PAGES[page])
    visitor = _prepared(page)
    with there.client() as client, client.monitor() as monitor, connected(there) as connection:
        visitor.ask(PAGES[page])
        connection.command("ECHO", "over")
        names: list[str] = []
        for heard in monitor.listen():
            if heard["command"] == "ECHO over":
                return " ".join(f"`{name}`" for name in names)
            if heard["client_type"] != "lua":
                names.append(heard["command"].split()[0].upper())
    raise AssertionError("unreachable")


def _prepared(page: str) -> DirectVisitor:
    visitor = DirectVisitor(_handler())
    for path in BEFORE[page]:
        visitor.ask(path)
    return visitor


def _visit(there: RedisServer, page: str, costs: Costs) -> None:
    visitors = [_prepared(page) for _ in range(costs.visits)]
    path = PAGES[page]
    with connected(there) as connection, closing(Counter(there.socket)) as counter:
        _prepared(page).ask(path)
        before, look = account(connection), counter.look()
        with undisturbed():
            start = process_time()
            for visitor in visitors:
                visitor.ask(path)
            spent = process_time() - start
        traffic = counter.since(look, costs.visits)
        costs.accounts.append(account(connection).since(before))
    costs.site.append(spent)
    costs.traffic.append(traffic)


@cache
def _handler() -> WSGIHandler:
    return WSGIHandler()
