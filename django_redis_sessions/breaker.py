"""When is it not worth asking a server?

After a few failures in a row nobody waits for it any more: callers fail at once, and one of them
has it probed in the background. The first answer ends that. Pure: the caller brings the clock.
"""

from __future__ import annotations

import threading

#: So many attempts have to fail in a row.
THRESHOLD = 3
#: Seconds between two probes.
PROBE_INTERVAL = 0.25
#: How long a caller waits for a probe that may show that the server is back, in seconds.
PROBE_PATIENCE = 0.05


class Breaker:
    """Counts the failures of one server in one process; for any number of threads and loops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._next_probe = 0.0
        #: Whether to fail without asking; read on every command.
        self.is_open = False
        #: When (on the caller's clock) the failures began.
        self.since = 0.0

    def failed(self, now: float) -> bool:
        """Count a failed attempt; True for the one that opens the breaker."""
        with self._lock:
            self._failures += 1
            if self.is_open or self._failures < THRESHOLD:
                return False
            self.is_open = True
            self.since = now
            self._next_probe = now
            return True

    def answered(self) -> bool:
        """The server has answered, be it with an error; True if that closes the breaker."""
        if not self._failures:
            return False
        with self._lock:
            was_open, self.is_open, self._failures = self.is_open, False, 0
            return was_open

    def may_probe(self, now: float) -> bool:
        """Whether the caller is the one to probe the server now."""
        with self._lock:
            if not self.is_open or now < self._next_probe:
                return False
            self._next_probe = now + PROBE_INTERVAL
            return True
