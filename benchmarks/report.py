"""How are the figures shown?

From the result as it is written to JSON, so a table can be made again from a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.contenders import WITHOUT_INDEX

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under a head; the first cell of a row names it."""

    title: str
    explanation: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """For a terminal."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        lines = [self._line(row, widths) for row in (self.head, *self.rows)]
        lines.insert(1, "-" * len(lines[0]))
        return "\n".join([self.title, self.explanation, "", *lines, ""])

    def markdown(self) -> str:
        """For a page."""
        rows = [self.head, ["---", *["---:"] * (len(self.head) - 1)], *self.rows]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([f"### {self.title}", "", self.explanation, "", *lines, ""])

    @staticmethod
    def _line(row: Sequence[str], widths: Sequence[int]) -> str:
        name, *cells = (
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join([name, *cells])


def tables(result: Result, labels: Mapping[str, str]) -> list[Table]:
    """Everything that was measured, in the order in which one would ask for it."""
    made = []
    if "sync" in result:
        made += list(_one_by_one(result["sync"], labels))
    if "memory" in result:
        made.append(_memory(result["memory"], labels))
    if "async" in result:
        made += list(_event_loop(result["async"], labels))
    if "http" in result:
        made += list(_whole_requests(result["http"], labels))
    return made


def placed(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` between its comments ``<!-- name: begin -->`` and ``<!-- name: end -->``.

    A page that has none of them is replaced.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = page.partition(begin)
    _, also_found, after = rest.partition(end)
    if not found or not also_found:
        return f"{text.strip()}\n"
    return f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}"


def all_placed(page: str, texts: Mapping[str, str]) -> str:
    """Each text in its place, as ``placed()`` does it; if one of them has none, the page is replaced by all."""
    for name, text in texts.items():
        if f"<!-- {name}: begin -->" not in page:
            return "\n\n".join(each.strip() for each in texts.values()) + "\n"
        page = placed(page, name, text)
    return page


def rows_of(page: str, title: str) -> list[list[str]]:
    """The cells of the first table under a title, as ``Table.markdown()`` writes it."""
    _, _, rest = page.partition(f"### {title}\n")
    lines = [line for line in rest.partition("\n### ")[0].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def shown(value: float | None, ratio: float | None = None) -> str:
    """A figure of about three digits, with its ratio in parentheses; a dash for none."""
    if value is None:
        return "–"
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    text = f"{value:,.{digits}f}"
    return text if ratio is None else f"{text} ({ratio:.2f})"


def _grid(
    title: str,
    explanation: str,
    cases: Mapping[str, Result],
    labels: Mapping[str, str],
    cell: Callable[[Result], str],
) -> Table:
    """A row for each contender, a column for each case."""
    names = [name for name in labels if any(name in case for case in cases.values())]
    rows = [
        [labels[name], *(cell(case[name]) if name in case else "–" for case in cases.values())]
        for name in names
    ]
    return Table(title, explanation, ["", *cases], rows)


def _one_by_one(result: Result, labels: Mapping[str, str]) -> Iterable[Table]:
    typical = {name: case for name, case in result.items() if "," not in name}
    sized = {name: case for name, case in result.items() if "," in name}
    if typical:
        yield _grid(
            "Time of an operation",
            "Microseconds (this package's time divided by it: below 1, this package is faster).",
            typical,
            labels,
            lambda found: shown(found["us"], found["ratio"]),
        )
        yield _grid(
            "Client CPU of an operation",
            "Microseconds of the process (this package's divided by it).",
            typical,
            labels,
            lambda found: shown(found["cpu_us"], found["cpu_ratio"]),
        )
        yield _grid(
            "Round trips of an operation",
            "To Redis; what goes to the database is not counted.",
            typical,
            labels,
            lambda found: f"{found['round_trips']:.2g}" if "round_trips" in found else "–",
        )
        yield _grid(
            "Bytes on the wire",
            "Sent / received, with everything the protocol adds.",
            typical,
            labels,
            _wire,
        )
    for method in ("load", "load + save"):
        sizes = {
            name.partition(", ")[2]: case for name, case in sized.items() if name.startswith(f"{method},")
        }
        if sizes:
            yield _grid(
                f"Sizes: {method}",
                "Microseconds (this package's time divided by it), by the size of the session as JSON.",
                sizes,
                labels,
                lambda found: shown(found["us"], found["ratio"]),
            )


def _wire(found: Result) -> str:
    if "bytes_sent" not in found:
        return "–"
    return f"{found['bytes_sent']:,.0f} / {found['bytes_received']:,.0f}"


def _memory(result: Result, labels: Mapping[str, str]) -> Table:
    labels = {**labels, WITHOUT_INDEX.name: WITHOUT_INDEX.label}
    names = [name for name in labels if any(name in case["redis_bytes"] for case in result.values())]
    rows = []
    for name in names:
        row = [labels[name]]
        for case in result.values():
            stored = case["redis_bytes"]
            row.append(f"{stored[name]:,} ({stored['this'] / stored[name]:.2f})")
        rows.append(row)
    head = ["", *(f"{name}, {case['json_bytes']:,} B" for name, case in result.items())]
    return Table(
        "Memory of a session",
        "Bytes in Redis (this package's divided by it), by the content and its bytes as JSON, with all keys that "
        "come with the session: here the index of a user who has no other session.",
        head,
        rows,
    )


_SURROUNDINGS = {
    "bare": "as tasks of one event loop",
    "asgi": "surrounded as Django's ASGI handler does it",
}


def _event_loop(result: Result, labels: Mapping[str, str]) -> Iterable[Table]:
    labels = {**labels, "redis-py": "redis.asyncio, bare commands"}
    for surroundings, explanation in _SURROUNDINGS.items():
        cases = {
            name.partition(": ")[2].removesuffix(" at a time"): case
            for name, case in result.items()
            if name.startswith(f"{surroundings}:")
        }
        if cases:
            yield _grid(
                f"Asynchronous requests {explanation}",
                "Requests per second (this package's divided by it: above 1, this package does more), by how many ran "
                "at a time.",
                cases,
                labels,
                lambda found: shown(1e6 / found["us"], 1 / found["ratio"] if found["ratio"] else None),
            )


def _whole_requests(result: Result, labels: Mapping[str, str]) -> Iterable[Table]:
    for name, case in result.items():
        protocol, _, page = name.partition(": ")
        server = {"wsgi": "WSGI", "asgi": "ASGI"}[protocol]
        rows = [
            [
                labels[contender],
                shown(found["per_second"], found["ratio"]),
                shown(found["p50_ms"]),
                shown(found["p99_ms"]),
                shown(found["cpu_ms"]),
            ]
            for contender, found in case.items()
        ]
        yield Table(
            f"Whole requests, {server}: a view that {page}",
            "Requests per second (this package's divided by it: above 1, this package serves more), "
            "milliseconds until half and 99 % of them were answered, the site's CPU for each in milliseconds.",
            ["", "requests/s", "p50 ms", "p99 ms", "CPU ms"],
            rows,
        )
