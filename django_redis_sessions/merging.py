"""Who wins when two requests have changed one session?

Both, as long as they changed different top-level keys. A three-way merge against the baseline that
was loaded: a key that only one side changed keeps that side's value; a key that both changed keeps
the value of the one who saves last, which is ``mine``. Values are never mixed or concatenated, and
a removal is a change. The keys in ``UNIT`` move together, so that a sign-in never consists of two
people's halves. All three sides are compared by their encoded values.

Who owns a session matters more than its keys. Changes made for another user are not merged:

- When mine signed in, out, or over while theirs went on for the former user, theirs is dropped;
  only what an anonymous visitor did before signing in is kept, as Django keeps it.
- When theirs now belongs to somebody whom mine has never heard of, nothing can be saved:
  ``AnotherUsersSession``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

USER_ID = "_auth_user_id"
UNIT = frozenset({USER_ID, "_auth_user_backend", "_auth_user_hash", "_session_expiry"})

Data = Mapping[str, Any]
# Of one type, these are equal exactly when their encodings are.
_COMPARABLE = frozenset({str, int, bool, type(None)})


class AnotherUsersSession(Exception):
    """The stored session belongs to neither of the users that this side knows it by."""


def merge(baseline: Data, mine: Data, theirs: Data, encoded: Callable[[Any], bytes]) -> dict[str, Any]:
    """What is to be stored after ``mine`` and ``theirs`` both changed ``baseline``.

    Order: theirs, then what mine added. Raises ``AnotherUsersSession``.
    """
    before, now, stored = (side.get(USER_ID) for side in (baseline, mine, theirs))
    if stored not in (before, now):
        raise AnotherUsersSession
    if stored != now and before is not None:
        return dict(mine)

    def is_changed(key: str) -> bool:
        if key not in mine or key not in baseline:
            return (key in mine) != (key in baseline)
        new, old = mine[key], baseline[key]
        if type(new) is type(old) and type(new) in _COMPARABLE:
            return bool(new != old)
        return encoded(new) != encoded(old)

    changed = {key for key in {**baseline, **mine} if is_changed(key)}
    if changed & UNIT:
        changed |= UNIT
    merged = {key: value for key, value in theirs.items() if key not in changed or key in mine}
    merged.update({key: value for key, value in mine.items() if key in changed})
    return merged
