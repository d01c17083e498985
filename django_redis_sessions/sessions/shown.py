"""What are people shown of a stored record, and whom do they mean by a user?"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from django.db.models import Model

from django_redis_sessions import conf
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.devices import device_in
from django_redis_sessions.errors import CorruptRecord, SessionStoreMisconfigured
from django_redis_sessions.infos import SessionInfo
from django_redis_sessions.merging import USER_ID
from django_redis_sessions.records import Header, header_of


def user_id_of(user: object) -> str:
    """A user's primary key as sessions keep it; ``user`` is a model instance or the key itself."""
    return str(user._meta.pk.value_to_string(user) if isinstance(user, Model) else user)


def names_of(session: Any) -> tuple[str, ...]:
    """What may stand in Redis for a session, given as a session object, a session key or None; () for none.

    None either for one that lives in another region.
    """
    return conf.store().keys.names(_key_of(session))


def handle_of(session: Any) -> str:
    """The handle of a session, given as for ``names_of()``; "" for none."""
    session_key = _key_of(session)
    keys = conf.store_of(session_key).keys
    return keys.handle(session_key) if keys.accepts(session_key) else ""


def _key_of(session: Any) -> str | None:
    session_key = getattr(session, "session_key", session)
    return session_key if isinstance(session_key, str) else None


def needs_index() -> None:
    """``SessionStoreMisconfigured`` if the project keeps none."""
    if not conf.store().settings.user_index:
        raise SessionStoreMisconfigured(
            "SESSION_REDIS['USER_INDEX'] is off, so nobody knows which sessions a user has. Turn it on, "
            "or end a user's sessions by looking at all of them: sessions.purge(user=...)."
        )


def data_in(name: str, record: bytes) -> dict[str, Any] | None:
    """The data in the record of the session with this name; None if it cannot be read."""
    with suppress(CorruptRecord):
        return _opened(record, conf.store().keys.handle_of(name))
    return None


def _opened(record: bytes, handle: str) -> dict[str, Any]:
    _, _, data = SessionStore().unsealed(record, handle)
    return data


def user_id_in(name: str, record: bytes) -> str | None:
    """The primary key of the user who is signed in with the session of this name, as text."""
    user_id = (data_in(name, record) or {}).get(USER_ID)
    return None if user_id is None else str(user_id)


def described(name: str, record: bytes, current: str = "") -> SessionInfo:
    """What may be said about the session of this name; ``current`` is the handle of the one who asks."""
    handle = conf.store().keys.handle_of(name)
    data, why = None, None
    try:
        data = _opened(record, handle)
    except CorruptRecord as error:
        why = error.reason
    try:
        header = header_of(record)
    except CorruptRecord:
        header = Header(0, 0, 0)
    device = device_in(data or {})
    user_id = (data or {}).get(USER_ID)
    return SessionInfo(
        handle=handle,
        user_id=None if user_id is None else str(user_id),
        is_anonymous=header.is_anonymous,
        created=_instant(header.created),
        last_seen=_instant(header.touched),
        expires=_instant(header.expires),
        size=len(record),
        address=device.address,
        user_agent=device.user_agent,
        is_current=handle == current,
        is_readable=data is not None,
        why_unreadable=why,
        region=conf.store().region,
    )


def by_activity(found: dict[str, bytes], current: str) -> list[SessionInfo]:
    """Sessions by name as people are shown them, the last active first."""
    return in_order(described(name, record, current) for name, record in found.items())


def in_order(infos: Iterable[SessionInfo]) -> list[SessionInfo]:
    """The last active first."""
    return sorted(infos, key=lambda info: (info.last_seen, info.handle), reverse=True)


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
