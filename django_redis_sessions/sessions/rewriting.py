"""How do all sessions come to be protected as the settings say now?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from django_redis_sessions import conf, regions
from django_redis_sessions.footing import Pace
from django_redis_sessions.operations import Operation
from django_redis_sessions.rewriting import Rewritten, rewrite_all
from django_redis_sessions.walks import Progress

__all__ = ["Rewritten", "arewrite", "rewrite"]


def rewrite(
    *,
    dry_run: bool = False,
    rate: float | None = None,
    patience: float = 0,
    progress: Callable[[Progress], object] = bool,
) -> Rewritten:
    """Write every session anew that is not protected as new ones are; what has become of them.

    After a change of ``ENCRYPTION_KEYS``, ``SIGN`` or ``SECRET_KEY``. Data, life and ttl stay as they are,
    and so does what others save meanwhile; nothing is decoded with the serializer. A dry run opens the records
    and writes none. Two round trips for each 500 keys of the database, and two for each 100 sessions
    that are written. ``rate`` and ``patience`` as in ``purge()``. May be stopped and repeated at any time.
    """
    rewriting = partial(_rewriting, dry_run, Pace(rate, patience), progress)
    return sum(regions.in_turn(rewriting).all(), Rewritten())


async def arewrite(
    *,
    dry_run: bool = False,
    rate: float | None = None,
    patience: float = 0,
    progress: Callable[[Progress], object] = bool,
) -> Rewritten:
    """Async twin of ``rewrite()``."""
    rewriting = partial(_rewriting, dry_run, Pace(rate, patience), progress)
    return sum((await regions.ain_turn(rewriting)).all(), Rewritten())


def _rewriting(dry_run: bool, pace: Pace, progress: Callable[[Progress], object]) -> Operation[Rewritten]:
    store = conf.store()
    return rewrite_all(store.keys, store.codec, dry_run=dry_run, pace=pace, progress=progress)
