"""How is it told that strangers begin more sessions than they may?

With a line a minute, whatever comes: a flood of requests must not become a flood of lines.
"""

from __future__ import annotations

import logging
from time import monotonic

#: Seconds between two lines of one process.
INTERVAL = 60.0

_log = logging.getLogger("django_redis_sessions")
_untold = 0
_next_line = 0.0


def tell() -> None:
    """One more anonymous session was not stored."""
    global _untold, _next_line
    _untold += 1
    if (now := monotonic()) >= _next_line:
        _next_line, number, _untold = now + INTERVAL, _untold, 0
        _log.warning(
            "Anonymous sessions were not stored because their addresses have begun more than "
            "ANONYMOUS_BUDGET allows: %d in this process since the last such line",
            number,
        )
