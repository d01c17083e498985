"""What is found in which facts, rule by rule, without a server."""

from dataclasses import replace
from datetime import date

import pytest

from django_redis_sessions.census import Census
from django_redis_sessions.configuration import Settings, problems
from django_redis_sessions.diagnosis import (
    CHECKS,
    DEPLOY_CHECKS,
    Finding,
    Server,
    Severity,
    Site,
    Stored,
    cache_at,
    eviction,
    of_problems,
    of_server,
    of_servers,
    of_site,
    of_stored,
    worst,
)

REMOTE = "redis://redis.example.com:6379/0"
TODAY = date(2026, 11, 21)
INFO = {
    "server_name": "valkey", "valkey_version": "8.1.5", "redis_version": "7.2.4", "role": "master",
    "used_memory": "1000000", "maxmemory": "100000000", "maxmemory_policy": "noeviction", "evicted_keys": "0",
    "aof_enabled": "1", "rdb_last_bgsave_status": "ok", "aof_last_write_status": "ok",
    "master_repl_offset": "5000000", "cluster_enabled": "0",
}  # fmt: skip
CONFIG = {"appendfsync": "everysec", "save": ""}
ONLINE = "ip=10.0.0.2,port=6379,state=online,offset=5000000,lag=0"


def site(*, url="redis://app:pw@localhost:6379/0", **given):
    names = {field: given.pop(field) for field in list(given) if field in Settings.__slots__}
    return Site(settings=Settings(url=url, **names), given=frozenset(name.upper() for name in names), **given)


def server(*, info=(), **facts):
    known = {
        "address": "there:6379", "pings": (0.0002, 0.0003, 0.9), "skew": 0.0, "user": "app",
        "allowed": frozenset(), "config": CONFIG,
    }  # fmt: skip
    return Server(**{**known, "info": {**INFO, **dict(info)}, **facts})


def about(id_, found):
    return [finding for finding in found if finding.id == id_]


def severities(id_, found):
    return [finding.severity.word for finding in about(id_, found)]


class TestASiteWithNothingToChange:
    def test_gets_no_finding_beyond_ok(self):
        found = of_site(site())
        assert worst(found) is Severity.OK
        found = of_servers([server()], site(), TODAY)
        assert worst(found) is Severity.OK, found


