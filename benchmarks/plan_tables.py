"""How are the plans shown?

Three sites side by side, one of them on nodes of other sizes, and what becomes of it when a figure
or an assumption is another.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.plan import GB, LARGE, SITES, Figures, plan
from benchmarks.report import Table, shown

#: GB of memory.
NODE_SIZES = (16, 32, 64, 128)


def plan_tables(figures: Figures) -> list[Table]:
    """The plans for the sites of the page, as tables."""
    return [_assumptions(), _sites(figures), _node_sizes(figures), _differences(figures)]


def _assumptions() -> Table:
    rows = [
        ["memory of a machine", *(volume(site.node_gb * GB) for site in SITES)],
        ["replicas of the primary, or of each master", *(f"{site.replicas}" for site in SITES)],
        ["requests a day for each stored session", *(f"{site.requests_a_day:g}" for site in SITES)],
        ["requests in the busiest second, times the mean", *(f"{site.peak:g}" for site in SITES)],
        *([f"sessions that are {kind}", *(f"{site.mix[kind]:.0%}" for site in SITES)] for kind in LARGE.mix),
        *(
            [f"requests for a view that {page}", *(f"{site.requests[page]:.0%}" for site in SITES)]
            for page in LARGE.requests
        ),
        ["memory of a machine that may be used", *(f"{site.fullest:.0%}" for site in SITES)],
        ["of which the system needs", *(volume(site.system) for site in SITES)],
        ["CPU of a server's core that may be used", *(f"{site.busiest:.0%}" for site in SITES)],
        ["seconds that the backlog lasts", *(f"{site.backlog_seconds:g}" for site in SITES)],
        ["headers of the packets of a round trip, bytes", *(f"{site.headers:g}" for site in SITES)],
        ["sent to a new replica, at most, in a second", *(volume(site.line) for site in SITES)],
        ["seconds that a primary waits for more replicas", *(f"{site.delay:g}" for site in SITES)],
        ["requests a second of a process of the site", *(f"{site.process_rate:g}" for site in SITES)],
        ["its threads", *(f"{site.threads}" for site in SITES)],
        ["seconds until a server counts as dead", *(f"{site.node_timeout:g}" for site in SITES)],
    ]
    return Table(
        "Assumptions",
        "The defaults of `Site` in `benchmarks/plan.py`, and the three sites.",
        ["sessions", *(f"{site.sessions:,.0f}" for site in SITES)],
        rows,
    )


def _sites(figures: Figures) -> Table:
    plans = [plan(figures, site) for site in SITES]
    rows = [
        ["all sessions, in memory", *(volume(each.data) for each in plans)],
        ["requests in the busiest second", *(f"{each.peak:,.0f}" for each in plans)],
        ["cores of Redis busy then", *(shown(each.server_cores) for each in plans)],
        ["cores of Django busy then, views not counted", *(shown(each.site_cores) for each in plans)],
        ["primaries or masters", *(f"{each.masters}" for each in plans)],
        ["nodes, with their replicas", *(f"{each.nodes}" for each in plans)],
        ["of one master: data", *(volume(each.share) for each in plans)],
        [
            "– the process, with what fragmentation wastes",
            *(volume(each.share * figures.resident) for each in plans),
        ],
        ["– copied during a rewrite", *(volume(each.copied) for each in plans)],
        ["– `repl-backlog-size`", *(volume(each.backlog) for each in plans)],
        ["– connections", *(f"{each.connections:,.0f}" for each in plans)],
        ["– their memory", *(volume(each.connections * figures.connection) for each in plans)],
        ["– memory it needs", *(volume(each.memory) for each in plans)],
        ["– memory of the machine", *(volume(each.site.node_gb * GB) for each in plans)],
        ["– its core is busy", *(f"{each.busy:.1%}" for each in plans)],
        ["– from clients, Mbit/s", *(shown(each.received_bits / 1e6) for each in plans)],
        ["– to clients and replicas, Mbit/s", *(shown(each.sent_bits / 1e6) for each in plans)],
        ["– append-only file, growth in a day", *(volume(each.appended_a_day) for each in plans)],
        ["– rewrites a day", *(shown(each.rewrites_a_day) for each in plans)],
        ["– seconds of a rewrite", *(shown(each.rewrite_seconds) for each in plans)],
        ["– disk", *(volume(each.disk) for each in plans)],
        ["failover, seconds", *(shown(each.window) for each in plans)],
        ["– visitors who are met", *(f"{1 / each.masters:.1%}" for each in plans)],
        ["– requests answered with 503, at the peak", *(f"{each.refused:,.0f}" for each in plans)],
        ["– written in a second, of that master", *(f"{each.writes / each.masters:,.0f}" for each in plans)],
        ["new replica, bytes sent", *(volume(each.snapshot) for each in plans)],
        ["– seconds", *(shown(each.sync_seconds) for each in plans)],
        ["– replicated meanwhile, at the peak", *(volume(each.waiting) for each in plans)],
        ["rolling upgrade, bytes sent", *(volume(each.upgrade_bytes) for each in plans)],
        ["– one node, seconds", *(shown(each.restart_seconds) for each in plans)],
        ["– all nodes in turn", *(duration(each.upgrade_seconds) for each in plans)],
    ]
    return Table(
        "The plan",
        "Calculated from the tables above and the assumptions.",
        ["sessions", *(f"{each.site.sessions:,.0f}" for each in plans)],
        rows,
    )


def _node_sizes(figures: Figures) -> Table:
    rows = []
    for size in NODE_SIZES:
        made = plan(figures, replace(LARGE, node_gb=size))
        rows.append(
            [
                f"{size} GB",
                f"{made.masters:,}",
                volume(made.share),
                volume(made.copied),
                shown(made.sync_seconds),
                volume(made.waiting),
                f"{made.busy:.1%}",
                f"{made.refused:,.0f}",
                duration(made.upgrade_seconds),
            ]
        )
    return Table(
        "Bigger nodes",
        f"Calculated, for {LARGE.sessions:,.0f} sessions.",
        [
            "memory of a node",
            "masters",
            "data of each",
            "copied during a rewrite",
            "new replica, s",
            "replicated meanwhile",
            "its core is busy",
            "503s of a failover",
            "upgrade of all, in turn",
        ],
        rows,
    )


def _differences(figures: Figures) -> Table:
    larger = {kind: 2 * size for kind, size in figures.sessions.items()}
    changing = dict(LARGE.requests)
    changing["changes"] *= 2
    changing["reads"] -= LARGE.requests["changes"]
    cases = {
        "as planned": (figures, LARGE),
        "twice the sessions": (figures, replace(LARGE, sessions=2 * LARGE.sessions)),
        "twice the bytes of a session": (replace(figures, sessions=larger), LARGE),
        "twice the requests": (figures, replace(LARGE, requests_a_day=2 * LARGE.requests_a_day)),
        "twice the share that changes": (figures, replace(LARGE, requests=changing)),
        "twice the peak": (figures, replace(LARGE, peak=2 * LARGE.peak)),
        "one replica more": (figures, replace(LARGE, replicas=LARGE.replicas + 1)),
        "twice the memory copied for a save": (replace(figures, copied=2 * figures.copied), LARGE),
        "twice the time for a new replica": (replace(figures, sync=2 * figures.sync), LARGE),
    }
    rows = []
    for name, (found, site) in cases.items():
        made = plan(found, site)
        rows.append(
            [
                name,
                f"{made.masters:,}",
                f"{made.nodes:,}",
                volume(made.memory),
                f"{made.busy:.1%}",
                shown(made.sent_bits / 1e6),
                volume(made.appended_a_day * made.masters),
                shown(made.sync_seconds),
                duration(made.upgrade_seconds),
            ]
        )
    return Table(
        "If your figures differ",
        f"Calculated, for {LARGE.sessions:,.0f} sessions.",
        [
            "",
            "masters",
            "nodes",
            "memory a master needs",
            "its core is busy",
            "it sends, Mbit/s",
            "append-only files, a day",
            "new replica, s",
            "upgrade of all, in turn",
        ],
        rows,
    )


def volume(amount: float) -> str:
    """So many bytes, in the unit that suits them."""
    for unit, size in (("TB", 1e12), ("GB", GB), ("MB", 1e6)):
        if amount >= size:
            return f"{shown(amount / size)} {unit}"
    return f"{shown(amount / 1e3)} kB"


def duration(seconds: float) -> str:
    """So many seconds, in the unit that suits them."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{shown(seconds / length)} {unit}"
    return f"{shown(seconds)} s"
