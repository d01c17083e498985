"""What can an operator see of the stored sessions, and do with them?

The functions behind ``manage.py redis_sessions``, the admin and the devices page, for use from Python
too. Sessions are named by their public handles, which are no credentials. All functions raise
``SessionStoreError`` when Redis fails.
"""

from django_redis_sessions.diagnosis import Finding, Severity
from django_redis_sessions.infos import SessionInfo
from django_redis_sessions.rights import Rights
from django_redis_sessions.sessions.contents import Contents, acontents, contents
from django_redis_sessions.sessions.counting import (
    Statistics,
    acount,
    astatistics,
    count,
    server_facts,
    statistics,
)
from django_redis_sessions.sessions.diagnosing import acl_rules, adiagnose, diagnose
from django_redis_sessions.sessions.ending import (
    apurge,
    arevoke,
    arevoke_all,
    arevoke_user,
    purge,
    revoke,
    revoke_all,
    revoke_user,
)
from django_redis_sessions.sessions.learning import atrain_dictionary, train_dictionary
from django_redis_sessions.sessions.looking import (
    Page,
    adata,
    aget,
    aiterate,
    aof_user,
    apage,
    data,
    get,
    is_cursor,
    iterate,
    of_user,
    page,
)
from django_redis_sessions.sessions.moving import (
    Moved,
    aadopted,
    adopted,
    aexport_to,
    aimport_from,
    export_to,
    import_from,
)
from django_redis_sessions.sessions.ranking import ORDERS, aranked, ranked
from django_redis_sessions.sessions.rewriting import Rewritten, arewrite, rewrite
from django_redis_sessions.sessions.sweeping import areindex, asweep, reindex, sweep

__all__ = [
    "ORDERS",
    "Contents",
    "Finding",
    "Moved",
    "Page",
    "Rewritten",
    "Rights",
    "SessionInfo",
    "Severity",
    "Statistics",
    "aadopted",
    "acl_rules",
    "acontents",
    "acount",
    "adata",
    "adiagnose",
    "adopted",
    "aexport_to",
    "aget",
    "aimport_from",
    "aiterate",
    "aof_user",
    "apage",
    "apurge",
    "aranked",
    "areindex",
    "arevoke",
    "arevoke_all",
    "arevoke_user",
    "arewrite",
    "astatistics",
    "asweep",
    "atrain_dictionary",
    "contents",
    "count",
    "data",
    "diagnose",
    "export_to",
    "get",
    "import_from",
    "is_cursor",
    "iterate",
    "of_user",
    "page",
    "purge",
    "ranked",
    "reindex",
    "revoke",
    "revoke_all",
    "revoke_user",
    "rewrite",
    "server_facts",
    "statistics",
    "sweep",
    "train_dictionary",
]