class TestWhatTheSettingsSay:
    @pytest.mark.parametrize(
        ("id_", "given", "severity"),
        [
            ("engine", {"is_engine": False}, "warning"),
            ("engine", {"is_engine": False, "is_leaving": True}, "note"),
            ("embedded", {"url": "embedded://"}, "warning"),
            ("embedded", {"url": "embedded://", "is_debug": True}, "note"),
            ("tls", {"url": REMOTE}, "warning"),
            ("tls", {"url": REMOTE, "is_debug": True}, "note"),
            ("tls", {"url": "redis://127.0.0.1"}, "ok"),
            ("tls", {"url": "redis://[::1]"}, "ok"),
            ("tls", {"url": "unix:///run/redis.sock"}, "ok"),
            ("tls", {"url": "rediss://redis.example.com"}, "ok"),
            ("tls", {"url": "redis+cluster://localhost,10.0.0.1"}, "warning"),
            ("certificate", {"url": "rediss://a.example", "options": {"ssl_cert_reqs": "none"}}, "warning"),
            ("certificate", {"url": "rediss://a.example", "options": {"ssl_check_hostname": False}}, "warning"),
            ("certificate", {"url": "rediss://a.example?ssl_cert_reqs=optional"}, "warning"),
            ("password", {"url": REMOTE}, "error"),
            ("password", {"url": REMOTE, "is_debug": True}, "note"),
            ("password", {"url": "redis://:pw@redis.example.com"}, "ok"),
            ("password", {"url": REMOTE, "options": {"password": "pw"}}, "ok"),
            ("password", {"url": REMOTE, "options": {"credential_provider": object()}}, "ok"),
            ("password", {"url": "redis://localhost"}, "note"),
            ("password", {"url": "unix:///run/redis.sock"}, "ok"),
            ("keys", {"keys": ("plain",)}, "warning"),
            ("keys", {"keys": ("hashed", "plain")}, "warning"),
            ("keys", {"keys": ("signed", "hashed")}, "note"),
            ("keys", {"keys": ("signed",)}, "ok"),
            ("keys", {"keys": ("hashed", "signed")}, "ok"),
            ("keys", {}, "ok"),
            ("seeds", {"url": "redis+sentinel://a.example/mymaster"}, "warning"),
            ("seeds", {"url": "redis+cluster://a.example"}, "warning"),
            ("protocol", {"options": {"protocol": 3}}, "note"),
            ("protocol", {"url": "redis://localhost?protocol=3"}, "note"),
            ("protocol", {}, "ok"),
            ("serializer", {"serializer": "shop.serializers.PickleSerializer"}, "warning"),
            ("cookie-secure", {"cookie_secure": False}, "warning"),
            ("cookie-secure", {"cookie_secure": False, "is_debug": True}, "note"),
            ("cookie-httponly", {"cookie_httponly": False}, "warning"),
            ("cookie-samesite", {"cookie_samesite": "None", "cookie_secure": False}, "error"),
            ("cookie-samesite", {"cookie_samesite": "None"}, "note"),
            ("cookie-samesite", {"cookie_samesite": None}, "note"),
            ("cookie-samesite", {"cookie_samesite": "Strict"}, "ok"),
            ("save-every-request", {"saves_every_request": True, "rolling": 0.5}, "warning"),
            ("save-every-request", {"saves_every_request": True}, "note"),
            ("lifetimes", {"ttl": 3600, "cookie_age": 7200, "sets_cookie_age": True}, "warning"),
            ("lifetimes", {"ttl": 3600, "cookie_age": 3600, "sets_cookie_age": True}, "ok"),
            ("lifetimes", {"ttl": 3600}, "ok"),
            ("lifetimes", {"ttl": 3600, "absolute_ttl": 1800}, "warning"),
            ("lifetimes", {"absolute_ttl": 8 * 3600}, "note"),
            ("lifetimes", {"ttl": 3600, "absolute_ttl": 7200}, "ok"),
            ("lifetimes", {"anonymous_ttl": 1209600}, "warning"),
            ("lifetimes", {"probation_ttl": 3600, "anonymous_ttl": 3600}, "warning"),
            ("lifetimes", {"probation_ttl": 60, "anonymous_ttl": 3600}, "ok"),
            ("lifetimes", {"ttl": 60, "last_seen": 60}, "warning"),
            ("lifetimes", {"ttl": 60}, "ok"),
            ("browser-close", {"expires_at_browser_close": True}, "note"),
            ("middleware", {"has_middleware": False}, "note"),
            ("middleware", {"has_middleware": False, "rolling": 0.5}, "warning"),
            ("middleware", {"has_middleware": False, "on_outage": "anonymous"}, "warning"),
            ("middleware", {"has_middleware": False, "anonymous_budget": (60, 3600)}, "warning"),
            ("middleware", {"has_middleware": False, "last_seen": None}, "note"),
        ],
    )  # fmt: skip
    def test_is_judged(self, id_, given, severity):
        found = about(id_, of_site(site(**given)))
        assert [finding.severity.word for finding in found] == [severity]
        assert (found[0].line is not None) == (severity != "ok")

    @pytest.mark.parametrize(
        ("id_", "given"),
        [
            ("embedded", {}),
            ("certificate", {"url": "rediss://a.example", "options": {"ssl_cert_reqs": "required"}}),
            ("seeds", {"url": "redis+cluster://a.example,b.example"}),
            ("save-every-request", {}),
            ("browser-close", {"expires_at_browser_close": True, "ttl": 3600}),
        ],
    )
    def test_is_not_mentioned_where_it_does_not_apply(self, id_, given):
        assert about(id_, of_site(site(**given))) == []

    def test_gives_a_line_that_can_be_written(self):
        (finding,) = about("lifetimes", of_site(site(anonymous_ttl=1209600)))
        assert (finding.place, finding.line) == ("settings.py", 'SESSION_REDIS["ANONYMOUS_TTL"] = 604800')
        assert "14 days" in finding.message

    def test_names_all_settings_that_need_the_middleware(self):
        (finding,) = about(
            "middleware", of_site(site(has_middleware=False, interrupted="drop", devices="masked"))
        )
        assert finding.message == "Under Django's middleware INTERRUPTED, DEVICES have no effect."

    def test_says_which_of_them_do_nothing_under_djangos(self):
        (finding,) = about("middleware", of_site(site(has_middleware=False, anonymous_budget=(60, 60))))
        assert finding.message == "Under Django's middleware ANONYMOUS_BUDGET has no effect."
        (finding,) = about("middleware", of_site(site(has_middleware=False, rolling=0.5)))
        assert finding.message == "Under Django's middleware ROLLING does not renew the cookie."
        (finding,) = about("middleware", of_site(site(has_middleware=False, rolling=0.5, interrupted="drop")))
        assert "INTERRUPTED has no effect and ROLLING does not" in finding.message


