"""Who asks for the pages?

``python -m benchmarks.visitors`` is a process of its own, so that asking costs the site no CPU.
Each line on stdin is a ``Job`` as JSON; each line on stdout tells what came of it. A visitor has a
connection, a cookie that it keeps from job to job, and asks again as soon as it is answered.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
from dataclasses import dataclass, field
from statistics import quantiles
from time import perf_counter
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_COOKIE = re.compile(rb"\r\nset-cookie: *(sessionid=[^;]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Job:
    """So many visitors ask one site, which listens on a unix socket, for one page, for some seconds."""

    site: str
    page: str
    visitors: int
    seconds: float


@dataclass(slots=True)
class Visits:
    """What the visitors of one job saw: how long each answer took, in seconds."""

    ends: float
    latencies: list[float] = field(default_factory=list)


class Visitor(asyncio.Protocol):
    """One connection that asks, waits for the whole answer and asks again."""

    def __init__(self, page: str, cookie: bytes, visits: Visits) -> None:
        self.cookie = cookie
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._page = page.encode()
        self._visits = visits
        self._answer = b""
        self._asked = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._request = self._asking()

    def ask(self) -> None:
        """Ask for the page."""
        assert self._transport is not None
        self._answer = b""
        self._asked = perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end:
            return
        if not head.startswith(b"HTTP/1.1 200") or length is None:
            self._fail(f"The site answered {head[:200].decode(errors='replace')!r}")
            return
        if len(body) < int(length[1]):
            return
        now = perf_counter()
        self._visits.latencies.append(now - self._asked)
        if (given := _COOKIE.search(head)) and given[1] != self.cookie:
            self.cookie = given[1]
            self._request = self._asking()
        if now < self._visits.ends:
            self.ask()
        elif not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"The site closed a connection: {exc}")

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def _fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(reason))

    def _asking(self) -> bytes:
        cookie = b"Cookie: " + self.cookie + b"\r\n" if self.cookie else b""
        return b"GET " + self._page + b" HTTP/1.1\r\nHost: localhost\r\n" + cookie + b"\r\n"


async def perform(job: Job, cookies: dict[tuple[str, int], bytes]) -> dict[str, Any]:
    """Requests per second and latencies in milliseconds."""
    loop = asyncio.get_running_loop()
    visits = Visits(0.0)
    visitors: list[Visitor] = []
    for number in range(job.visitors):
        visitor = Visitor(job.page, cookies.get((job.site, number), b""), visits)
        await loop.create_unix_connection(lambda visitor=visitor: visitor, job.site)  # type: ignore[misc]
        visitors.append(visitor)
    start = perf_counter()
    visits.ends = start + job.seconds
    for visitor in visitors:
        visitor.ask()
    await asyncio.gather(*(visitor.done for visitor in visitors))
    seconds = perf_counter() - start
    for number, visitor in enumerate(visitors):
        cookies[job.site, number] = visitor.cookie
        visitor.close()
    percentiles = quantiles(visits.latencies, n=100)
    return {
        "requests": len(visits.latencies),
        "per_second": len(visits.latencies) / seconds,
        "p50_ms": percentiles[49] * 1e3,
        "p99_ms": percentiles[98] * 1e3,
    }


def main() -> None:
    cookies: dict[tuple[str, int], bytes] = {}
    gc.disable()
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            print(json.dumps(runner.run(perform(Job(**json.loads(line)), cookies))), flush=True)
            gc.collect()


if __name__ == "__main__":
    main()
