"""Which rights does this site need?"""

from __future__ import annotations

from django_redis_sessions import conf
from django_redis_sessions.rights import Rights, rights_for


def acl_rules(*, command: bool = False, announces: bool = True, listens: bool = False) -> Rights:
    """The least rights that this site's Redis user needs; no round trip.

    With ``command``, also those that ``manage.py redis_sessions`` needs. Without ``announces``, sessions
    are ended all the same, and nobody is told; with ``listens``, also those of whoever wants to be told.
    ``Rights.rules()`` are lines for redis-cli.
    """
    return rights_for(
        conf.store().settings,
        command=command,
        announces=announces,
        listens=listens,
        leaves=conf.is_leaving(),
    )