class TestACacheInTheSameServer:
    @pytest.mark.parametrize(
        ("url", "location", "options", "severity"),
        [
            ("redis://localhost:6379/1", "redis://127.0.0.1/1", {}, "error"),
            ("redis://localhost:6379/1", ["redis://127.0.0.1/1", "redis://b.example"], {}, "error"),
            ("redis://localhost:6379/1", "redis://127.0.0.1/2", {}, "note"),
            ("redis://localhost:6379/0", "redis://127.0.0.1", {"db": 0}, "error"),
            ("redis://localhost:6379/0", "redis://127.0.0.1", {"db": 4}, "note"),
            ("redis://localhost:6379/4", "redis://127.0.0.1", {"DB": "4"}, "error"),
            ("redis://localhost:6379/0?db=3", "redis://localhost/3", {}, "error"),
            ("redis://localhost:6380/0", "redis://127.0.0.1/0", {}, "ok"),
            ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1", {}, "error"),
            ("redis+cluster://a.example,b.example", "redis://b.example:6379", {}, "error"),
        ],
    )  # fmt: skip
    def test_is_found(self, url, location, options, severity):
        cache = cache_at("default", location, options)
        found = about("cache-shared", of_site(site(url=url, caches=(cache,))))
        assert [finding.severity.word for finding in found] == [severity]

    @pytest.mark.parametrize("location", ["", "unique-snowflake", None, "redis://host:port", ["x"]])
    def test_is_none_that_is_not_in_redis(self, location):
        assert cache_at("default", location, {}) is None

    def test_says_nothing_of_its_password(self):
        cache = cache_at("default", "redis://user:secret@localhost/0", {})
        (finding,) = about("cache-shared", of_site(site(caches=(cache,))))
        assert "secret" not in repr(cache) + repr(finding)


