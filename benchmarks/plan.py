"""What do so many sessions need, going by what one of them was measured to cost?

Arithmetic alone: no server, no clock. It starts from the cells of the tables that
``python -m benchmarks sizing`` shows, so a page that has the tables has all that its plans rest on;
``plan_tables`` shows the plans.
A GB is 10^9 bytes; whatever has no other unit is in bytes or seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

Rows = Sequence[Sequence[str]]

GB = 1e9
DAY = 86_400
SLOTS = 16_384

#: The titles of the tables of figures.
SESSIONS, REQUESTS, SERVER = TITLES = ("A session in memory", "A request", "A server")
#: The cells of the third table that the plan needs, by the field of ``Figures``.
LABELS = {
    "resident": "memory of the process, for each byte of data",
    "connection": "memory of a connection, bytes",
    "snapshot": "the file after a rewrite, for each byte of data",
    "rewrite": "a rewrite, seconds for each GB of data",
    "copied": "memory copied for each save during a rewrite, bytes",
    "sync": "a new replica, seconds for each GB of data",
    "start": "a start from the file, seconds for each GB of data",
}


@dataclass(frozen=True, slots=True)
class Page:
    """What one request for a page costs: round trips, bytes, and microseconds of CPU; and whether it writes."""

    writes: bool
    round_trips: float
    sent: float
    received: float
    server_us: float
    site_us: float
    replicated: float
    appended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything measured that a plan needs; ``LABELS`` says in which units."""

    #: Bytes of a server's memory for one session and what belongs to it.
    sessions: Mapping[str, float]
    pages: Mapping[str, Page]
    resident: float
    connection: float
    snapshot: float
    rewrite: float
    copied: float
    sync: float
    start: float

    @classmethod
    def read(cls, rows: Mapping[str, Rows]) -> Figures:
        """From the rows of the tables of figures, by their titles, as they are shown."""
        others = {row[0]: row[1] for row in rows[SERVER]}
        return cls(
            sessions={row[0]: number(row[-1]) for row in rows[SESSIONS]},
            pages={
                # The server's CPU by itself is for people.
                row[0]: Page(has_write(row[1]), *(number(row[at]) for at in (2, 3, 4, 6, 7, 8, 9)))
                for row in rows[REQUESTS]
            },
            **{name: number(others[label]) for name, label in LABELS.items()},
        )


def number(cell: str) -> float:
    """The number that a cell shows; a dash is 0."""
    return 0.0 if cell == "–" else float(cell.replace(",", ""))


def has_write(cell: str) -> bool:
    """Whether one of the commands that a cell names writes."""
    return any(word not in ("–", "`GET`") for word in cell.split())


def _usual_mix() -> dict[str, float]:
    return {"anonymous": 0.4, "sign-in": 0.2, "typical": 0.3, "rich": 0.1}


