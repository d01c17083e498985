"""What does a ``SESSION_REDIS`` amount to, once read?

Everything a session needs to be kept in one Redis deployment, put together from plain values.
Knows nothing of Django, so other programs can build one too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from django_redis_sessions import dictionary_files
from django_redis_sessions.configuration import Settings, target_of
from django_redis_sessions.connections import Connections
from django_redis_sessions.expiry import Lifetimes
from django_redis_sessions.keys import Keys
from django_redis_sessions.metrics import Careful, careful
from django_redis_sessions.protection import KeyRing
from django_redis_sessions.records import Codec
from django_redis_sessions.schemes import schemes
from django_redis_sessions.sizes import Sizes


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """One deployment: its settings, the names and the bytes used in it, and the ways to it."""

    settings: Settings
    keys: Keys
    codec: Codec
    lifetimes: Lifetimes
    connections: Connections
    sizes: Sizes
    #: Told of everything that happens, if the project wants to know.
    metrics: Careful | None = None

    @classmethod
    def of(
        cls, settings: Settings, project: str = "", directory: str = "", secrets: Sequence[str | bytes] = ()
    ) -> Store:
        """The store that ``settings`` describe; see ``Connections`` for ``project``.

        Reads the dictionary files that they name, relative to ``directory``, imports what ``METRICS`` and
        ``KEYS`` name, and nothing else. The first of the ``secrets`` is the one of now, the others are
        those of before; signed keys and ``SIGN`` need them.
        ``SessionStoreMisconfigured`` if that cannot be done.
        """
        sizes = Sizes.of(settings.max_size)
        return cls(
            settings=settings,
            keys=Keys(
                settings.prefix,
                schemes(settings.keys, secrets),
                are_spread=target_of(settings.url).is_cluster,
            ),
            codec=replace(
                dictionary_files.codec(settings.compression, directory, sizes.largest_payload),
                ring=ring_of(settings, secrets),
            ),
            lifetimes=Lifetimes(
                anonymous_ttl=settings.anonymous_ttl,
                absolute_ttl=settings.absolute_ttl,
                probation_ttl=settings.probation_ttl,
                rolling=settings.rolling,
            ),
            connections=Connections(settings, project),
            sizes=sizes,
            metrics=careful(settings.metrics),
        )


def ring_of(settings: Settings, secrets: Sequence[str | bytes]) -> KeyRing:
    """The keys that ``settings`` name; ``SessionStoreMisconfigured`` if they cannot be used."""
    return KeyRing.of(
        settings.encryption_keys,
        [secret.encode() if isinstance(secret, str) else secret for secret in secrets],
        sign=settings.sign,
        generation=settings.generation,
        accept_unprotected=settings.accept_unprotected,
    )