class TestWhatAServerSays:
    @pytest.mark.parametrize(
        ("id_", "facts", "given", "severity"),
        [
            ("latency", {"pings": (0.01,)}, {}, "note"),
            ("latency", {"pings": (0.1,) * 3}, {}, "warning"),
            ("latency", {"pings": ()}, {}, "note"),
            ("clock", {"skew": 2.0}, {}, "warning"),
            ("clock", {"skew": -90.0}, {}, "error"),
            ("clock", {"skew": None}, {}, "note"),
            ("user", {"user": "default"}, {}, "note"),
            ("user", {"user": "default"}, {"url": REMOTE}, "error"),
            ("user", {"user": "default"}, {"url": "redis://localhost"}, "note"),
            ("user", {"user": None}, {}, "ok"),
            ("user", {"user": None}, {"url": "redis://:pw@localhost"}, "note"),
            ("commands", {"allowed": None}, {}, "note"),
            ("commands", {"allowed": frozenset({"KEYS", "FLUSHALL"})}, {}, "warning"),
            ("version", {"info": {"valkey_version": "8.0.1"}}, {}, "ok"),
            ("version", {"info": {"valkey_version": "9.1.2"}}, {}, "ok"),
            ("version", {"info": {"server_name": "", "redis_version": "7.0.15"}}, {}, "warning"),
            ("version", {"info": {"server_name": "", "redis_version": "7.4.8"}}, {}, "ok"),
            ("version", {"info": {"server_name": "", "redis_version": "6.0.20"}}, {}, "error"),
            ("version", {"info": {"server_name": "", "redis_version": "unstable"}}, {}, "note"),
            ("version", {"info": {"server_name": "dragonfly"}}, {}, "note"),
            ("topology", {"info": {"role": "slave"}}, {}, "error"),
            ("topology", {"info": {"cluster_enabled": "1"}}, {}, "error"),
            ("topology", {"info": {"cluster_enabled": "1"}}, {"url": "redis+cluster://a,b"}, "ok"),
            ("memory", {"info": {"maxmemory": "0"}}, {}, "note"),
            ("memory", {"info": {"maxmemory": "1000001"}}, {}, "warning"),
            ("eviction", {"info": {"maxmemory_policy": "allkeys-lru"}}, {}, "error"),
            ("eviction", {"info": {"maxmemory_policy": "volatile-random"}}, {}, "warning"),
            ("eviction", {"info": {"maxmemory_policy": "volatile-ttl"}}, {}, "note"),
            ("eviction", {"info": {"maxmemory_policy": ""}}, {}, "note"),
            ("evicted", {"info": {"evicted_keys": "7"}}, {}, "warning"),
            ("persistence", {"config": {"appendfsync": "no", "save": ""}}, {}, "warning"),
            ("persistence", {"config": None}, {}, "note"),
            ("persistence", {"info": {"aof_enabled": "0"}}, {}, "warning"),
            ("persistence", {"info": {"aof_enabled": "0"}, "config": {"save": "3600 1"}}, {}, "note"),
            ("persistence", {"info": {"aof_enabled": "0"}, "config": None}, {}, "note"),
            ("persistence-errors", {"info": {"rdb_last_bgsave_status": "err"}}, {}, "error"),
            ("restart", {"restores": False}, {}, "error"),
            ("replicas", {}, {"wait_replicas": 1}, "error"),
            ("replicas", {"info": {"slave0": ONLINE}}, {"wait_replicas": 1}, "ok"),
            ("replicas", {"info": {"slave0": ONLINE}}, {"wait_replicas": 2}, "error"),
            ("replicas", {"info": {"slave0": ONLINE}}, {}, "note"),
            ("replicas", {}, {"url": "redis+cluster://a,b"}, "warning"),
            ("replica-lag", {"info": {"slave0": ONLINE.replace("lag=0", "lag=60")}}, {}, "warning"),
            ("replica-lag", {"info": {"slave0": ONLINE.replace("5000000", "1")}}, {}, "warning"),
            ("replica-lag", {"info": {"slave0": ONLINE.replace("online", "wait_bgsave")}}, {}, "warning"),
        ],
    )  # fmt: skip
    def test_is_judged(self, id_, facts, given, severity):
        found = of_servers([server(**facts)], site(**given), TODAY)
        assert severities(id_, found) == [severity]
        assert {finding.where for finding in found} == {"there:6379"}

    @pytest.mark.parametrize(
        "facts",
        [
            {"restores": True},
            {"restores": None},
            {"restores": False, "info": {"aof_enabled": "0"}},
            {"restores": False, "info": {"valkey_version": "9.1.0"}},
        ],
    )
    def test_is_sure_to_keep_its_sessions_over_a_restart(self, facts):
        assert about("restart", of_servers([server(**facts)], site(), TODAY)) == []

    def test_is_that_it_cannot_be_reached(self):
        (finding,) = of_server(Server(outage="It is away."), site(), TODAY)
        assert (finding.id, finding.severity, finding.message) == ("reachable", Severity.ERROR, "It is away.")

    def test_is_not_judged_where_this_package_configures_it(self):
        found = of_servers([server(info={"aof_enabled": "0"})], site(url="embedded://"), TODAY)
        assert {finding.id for finding in found} == {"reachable", "latency", "clock"}

    def test_is_nothing_where_an_acl_rule_forbids_it(self):
        silent = Server(address="there", pings=(0.001,))
        found = of_servers([silent], site(), TODAY)
        unknown = {finding.id for finding in found if not finding.is_known}
        assert unknown == {
            "clock", "commands", "version", "memory", "eviction", "persistence", "topology", "replicas"
        }  # fmt: skip
        assert worst(found) is Severity.NOTE

    @pytest.mark.parametrize(
        ("today", "severity"),
        [
            (date(2027, 1, 1), "ok"),
            (date(2027, 8, 1), "note"),
            (date(2027, 9, 15), "note"),
            (date(2027, 9, 16), "warning"),
        ],
    )
    def test_of_its_version_is_compared_with_the_day(self, today, severity):
        found = of_servers([server(info={"valkey_version": "8.0.6"})], site(), today)
        assert severities("version", found) == [severity]

    def test_of_persistence_may_be_missing(self):
        info = {name: value for name, value in INFO.items() if name != "aof_enabled"}
        found = of_servers([replace(server(), info=info)], site(), TODAY)
        (finding,) = about("persistence", found)
        assert not finding.is_known

    def test_of_its_policy_is_the_same_for_the_system_check(self):
        assert [*eviction({"maxmemory_policy": "allkeys-lfu"})] == [
            replace(finding, where=None)
            for finding in of_servers([server(info={"maxmemory_policy": "allkeys-lfu"})], site(), TODAY)
            if finding.id == "eviction"
        ]


