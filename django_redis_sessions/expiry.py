"""How long does Redis keep a record?

Pure arithmetic over what Django's expiry methods return: no clock, no settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

#: The longest life a record can have, in seconds (136 years): what fits into the record's header.
LONGEST_TTL = 2**32 - 1


def ttl_for(expiry_age: float) -> int | None:
    """Whole seconds Redis should keep a record, or None when its time is already up.

    Rounds up, so a record outlives the cookie that names it. Zero and below give None because
    Redis refuses ``EX 0`` (https://redis.io/docs/latest/commands/set/). Not-a-number counts as
    over, infinity as the longest life.
    """
    if not expiry_age > 0:
        return None
    if expiry_age >= LONGEST_TTL:
        return LONGEST_TTL
    return math.ceil(expiry_age)


def comparable(expiry: Any, modification: datetime, make_aware: Callable[[datetime], datetime]) -> Any:
    """``expiry`` as Django stores it, made comparable with ``modification``.

    A session stored before ``USE_TZ`` was switched holds an instant of the other kind, and
    ``SessionBase.get_expiry_age()`` would fail on the difference of the two. Naive instants are
    read in the current time zone, which is how Django wrote them.
    """
    if isinstance(expiry, str):
        expiry = datetime.fromisoformat(expiry)
    if not isinstance(expiry, datetime):
        return expiry
    if expiry.tzinfo is None and modification.tzinfo is not None:
        return make_aware(expiry)
    if expiry.tzinfo is not None and modification.tzinfo is None:
        return expiry.astimezone().replace(tzinfo=None)
    return expiry
