"""What can be said of the servers from what they say about themselves?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from statistics import median

from django_redis_sessions.configuration import SETTING
from django_redis_sessions.diagnosis.facts import Server, Site
from django_redis_sessions.diagnosis.findings import (
    CONFIG,
    SETTINGS,
    SHELL,
    Finding,
    error,
    note,
    ok,
    unknown,
    warning,
)
from django_redis_sessions.diagnosis.releases import AS_OF, ENDS, OLDEST, numbers_of, release_of

#: Seconds: what a round trip should not take, and what makes pages slow.
SLOW, VERY_SLOW = 0.005, 0.05
#: Seconds by which clocks may differ, and from which on it does harm.
SKEWED, VERY_SKEWED = 1.0, 30.0
#: Seconds without a word from a replica, and bytes that it is behind.
LAG, BEHIND = 10, 1 << 20
#: The share of its memory that a server should have free.
FULL = 0.9
SOON = timedelta(days=90)


def of_servers(servers: Sequence[Server], site: Site, today: date) -> list[Finding]:
    """Everything about each server that holds sessions."""
    return [finding.at(server.address) for server in servers for finding in of_server(server, site, today)]


def of_server(server: Server, site: Site, today: date) -> Iterator[Finding]:
    """Everything about one of them."""
    if server.outage is not None:
        yield error("reachable", server.outage, SETTINGS, f'{SETTING}["URL"] = "…"')
        return
    yield ok("reachable", "The server answers.")
    yield from _latency(server)
    yield from _clock(server)
    if site.target.scheme == "embedded":
        # Configured by this package; the one thing to change is the URL, which another rule says.
        return
    yield from _user(server, site)
    yield from _commands(server)
    if server.info is None:
        for id_, what in (
            ("version", "The version"), ("memory", "The memory"), ("eviction", "The eviction policy"),
            ("persistence", "Persistence"), ("topology", "The role"), ("replicas", "The replicas"),
        ):  # fmt: skip
            yield unknown(id_, what)
        return
    yield from _version(server.info, today)
    yield from _topology(server.info, site)
    yield from _memory(server.info)
    yield from eviction(server.info)
    yield from _persistence(server.info, server.config)
    yield from _restart(server)
    yield from _replicas(server, site)


def _latency(server: Server) -> Iterator[Finding]:
    if not server.pings:
        yield unknown("latency", "The latency")
        return
    took = median(server.pings)
    message = f"A round trip takes {took * 1000:.2f} ms (median of {len(server.pings)})."
    if took > VERY_SLOW:
        yield warning(
            "latency", f"{message} Every page waits for one or two.", SETTINGS, f'{SETTING}["URL"] = "…"'
        )
    elif took > SLOW:
        yield note("latency", message)
    else:
        yield ok("latency", message)


def _clock(server: Server) -> Iterator[Finding]:
    if server.skew is None:
        yield unknown("clock", "The server's clock")
        return
    side = "ahead of" if server.skew > 0 else "behind"
    message = f"The server's clock is {abs(server.skew):.1f} s {side} this machine's."
    if abs(server.skew) > VERY_SKEWED:
        yield error(
            "clock", f"{message} Revocations and expiry dates are off by as much.", SHELL, "chronyc makestep"
        )
    elif abs(server.skew) > SKEWED:
        yield warning("clock", message, SHELL, "chronyc makestep")
    else:
        yield ok("clock", "The clocks of the server and this machine agree.")


def _user(server: Server, site: Site) -> Iterator[Finding]:
    is_default = server.user == "default" if server.user else not site.has_user
    line = "manage.py redis_sessions acl --user NAME  # and name it in the URL"
    if server.user is None and not is_default:
        yield ok("user", "The site gives a user name of its own.")
    elif not is_default:
        yield ok("user", "The site is a user of its own.")
    elif not site.has_password and site.is_remote:
        message = (
            "The default user needs no password: whoever reaches the server can read and end every session."
        )
        yield error("user", message, SHELL, line)
    elif not site.has_password:
        message = "The site is the default user, who needs no password and may do everything."
        yield note("user", message, SHELL, line)
    else:
        yield note("user", "The site is the default user, who may do everything.", SHELL, line)


def _commands(server: Server) -> Iterator[Finding]:
    if server.allowed is None:
        yield unknown("commands", "What this user may do")
    elif server.allowed:
        names = ", ".join(sorted(server.allowed))
        message = f"This user may use {names}, which sessions do not need and a mistake can use."
        yield warning("commands", message, SHELL, "manage.py redis_sessions acl --user NAME")
    else:
        yield ok("commands", "This user may use none of the dangerous commands.")


def _version(info: Mapping[str, str], today: date) -> Iterator[Finding]:
    product = info.get("server_name") or "redis"
    version = info.get(f"{product}_version") or info.get("redis_version", "")
    release, name = release_of(version), f"{product.capitalize()} {version}"
    numbers = numbers_of(version)
    ends = ENDS.get((product, release))
    if not numbers or product not in OLDEST:
        yield note(
            "version", f"The server calls itself {name}; nobody here knows until when that is looked after."
        )
    elif numbers < OLDEST[product]:
        message = f"{name} is too old: it lacks commands that sessions need."
        yield error("version", message, SHELL, "upgrade the server")
    elif ends is not None and ends < today:
        message = f"{name} has had no security fixes since {ends:%Y-%m-%d}."
        yield warning("version", message, SHELL, "upgrade the server")
    elif ends is not None and ends - today < SOON:
        message = f"{name} gets no security fixes after {ends:%Y-%m-%d}."
        yield note("version", message, SHELL, "upgrade the server")
    elif ends is not None:
        yield ok("version", f"{name} gets security fixes until {ends:%Y-%m-%d}.")
    elif (product, release) in ENDS:
        yield ok("version", f"{name} had no announced end on {AS_OF:%Y-%m-%d}.")
    else:
        yield ok("version", f"{name} is not in the table of {AS_OF:%Y-%m-%d}, so it is probably newer.")


def _topology(info: Mapping[str, str], site: Site) -> Iterator[Finding]:
    if info.get("role", "master") != "master":
        message = "This server is a replica: it refuses every write, and what is read from it may be old."
        yield error("topology", message, SETTINGS, f'{SETTING}["URL"] = "redis+sentinel://…"')
    elif info.get("cluster_enabled") == "1" and not site.target.is_cluster:
        message = "The server is part of a cluster, and the URL treats it as one server."
        yield error("topology", message, SETTINGS, f'{SETTING}["URL"] = "{_scheme(site)}+cluster://…"')
    else:
        yield ok("topology", "The server is a primary.")


def _scheme(site: Site) -> str:
    return "rediss" if site.target.is_tls else "redis"


def _memory(info: Mapping[str, str]) -> Iterator[Finding]:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        message = "maxmemory is not set: when memory runs out, the system kills the server."
        yield note(
            "memory", message, CONFIG, f"maxmemory {max(64, 4 * used >> 20)}mb  # what the machine can spare"
        )
    elif used > FULL * limit:
        message = f"{used / limit:.0%} of maxmemory is used."
        yield warning("memory", message, CONFIG, f"maxmemory {2 * limit >> 20}mb")
    else:
        yield ok("memory", f"{used / limit:.0%} of maxmemory is used.")


def eviction(info: Mapping[str, str]) -> Iterator[Finding]:
    """What happens to sessions when the server's memory is full."""
    policy = info.get("maxmemory_policy", "")
    line = "maxmemory-policy noeviction"
    if policy.startswith("allkeys-"):
        message = f"The server's maxmemory-policy is {policy}: when memory is full it ends any session, in use or not."
        yield error("eviction", message, CONFIG, f"{line}  # volatile-lru beside a cache")
    elif policy == "volatile-random":
        message = (
            "maxmemory-policy is volatile-random: when memory is full, sessions end by chance, in use or not."
        )
        yield warning("eviction", message, CONFIG, line)
    elif policy.startswith("volatile-"):
        message = f"maxmemory-policy is {policy}: when memory is full, sessions end, those nobody uses first."
        yield note("eviction", message, CONFIG, line)
    elif policy:
        yield ok("eviction", f"maxmemory-policy is {policy}: no session is ended for another key.")
    else:
        yield unknown("eviction", "The eviction policy")
    if int(info.get("evicted_keys", 0)):
        message = f"{int(info['evicted_keys']):,} keys were evicted since the server started."
        yield warning("evicted", message, CONFIG, line)