def _usual_requests() -> dict[str, float]:
    return {
        "leaves it alone": 0.2,
        "reads": 0.6,
        "changes": 0.15,
        "begins": 0.02,
        "signs in": 0.02,
        "signs out": 0.01,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What has to be assumed about a site and its machines."""

    #: Stored at a time.
    sessions: float
    #: Memory of a machine that runs one server.
    node_gb: float
    #: Of the primary or of each master.
    replicas: int = 1
    #: Requests a day for each stored session, most of which are idle; the busiest second has ``peak`` times the mean.
    requests_a_day: float = 4
    peak: float = 4
    #: Shares of the kinds of sessions, and of the pages that are asked for.
    mix: Mapping[str, float] = field(default_factory=_usual_mix)
    requests: Mapping[str, float] = field(default_factory=_usual_requests)
    #: Of a machine's memory, and of the one core that a server computes on, no more than so much is planned for.
    fullest: float = 0.8
    busiest: float = 0.5
    #: For the operating system.
    system: float = 0.5 * GB
    #: A replica that was away no longer than this fetches what it missed, and no more.
    backlog_seconds: float = 60
    #: Ethernet, IP and TCP: three packets for each round trip.
    headers: float = 200
    #: Bytes a second that a machine may send to a new replica.
    line: float = 100e6
    #: So long a primary waits for more replicas to join (``repl-diskless-sync-delay``).
    delay: float = 5
    #: Requests a second of one process of the site, and its threads.
    process_rate: float = 50
    threads: int = 4
    node_timeout: float = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """What a site needs with so many masters (1: a primary and its replicas)."""

    figures: Figures
    site: Site
    masters: int

    # The whole site.

    @property
    def data(self) -> float:
        """Bytes of all sessions in the memory of the masters."""
        mean = sum(share * self.figures.sessions[kind] for kind, share in self.site.mix.items())
        return self.site.sessions * mean

    @property
    def requests(self) -> float:
        """A second, on average."""
        return self.site.sessions * self.site.requests_a_day / DAY

    @property
    def peak(self) -> float:
        """Requests in the busiest second."""
        return self.requests * self.site.peak

    @property
    def writes(self) -> float:
        """Requests in the busiest second that write."""
        return self.peak * sum(
            share for page, share in self.site.requests.items() if self.figures.pages[page].writes
        )

    @property
    def server_cores(self) -> float:
        """Cores that all masters together keep busy at the peak."""
        return self.peak * self._mean("server_us") / 1e6

    @property
    def site_cores(self) -> float:
        """Cores that Django and its sessions keep busy at the peak, without what the views do."""
        return self.peak * self._mean("site_us") / 1e6

    @property
    def nodes(self) -> int:
        """Machines, sentinels not counted."""
        return self.masters * (1 + self.site.replicas)

    # One of the masters.

    @property
    def share(self) -> float:
        """Bytes of data."""
        return self.data / self.masters

    @property
    def snapshot(self) -> float:
        """Bytes of the file that a rewrite leaves, and that a new replica is sent."""
        return self.share * self.figures.snapshot

    @property
    def rewrite_seconds(self) -> float:
        """How long a rewrite of the append-only file takes."""
        return self.share / GB * self.figures.rewrite

    @property
    def copied(self) -> float:
        """Bytes that saves copy during a rewrite at the peak; all of the data at most."""
        saves = self.writes / self.masters * self.rewrite_seconds
        return min(saves * self.figures.copied, self.share * self.figures.resident)

    @property
    def replicated(self) -> float:
        """Bytes a second for each replica, at the peak."""
        return self.peak * self._mean("replicated") / self.masters

    @property
    def backlog(self) -> float:
        """Bytes of ``repl-backlog-size``."""
        return max(self.replicated * self.site.backlog_seconds, 1e6)

    @property
    def connections(self) -> float:
        """From all processes of the site: each of their threads may speak to each master."""
        return max(self.peak / self.site.process_rate, 1) * self.site.threads

    @property
    def memory(self) -> float:
        """Bytes that have to be free for the server."""
        return (
            self.share * self.figures.resident
            + self.copied
            + self.backlog
            + self.connections * self.figures.connection
            + self.site.system
        )

    @property
    def busy(self) -> float:
        """The share of its core, at the peak."""
        return self.server_cores / self.masters

    @property
    def fits(self) -> bool:
        """Whether so many masters are enough."""
        return self.memory <= self.site.node_gb * GB * self.site.fullest and self.busy <= self.site.busiest

    @property
    def received_bits(self) -> float:
        """Bits a second that clients send to a master at the peak, with the headers of their packets."""
        return self._bits("sent")

    @property
    def sent_bits(self) -> float:
        """Bits a second that a master sends to clients and replicas at the peak."""
        return self._bits("received") + self.replicated * self.site.replicas * 8

    @property
    def appended_a_day(self) -> float:
        """Bytes that the append-only file of a node grows by in a day."""
        return self.requests * self._mean("appended") / self.masters * DAY

    @property
    def rewrites_a_day(self) -> float:
        """How often the file has doubled in a day (``auto-aof-rewrite-percentage 100``)."""
        return self.appended_a_day / self.snapshot

    @property
    def disk(self) -> float:
        """Bytes: the file when it has doubled, and the next one beside it."""
        return 3 * self.snapshot

    # What happens to it.

    @property
    def window(self) -> float:
        """Seconds of a failover: half as long again as the time-out until a majority knows, and the election."""
        return 1.5 * self.site.node_timeout + 1

    @property
    def refused(self) -> float:
        """Requests that are answered with 503 while a master fails over at the peak."""
        using = 1 - self.site.requests.get("leaves it alone", 0)
        return self.peak * using * self.window / self.masters

    @property
    def sync_seconds(self) -> float:
        """How long a new replica takes: as long as it was measured or as the line needs, after the delay."""
        return self.site.delay + max(self.share / GB * self.figures.sync, self.snapshot / self.site.line)

    @property
    def waiting(self) -> float:
        """Bytes that are replicated meanwhile, which ``client-output-buffer-limit`` has to allow."""
        return self.replicated * self.sync_seconds

    @property
    def restart_seconds(self) -> float:
        """How long a node is away: a start from its file, and all its data once more from the primary."""
        return self.share / GB * self.figures.start + self.sync_seconds

    @property
    def upgrade_seconds(self) -> float:
        """A rolling upgrade of all nodes, one after the other."""
        return self.nodes * self.restart_seconds

    @property
    def upgrade_bytes(self) -> float:
        """What is sent to replicas during a rolling upgrade."""
        return self.nodes * self.snapshot

    def _mean(self, cost: str) -> float:
        """What a request costs on average."""
        pages = self.site.requests.items()
        return sum(share * float(getattr(self.figures.pages[page], cost)) for page, share in pages)

    def _bits(self, direction: str) -> float:
        headers = self._mean("round_trips") * self.site.headers
        return self.peak * (self._mean(direction) + headers) / self.masters * 8


def plan(figures: Figures, site: Site) -> Plan:
    """The least number of masters that a site can do with: 1, or 3 and more; ``ValueError`` if none is enough."""
    for masters in count(1):
        if masters > SLOTS:
            raise ValueError(f"A server does not fit into {site.node_gb:g} GB, however many there are.")
        made = Plan(figures, site, masters)
        if made.fits and masters != 2:
            return made
    raise AssertionError("unreachable")


#: The sites of the page.
SMALL = Site(sessions=1e5, node_gb=2, replicas=2)
MIDDLE = Site(sessions=1e7, node_gb=16, replicas=2)
LARGE = Site(sessions=1e9, node_gb=32, replicas=1)
SITES = (SMALL, MIDDLE, LARGE)
