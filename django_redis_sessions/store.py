"""What does a ``SESSION_REDIS`` amount to, once read?

Everything a session needs to be kept in one Redis deployment, or in one of several for each region, put
together from plain values. Knows nothing of Django, so other programs can build one too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from django_redis_sessions import dictionary_files
from django_redis_sessions.configuration import SETTING, Settings, target_of
from django_redis_sessions.connections import Connections
from django_redis_sessions.errors import SessionStoreMisconfigured
from django_redis_sessions.expiry import Lifetimes
from django_redis_sessions.keys import Keys
from django_redis_sessions.metrics import Careful, careful
from django_redis_sessions.protection import KeyRing
from django_redis_sessions.records import Codec
from django_redis_sessions.schemes import schemes, tag_of
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
            keys=_keys(settings, secrets),
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

    @property
    def region(self) -> str | None:
        """The name of the region that this is; None where there are none."""
        return self.settings.region

    def at(self, region: str, project: str, secrets: Sequence[str | bytes]) -> Store:
        """The same project's store in another region."""
        settings = self.settings.at(region)
        return replace(
            self,
            settings=settings,
            keys=_keys(settings, secrets),
            connections=Connections(settings, project),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Stores:
    """Where a project keeps its sessions: in one store, or in one for each region.

    ``home`` is where new sessions go unless somebody says otherwise. ``by_region`` is empty where there are
    no regions.
    """

    home: Store
    by_region: Mapping[str, Store]

    @classmethod
    def of(
        cls, settings: Settings, project: str = "", directory: str = "", secrets: Sequence[str | bytes] = ()
    ) -> Stores:
        """The stores that ``settings`` describe; as ``Store.of()``."""
        home = Store.of(settings, project, directory, secrets)
        others = {
            region: home.at(region, project, secrets) for region in settings.regions if region != home.region
        }
        return cls(home, {region: others.get(region, home) for region in settings.regions})

    def __iter__(self) -> Iterator[Store]:
        return iter(self.by_region.values() if self.by_region else (self.home,))

    def named(self, region: str | None) -> Store:
        """The store of a region, ``home`` if None; ``SessionStoreMisconfigured`` if there is no such region."""
        if region is None:
            return self.home
        try:
            return self.by_region[region]
        except KeyError:
            known = ", ".join(self.by_region) or "none"
            raise SessionStoreMisconfigured(
                f"{SETTING}['REGIONS'] does not name {region!r}. There are: {known}."
            ) from None

    def of_key(self, session_key: str | None) -> Store:
        """Where the session with this key lives if it lives at all; ``home`` without a key. No round trip.

        Where keys have no region's name, or a wrong one, the first region knows which can be session keys.
        """
        if not self.by_region or session_key is None:
            return self.home
        store = self.by_region.get(tag_of(session_key))
        return next(iter(self)) if store is None else store

    def protected_by(self, ring: KeyRing) -> Stores:
        """The same with other keys for records."""
        codec = replace(self.home.codec, ring=ring)
        home = replace(self.home, codec=codec)
        others = {
            region: home if store is self.home else replace(store, codec=codec)
            for region, store in self.by_region.items()
        }
        return Stores(home, others)

    def close(self) -> None:
        """Close the connections that belong to this process."""
        for store in self:
            store.connections.close()


def _keys(settings: Settings, secrets: Sequence[str | bytes]) -> Keys:
    # In the first region they stay as they were before there were others.
    tag = "" if settings.is_first_region else settings.region or ""
    found = schemes(settings.keys, secrets, tag)
    return Keys(settings.prefix, found, are_spread=target_of(settings.url).is_cluster)


def ring_of(settings: Settings, secrets: Sequence[str | bytes]) -> KeyRing:
    """The keys that ``settings`` name; ``SessionStoreMisconfigured`` if they cannot be used."""
    return KeyRing.of(
        settings.encryption_keys,
        [secret.encode() if isinstance(secret, str) else secret for secret in secrets],
        sign=settings.sign,
        generation=settings.generation,
        accept_unprotected=settings.accept_unprotected,
    )