def _persistence(info: Mapping[str, str], config: Mapping[str, str] | None) -> Iterator[Finding]:
    yield from _persistence_errors(info)
    if "aof_enabled" not in info:
        yield unknown("persistence", "Persistence")
    elif info["aof_enabled"] == "1":
        yield _fsync((config or {}).get("appendfsync"))
    elif config is None:
        yield note(
            "persistence",
            "There is no append-only file; whether there are snapshots could not be looked at. A restart loses "
            "what was saved since the last, or everything.",
            CONFIG,
            "appendonly yes",
        )
    elif config.get("save"):
        message = (
            f"There are snapshots alone (save {config['save']}): a crash loses what was saved since the last."
        )
        yield note("persistence", message, CONFIG, "appendonly yes")
    else:
        message = "Nothing is written to disk: a restart of the server signs everybody out."
        yield warning("persistence", message, CONFIG, "appendonly yes")


def _restart(server: Server) -> Iterator[Finding]:
    info = server.info or {}
    # https://github.com/redis/redis/issues/14541; Valkey 9.1 was seen to load everything.
    is_immune = info.get("server_name") == "valkey" and numbers_of(info.get("valkey_version", "")) >= (9, 1)
    if server.restores is False and info.get("aof_enabled") == "1" and not is_immune:
        message = (
            "The user default may not write: when the server starts, it leaves out of its append-only file what "
            "scripts have written, and everybody is signed out."
        )
        line = "redis-cli ACL SETUSER default off resetpass '~*' '&*' +@all"
        yield error("restart", message, SHELL, line)


