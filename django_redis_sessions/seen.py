"""When and where was a signed-in session last seen?

On top of ``stored``: what our middleware knows of a visit goes into a save that is made anyway, or,
once in ``LAST_SEEN`` seconds at most, into a write of its own.
"""

from __future__ import annotations

import logging
from time import time
from typing import Any

from django_redis_sessions import devices, operations
from django_redis_sessions.devices import Device
from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.held import Baseline
from django_redis_sessions.merging import USER_ID
from django_redis_sessions.operations import Operation, Outcome
from django_redis_sessions.records import Header
from django_redis_sessions.regional import RegionalSession

_log = logging.getLogger("django_redis_sessions")


class SeenSession(RegionalSession):
    """A session that knows from where it is used, and when that was last noted."""

    @property
    def is_signed_in(self) -> bool:
        """Whether the data, as far as it is loaded, names a user."""
        return USER_ID in getattr(self, "_session_cache", {})

    @property
    def is_due_to_be_seen(self) -> bool:
        """Whether a signed-in session was loaded that was last seen longer ago than ``LAST_SEEN``."""
        patience, header = self._store.settings.last_seen, self._baseline and self._baseline.header
        if patience is None or self._last_seen is None or not header or header.is_anonymous:
            return False
        return int(time()) - self._last_seen > patience

    def carry(self, device: Device | None) -> None:
        """Let the next save store where the visitor is; None leaves what is stored. No round trip.

        The data of an anonymous session says nothing of that, and loses what it might have said.
        """
        if not self.is_signed_in:
            device = Device()
        if device is None or device == devices.device_in(self._session_cache) or self._is_too_large:
            # What no save may add would make a page fail that changes nothing.
            return
        _place(device, self._session_cache)

    def _seeing(self, device: Device | None) -> Operation[None]:
        """Store that the session is in use now, and where if that has changed; its end stays where it is.

        Somebody else who has written it meanwhile has stored the same, so nothing is tried again.
        """
        baseline, self._last_seen = self._baseline, None
        if baseline is None or baseline.header is None or self._session_key is None:
            return
        now = int(time())
        seen = baseline.header._replace(touched=now, ttl=baseline.header.expires - now)
        if seen.ttl <= 0:
            return
        try:
            if self._may_have_moved(device):
                yield from self._moving(baseline, seen, device or Device())
            elif baseline.header.touched + (self._store.settings.last_seen or 0) < now:
                # Unless loading it has extended its life by now.
                yield from self._touching(baseline.revision, seen)
        except SessionStoreError as error:
            _log.warning("A session's last use was not recorded: %s", error)

    def _may_have_moved(self, device: Device | None) -> bool:
        """Whether ``device`` is another than the stored one, and may be stored for its own sake."""
        if device is None or device == devices.device_in(self._baseline_data()):
            return False
        if self._is_outdated or self._is_too_large:
            # A write would have to move the session, which the next save does, or would be refused.
            return False
        # Any write makes somebody else's strict save fail.
        return (self.on_conflict or self._store.settings.conflict) != "strict"

    def _moving(self, baseline: Baseline, seen: Header, device: Device) -> Operation[None]:
        """Store what was loaded, and nothing that this object has changed since, with another device."""
        assert self._session_key is not None
        data = self._baseline_data()
        _place(device, data)
        payload, seen = self._dumps(data), seen._replace(serializer=self._serializer_tag)
        record = self._sealed(payload, seen, self._session_key)
        saving = operations.save(self._keys, self._session_key, baseline.revision, record, seen)
        if (yield from saving) is Outcome.DONE:
            self._know(record, payload)
            _place(device, self._session_cache)


def _place(device: Device, data: dict[str, Any]) -> None:
    if entry := device.entry:
        data[devices.KEY] = entry
    else:
        data.pop(devices.KEY, None)
