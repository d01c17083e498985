"""What does a session become in another engine, and may it replace the one that is there?

A session that has come from there still has its copy there, as it was. Replaced is that copy alone:
what has been written there since is newer than what is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from time import time
from typing import Any

from django_redis_sessions import arrivals, conf
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.engines import Engine, Found
from django_redis_sessions.errors import CorruptRecord


def left(name: str, record: bytes) -> Found | None:
    """The data of the session with this name and the seconds left of its life; None if there is nothing of either."""
    try:
        header, _, data = SessionStore().unsealed(record, conf.store().keys.handle_of(name))
    except CorruptRecord:
        return None
    life = header.expires - time()
    return Found(data, life) if data and life > 0 else None


def has_changed(there: Found | None, mark: bytes | None) -> bool:
    """Whether a session that is ``there`` is another than the one that came, and left this ``mark``."""
    return there is not None and not _is_as_it_came(mark, there.data)


def copy(
    other: Engine, sessions: dict[str, Found], known: set[str], marks: Mapping[str, bytes | None]
) -> list[str]:
    """Store sessions in another engine, over those that it has ``known``; the keys of all that are stored.

    Not over one that has been written there since the caller looked: a visitor who came in that moment has
    fetched the session already, and goes on with it there.
    """
    stored = other.put({name: found for name, found in sessions.items() if name not in known})
    for name in sessions:
        if name in known and other.replace(name, sessions[name], partial(_may_go, marks[name])):
            stored.add(name)
    return [name for name in sessions if name in stored]


def _may_go(mark: bytes | None, data: dict[str, Any]) -> bool:
    return mark == arrivals.BARRED or _is_as_it_came(mark, data)


def _is_as_it_came(mark: bytes | None, data: dict[str, Any]) -> bool:
    return mark is not None and arrivals.fingerprint(SessionStore()._dumps(data)) == mark