def _fsync(policy: str | None) -> Finding:
    if policy == "no":
        message = (
            "The append-only file is left to the system to write: a power cut loses half a minute or more."
        )
        return warning("persistence", message, CONFIG, "appendfsync everysec")
    if policy is None:
        message = "There is an append-only file; appendfsync could not be looked at."
        return note("persistence", message)
    return ok("persistence", f"There is an append-only file, appendfsync {policy}.")


def _persistence_errors(info: Mapping[str, str]) -> Iterator[Finding]:
    failed = [
        what
        for name, what in (
            ("rdb_last_bgsave_status", "the last snapshot"),
            ("aof_last_write_status", "the last write to the append-only file"),
            ("aof_last_bgrewrite_status", "the last rewriting of the append-only file"),
        )
        if info.get(name, "ok") != "ok"
    ]
    if failed:
        message = f"This has failed: {', '.join(failed)}. The server may refuse writes until it works again."
        yield error("persistence-errors", message, SHELL, "df -h  # and look into the server's log")


def _replicas(server: Server, site: Site) -> Iterator[Finding]:
    replicas, wanted = server.replicas, site.settings.wait_replicas
    online = [replica for replica in replicas if replica.is_online]
    if len(online) < wanted:
        message = (
            f"WAIT_REPLICAS is {wanted}, but {len(online)} {'is' if len(online) == 1 else 'are'} online: nobody can "
            f"sign in or out."
        )
        yield error("replicas", message, SETTINGS, f'{SETTING}["WAIT_REPLICAS"] = {len(online)}')
    elif online and not wanted:
        message = f"Replicas online: {len(online)}. Signing in and out does not wait for them: a failover can undo it."
        yield note("replicas", message, SETTINGS, f'{SETTING}["WAIT_REPLICAS"] = 1')
    elif "+" in site.target.scheme and not online:
        message = "There is no replica: when this server dies, its sessions are gone until it is back."
        yield warning("replicas", message, CONFIG, "replicaof PRIMARY PORT  # on another server")
    else:
        yield ok("replicas", f"Replicas online: {len(online)}; WAIT_REPLICAS is {wanted}.")
    for replica in replicas:
        if not replica.is_online or replica.lag > LAG or replica.behind > BEHIND:
            state = "" if replica.is_online else ", and it is not in step yet"
            message = (
                f"The replica at {replica.address} is {replica.behind:,} bytes behind and was heard of "
                f"{replica.lag} s ago{state}."
            )
            yield warning(
                "replica-lag",
                message,
                SHELL,
                f"redis-cli -h {replica.address.partition(':')[0]} INFO replication",
            )
