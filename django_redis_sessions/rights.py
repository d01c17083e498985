"""What must a Redis user be allowed to do, for the features that a site uses?

The one list of rights: ``manage.py redis_sessions acl`` prints it, the documentation is compared with
it, and the tests run as a user who has nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django_redis_sessions.configuration import Settings, database_of, target_of
from django_redis_sessions.keys import Keys
from django_redis_sessions.schemes import SCHEMES

#: What every site needs; scripts are held to the same rights as who calls them.
SESSIONS = ("get", "set", "exists", "unlink", "getrange", "setrange", "expire", "ttl", "evalsha", "eval")
#: What ``USER_INDEX`` needs in addition.
INDEX = ("zadd", "zrem", "zscore", "zcount", "zrangebyscore", "zremrangebyscore", "zremrangebyrank")
#: What tells others of ended sessions.
ANNOUNCEMENTS = ("publish",)
#: What hears of them.
LISTENING = ("subscribe", "ping")
#: What ``manage.py redis_sessions`` needs to look at all sessions and at the server.
COMMAND = (
    "scan", "strlen", "memory|usage", "dbsize", "info", "ping", "time", "acl|whoami", "acl|dryrun"
)  # fmt: skip
#: What only some settings need: a database other than 0, ``WAIT_REPLICAS``, a cluster.
DATABASE, REPLICAS, CLUSTER = ("select",), ("wait",), ("cluster|slots", "asking")
#: What finds a session by its handle where ``KEYS`` is "plain".
PLAIN = ("scan",)
#: What finds a session where ``KEYS`` names several schemes, or one whose names may depend on SECRET_KEY.
SEVERAL = ("mget",)


@dataclass(frozen=True, slots=True)
class Rights:
    """What a user is allowed: keys and channels by pattern, commands in groups, one group a line.

    ``on_channels`` are the commands that the channels are for, ``more_keys`` what the last group of
    ``commands`` is for beside ``keys``.
    """

    keys: tuple[str, ...]
    channels: tuple[str, ...]
    on_channels: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    more_keys: tuple[str, ...] = ()

    def rules(self, user: str, password: str | None = None) -> list[str]:
        """Lines for ``redis-cli``; the first takes away whatever this user was allowed before.

        Without ``password`` a placeholder stands in its place.
        """
        keys = " ".join(f"~{pattern}" for pattern in self.keys)
        channels = "".join(f" &{pattern}" for pattern in self.channels)
        more = "".join(f" ~{pattern}" for pattern in self.more_keys)
        *groups, last = map(_permitting, self.commands)
        return [
            f"ACL SETUSER {user} on >{password or 'password'} resetkeys {keys} -@all",
            f"ACL SETUSER {user} resetchannels{channels}{_permitting(self.on_channels)}",
            *[f"ACL SETUSER {user}{group}" for group in (*groups, more + last)],
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        commands = dict.fromkeys(command for group in (self.on_channels, *self.commands) for command in group)
        return {"keys": [*self.keys, *self.more_keys], "channels": [*self.channels], "commands": [*commands]}


def rights_for(
    settings: Settings,
    *,
    command: bool = False,
    announces: bool = True,
    listens: bool = False,
    leaves: bool = False,
) -> Rights:
    """The least that a site with these settings needs; ``command`` for whoever runs the command as well.

    Without ``announces`` sessions are ended and moved all the same, and nobody is told. ``listens`` is for
    those who want to be told. ``leaves`` says that the site's engine is one of ``leaving``. Sessions that move
    need no further commands, but keys: a site needs them while sessions come or go with their visitors, the
    command for ``import`` and ``export``.
    """
    keys = Keys(settings.prefix)
    moves = bool(settings.fallback_engines) or leaves
    return Rights(
        keys=(
            *keys.patterns(has_index=settings.user_index),
            *((keys.budget_pattern,) if settings.anonymous_budget else ()),
            *(keys.moving_patterns if moves else ()),
        ),
        channels=(keys.channel_pattern,) if announces or listens else (),
        on_channels=(*(ANNOUNCEMENTS if announces else ()), *(LISTENING if listens else ())),
        commands=(SESSIONS, *_optional(settings), *((COMMAND,) if command else ())),
        more_keys=keys.moving_patterns if command and not moves else (),
    )


def _optional(settings: Settings) -> Iterator[tuple[str, ...]]:
    if settings.user_index:
        yield INDEX
    extra = (
        *(DATABASE if database_of(settings.url, settings.options) else ()),
        *(REPLICAS if settings.wait_replicas else ()),
        *(CLUSTER if target_of(settings.url).is_cluster else ()),
        *(PLAIN if "plain" in settings.keys else ()),
        *(SEVERAL if len(settings.keys) > 1 or settings.keys[0] not in SCHEMES else ()),
    )
    if extra:
        yield extra


def _permitting(commands: Iterable[str]) -> str:
    return "".join(f" +{command}" for command in commands)