class TestWhatIsStored:
    def census(self, *, users=0, anonymous=0, unreadable=0, immortal=0, sizes=(100,)):
        found = Census()
        owners = [b"user"] * users + [b""] * anonymous + [None] * unreadable
        found.count(owners, [-1] * immortal + [60] * (len(owners) - immortal))
        for size in sizes:
            found.weigh(size, None)
        return found

    @pytest.mark.parametrize(
        ("id_", "facts", "severity"),
        [
            ("without-ttl", {"users": 3}, "ok"),
            ("without-ttl", {"users": 3, "immortal": 1}, "warning"),
            ("unreadable", {"users": 3, "unreadable": 1}, "warning"),
            ("anonymous", {"users": 3, "anonymous": 90}, "ok"),
            ("anonymous", {"users": 300, "anonymous": 9000}, "note"),
            ("size", {"users": 1, "sizes": (300_000,)}, "warning"),
            ("size", {"users": 1, "sizes": (20_000,)}, "note"),
            ("size", {"users": 1, "sizes": (2_000_000,)}, "warning"),
            ("size", {"users": 1}, "ok"),
            ("size", {}, "ok"),
        ],
    )
    def test_is_judged(self, id_, facts, severity):
        found = of_stored(Stored(self.census(**facts), 0, 0), site())
        assert severities(id_, found) == [severity]

    @pytest.mark.parametrize(
        ("largest", "limit", "words"),
        [
            (3000, 8192, "Every request"),
            (9000, 8192, "MAX_SIZE allows 8,192"),
            (300_000, None, "Every request"),
        ],
    )
    def test_is_weighed_by_the_setting(self, largest, limit, words):
        found = of_stored(Stored(self.census(users=1, sizes=(largest,)), 0, 0), site(max_size=limit))
        assert severities("size", found) == ["warning"]
        assert words in about("size", found)[0].message

    def test_of_anonymous_sessions_is_known_to_who_shortens_their_life(self):
        stored = Stored(self.census(anonymous=9000), 0, 0)
        assert severities("anonymous", of_stored(stored, site(anonymous_ttl=3600))) == ["ok"]

    @pytest.mark.parametrize(
        ("signed_in", "unlisted", "severity"), [(5, 0, "ok"), (5, 2, "warning"), (None, None, "note")]
    )
    def test_is_compared_with_the_index(self, signed_in, unlisted, severity):
        assert severities("index", of_stored(Stored(self.census(), signed_in, unlisted), site())) == [
            severity
        ]

    @pytest.mark.parametrize(
        ("quiet", "given", "severity"),
        [
            (None, {}, "note"),
            (30, {}, "ok"),
            (1209600, {}, "ok"),
            (1209601, {}, "warning"),
            (3601, {"cookie_age": 3600}, "warning"),
            (3601, {"cookie_age": 3600, "ttl": 7200}, "ok"),
        ],
    )
    def test_is_compared_with_when_a_session_last_came(self, quiet, given, severity):
        stored = Stored(self.census(), 0, 0, quiet)
        assert severities("fallback", of_stored(stored, site(fallback_engines=("an.engine",), **given))) == [
            severity
        ]
        assert severities("fallback", of_stored(stored, site())) == []

    @pytest.mark.parametrize(
        ("quiet", "said"),
        [(3 * 86400, "3 days"), (86400, "24 hours"), (150, "2 minutes"), (100, "100 seconds")],
    )
    def test_says_how_long_ago(self, quiet, said):
        stored = Stored(self.census(), 0, 0, quiet)
        (finding,) = about("fallback", of_stored(stored, site(fallback_engines=("an.engine",))))
        assert f" {said} ago" in finding.message


class TestSettingsThatCannotBeUsed:
    def test_are_errors(self):
        (finding,) = of_problems(problems({"TTLL": 1}))
        assert (finding.id, finding.severity) == ("settings", Severity.ERROR)
        assert "Did you mean 'TTL'?" in finding.message


class TestAFinding:
    def test_has_an_anchor_in_the_documentation(self):
        finding = Finding(id="eviction", severity=Severity.ERROR, message="…")
        assert finding.anchor == "docs/doctor.md#eviction"
        assert finding.as_dict()["severity"] == "error"

    def test_of_a_check_has_one_number(self):
        numbers = [*CHECKS.values(), *DEPLOY_CHECKS.values()]
        assert len(numbers) == len(set(numbers))
        assert not {"W002", "W003"} & set(numbers)

    def test_is_worst_where_there_is_none(self):
        assert worst([]) is Severity.OK
