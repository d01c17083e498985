"""``sessions.diagnose()``, the subcommand ``doctor`` and the system checks, on real servers."""

import io
import json
from time import time

import pytest
from django.core import checks as django_checks
from django.core.management import CommandError, call_command

from django_redis_sessions import arrivals, checks, conf, diagnosis, examinations, indexes, sessions
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.embedded import find_server
from django_redis_sessions.executors import run
from django_redis_sessions.keys import user_marker
from django_redis_sessions.rights import rights_for
from django_redis_sessions.sessions import Severity, diagnosing
from tests.servers import RedisServer, free_port
from tests.topologies import until

pytestmark = pytest.mark.operator

#: What every server and site is looked at for, whatever is found.
ALWAYS = {
    "engine", "tls", "password", "protocol", "serializer", "cookie-secure", "cookie-httponly", "cookie-samesite",
    "lifetimes", "middleware", "cache-shared", "reachable", "latency", "clock", "user", "commands", "version",
    "topology", "memory", "eviction", "persistence", "replicas", "without-ttl", "anonymous", "size", "index",
}  # fmt: skip


def signed_in(user="1"):
    session = SessionStore()
    session["_auth_user_id"] = user
    session.save()
    return session


def all_about(found, id_):
    """Of a cluster, what is found of each master."""
    findings = [finding for finding in found if finding.id == id_]
    assert findings
    return findings


def about(found, id_):
    (finding,) = all_about(found, id_)
    return finding


@pytest.mark.usefixtures("store")
class TestADiagnosis:
    def test_looks_at_everything(self, do):
        found = do(sessions.diagnose)
        assert {finding.id for finding in found} >= ALWAYS
        masters = [node.address for node in conf.store().connections.client().nodes()]
        assert [finding.where for finding in all_about(found, "version")] == masters
        for finding in all_about(found, "latency"):
            assert finding.severity is Severity.OK or "ms" in finding.message

    def test_changes_nothing(self, do, behind, prefix):
        session = signed_in()
        key = conf.store().keys.record(session.session_key)
        before = behind.get(key), sorted(behind.scan_iter(f"{prefix}:*"))
        do(sessions.diagnose)
        assert (behind.get(key), sorted(behind.scan_iter(f"{prefix}:*"))) == before

    def test_finds_sessions_that_are_in_no_index(self, do, behind):
        for user in ("1", "1", "2"):
            signed_in(user)
        SessionStore().save()
        behind.unlink(conf.store().keys.index(user_marker("1")))
        finding = about(do(sessions.diagnose), "index")
        assert finding.severity is Severity.WARNING
        assert finding.message.startswith("2 of 3 signed-in sessions")
        assert finding.line == "manage.py redis_sessions reindex"
        sessions.reindex()
        assert about(do(sessions.diagnose), "index").severity is Severity.OK

    def test_asks_no_index_where_there_is_none(self, do, configure):
        configure(USER_INDEX=False)
        signed_in()
        assert about(do(sessions.diagnose), "index").severity is Severity.NOTE

    def test_knows_when_a_session_last_came_from_another_engine(self, do, configure, behind):
        configure(FALLBACK_ENGINES=["tests.memory_engine"])
        assert about(do(sessions.diagnose), "fallback").severity is Severity.NOTE
        store = conf.store()
        run(store.connections.client(), arrivals.note(store.keys, int(time())))
        assert about(do(sessions.diagnose), "fallback").severity is Severity.OK
        run(store.connections.client(), arrivals.note(store.keys, int(time()) - 30 * 86400))
        assert "For 30 days" in about(do(sessions.diagnose), "fallback").message

    def test_finds_sessions_without_a_ttl(self, do, behind):
        key = conf.store().keys.record(signed_in().session_key)
        behind.persist(key)
        assert about(do(sessions.diagnose), "without-ttl").severity is Severity.WARNING
        behind.expire(key, 60)

    def test_takes_a_sample(self, do, monkeypatch):
        monkeypatch.setattr("django_redis_sessions.walks.PAGE", 10)
        for _ in range(60):
            SessionStore().save()
        assert "of 60 sessions" not in about(do(sessions.diagnose, 5), "without-ttl").message

    @pytest.mark.parametrize(
        ("ahead", "severity"), [(0, "ok"), (-90, "error"), (90, "error"), (5, "warning")]
    )
    def test_compares_the_clocks(self, do, monkeypatch, ahead, severity):
        monkeypatch.setattr(diagnosing, "time", lambda: time() - ahead)
        for finding in all_about(do(sessions.diagnose), "clock"):
            assert finding.severity.word == severity
            assert ("ahead of" in finding.message) == (ahead > 0)

    def test_says_what_makes_the_settings_unusable(self, do, settings):
        settings.SESSION_REDIS = {"TTL": -1, "URLS": "redis://:secret@localhost"}
        found = do(sessions.diagnose)
        assert [finding.id for finding in found] == ["settings", "settings"]
        assert "secret" not in repr(found)

    def test_of_a_server_that_is_away_says_so(self, do, configure):
        configure(URL="unix://user:secret@/nowhere/redis.sock")
        found = do(sessions.diagnose)
        finding = about(found, "reachable")
        assert (finding.severity, finding.where) == (Severity.ERROR, "unix:///nowhere/redis.sock")
        assert "secret" not in repr(found)
        assert "version" not in {finding.id for finding in found}

    def test_of_a_cluster_that_is_away_says_so(self, do, configure):
        configure(URL="redis+cluster://127.0.0.1:1,127.0.0.1:2", RETRIES=0)
        assert about(do(sessions.diagnose), "reachable").severity is Severity.ERROR

    def test_tells_of_another_engine(self, do, settings):
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
        assert about(do(sessions.diagnose), "engine").severity is Severity.WARNING
        settings.SESSION_ENGINE = "django_redis_sessions.leaving.db"
        assert conf.site().is_leaving
        settings.SESSION_ENGINE = "nowhere.to_be_found"
        assert about(do(sessions.diagnose), "engine").severity is Severity.WARNING

    def test_knows_the_middleware(self, do, settings):
        assert about(do(sessions.diagnose), "middleware").severity is Severity.NOTE
        settings.MIDDLEWARE = ["django_redis_sessions.middleware.SessionMiddleware"]
        assert about(do(sessions.diagnose), "middleware").severity is Severity.OK


class TestASessionThatEndsMeanwhile:
    def test_is_not_missing_in_an_index(self, store):
        session = signed_in()
        client = store.connections.client()

        class Meddler:
            def nodes(self):
                return client.nodes()

            def execute(self, command):
                if command[0][0] == "ZSCORE":
                    session.delete()
                return client.execute(command)

        assert run(Meddler(), indexes.coverage(store.keys, 10)) == (0, 0)
        assert not session.exists(session.session_key)


@pytest.fixture(scope="module")
def troubled():
    """A server with much to change."""
    options = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes",
               "--appendfsync", "no", "--repl-diskless-sync-delay", "0")  # fmt: skip
    with RedisServer(*options, port=free_port()) as server:
        yield server


class TestATroubledServer:
    @pytest.fixture(autouse=True)
    def here(self, settings, troubled):
        settings.SESSION_REDIS = {"URL": troubled.url, "PREFIX": "troubled", "TIMEOUT": 5}

    def test_is_told_what_to_change_in_its_configuration(self, do):
        found = do(sessions.diagnose)
        assert {
            finding.id: (finding.severity.word, finding.place, finding.line)
            for finding in found
            if finding.place == "redis.conf"
        } == {
            "eviction": ("error", "redis.conf", "maxmemory-policy noeviction  # volatile-lru beside a cache"),
            "persistence": ("warning", "redis.conf", "appendfsync everysec"),
        }

    def test_is_told_which_commands_its_user_may_use(self, do):
        finding = about(do(sessions.diagnose), "commands")
        assert "CONFIG, DEBUG, FLUSHALL, FLUSHDB, KEYS" in finding.message

    def test_is_compared_with_wait_replicas(self, do, settings, troubled):
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "WAIT_REPLICAS": 1}
        assert about(do(sessions.diagnose), "replicas").severity is Severity.ERROR
        with RedisServer("--replicaof", "127.0.0.1", str(troubled.port)) as replica:
            with troubled.client() as client:
                until(lambda: client.info("replication").get("slave0", {}).get("state") == "online")
            assert about(do(sessions.diagnose), "replicas").severity is Severity.OK
            settings.SESSION_REDIS = {"URL": replica.url, "TIMEOUT": 5}
            finding = about(do(sessions.diagnose), "topology")
            assert finding.severity is Severity.ERROR
            assert finding.message.startswith("This server is a replica: ")

    @pytest.mark.parametrize("protocol", [2, 3])
    def test_understands_both_protocols(self, do, settings, protocol):
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "OPTIONS": {"protocol": protocol}}
        found = do(sessions.diagnose)
        assert about(found, "persistence").line == "appendfsync everysec"
        assert about(found, "protocol").severity is (Severity.OK if protocol == 2 else Severity.NOTE)


class TestAUserWithFewRights:
    @pytest.fixture
    def limited(self, troubled, settings):
        """Sets the user's rights; what is printed for the settings unless others are given."""
        with troubled.client() as client:

            def limit(*rules):
                client.execute_command("ACL", "SETUSER", "few", "reset", "on", ">secret", *rules)
                settings.SESSION_REDIS = {
                    "URL": f"unix://few:secret@{troubled.socket}", "PREFIX": "troubled", "TIMEOUT": 5,
                }  # fmt: skip

            yield limit
            client.execute_command("ACL", "DELUSER", "few")

    def printed(self, **options):
        rules = rights_for(conf.store().settings, **options).rules("few", "secret")
        return [word for rule in rules for word in rule.split()[3:]]

    def test_can_have_all_looked_at_but_the_configuration(self, do, limited):
        limited()
        limited(*self.printed(command=True))
        found = do(sessions.diagnose)
        # Before Redis 7, which has ACL DRYRUN, only who sees the hashes of passwords learns what it may do.
        unknown = set() if find_server().version >= (7,) else {"commands"}
        assert {finding.id for finding in found if not finding.is_known} == unknown
        assert "appendfsync could not be looked at" in about(found, "persistence").message
        assert about(found, "user").severity is Severity.OK
        assert about(found, "commands").severity is (Severity.NOTE if unknown else Severity.OK)
        assert "secret" not in repr(found)

    def test_is_warned_of_a_server_that_would_forget_sessions_when_it_starts(self, do, limited, troubled):
        limited("~*", "&*", "+@all")
        with troubled.client() as client, troubled.client(username="few", password="secret") as other:
            server = client.info("server")
            asked = server["redis_version"] >= "7" and server.get("valkey_version", "0") < "9.1"
            other.execute_command("ACL", "SETUSER", "default", "off", "-@all")
            try:
                found = do(sessions.diagnose)
            finally:
                other.execute_command("ACL", "SETUSER", "default", "on", "+@all")
        assert [finding.severity.word for finding in found if finding.id == "restart"] == asked * ["error"]
        assert [finding for finding in do(sessions.diagnose) if finding.id == "restart"] == []

    def test_without_the_rights_of_the_command_is_no_error(self, do, limited):
        limited()
        limited(*self.printed())
        found = do(sessions.diagnose)
        assert about(found, "reachable").severity is Severity.OK
        unknown = {finding.id for finding in found if not finding.is_known}
        assert unknown == {
            "latency", "clock", "commands", "version", "memory", "eviction", "persistence", "topology",
            "replicas", "sessions",
        }  # fmt: skip
        assert diagnosis.worst(finding for finding in found if finding.where) is Severity.NOTE

    def test_that_may_not_ask_what_it_may_do_is_no_error(self, do, limited):
        limited("~*", "+@all", "-acl", "+acl|whoami")
        found = do(sessions.diagnose)
        assert not about(found, "commands").is_known
        assert about(found, "user").severity is Severity.OK

    @pytest.mark.parametrize(
        ("rules", "allowed"),
        [
            (["~*", "+@all"], {"CONFIG", "DEBUG", "FLUSHALL", "FLUSHDB", "KEYS"}),
            (["~*", "+@all", "-@dangerous", "+info", "+acl"], set()),
            (["~*", "+@all", "-@admin", "+acl"], {"FLUSHALL", "FLUSHDB", "KEYS"}),
            (["~*", "+@all", "-flushall", "-flushdb"], {"CONFIG", "DEBUG", "KEYS"}),
            (["~*", "-@all", "+@read", "+acl", "+ping", "+time", "+info"], {"KEYS"}),
        ],
    )
    @pytest.mark.parametrize("asked", ["ACL DRYRUN", "ACL GETUSER"])
    def test_is_judged_by_what_it_may_do(self, do, limited, monkeypatch, asked, rules, allowed):
        limited(*rules)
        if asked == "ACL GETUSER":
            # As on Redis 6.2, which has no such subcommand: arguments that it refuses.
            wordy = dict.fromkeys(diagnosis.DANGEROUS, ("too",) * 9)
            monkeypatch.setattr(examinations, "DANGEROUS", wordy)
        finding = about(do(sessions.diagnose), "commands")
        assert finding.is_known
        if allowed:
            assert f"may use {', '.join(sorted(allowed))}," in finding.message
        else:
            assert finding.severity is Severity.OK


def call(*arguments):
    """Standard output of a command line, and its exit code."""
    out = io.StringIO()
    try:
        call_command("redis_sessions", "doctor", *arguments, stdout=out, stderr=io.StringIO(), no_color=True)
    except SystemExit as stopped:
        return out.getvalue(), stopped.code
    return out.getvalue(), 0


@pytest.mark.usefixtures("store")
class TestTheSubcommand:
    def test_prints_the_worst_first_and_the_line_to_change(self, settings):
        settings.SESSION_COOKIE_HTTPONLY = False
        out, code = call()
        assert "warning  cookie-httponly: " in out
        assert "\n         settings.py: SESSION_COOKIE_HTTPONLY = True\n" in out
        assert out.index("warning  ") < out.index("note     ") < out.index("ok       ")
        assert out.rstrip().endswith("ok. docs/doctor.md explains each.")
        assert code == 0

    def test_leaves_out_what_is_well_when_told_to(self):
        out, _ = call("--verbosity", "0")
        assert "ok       " not in out
        assert "note     " in out

    def test_writes_json(self):
        found = json.loads(call("--json")[0])
        assert found["worst"] in ("note", "warning")
        assert {finding["id"] for finding in found["findings"]} >= ALWAYS
        assert found["findings"][0]["documentation"].startswith("docs/doctor.md#")

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [([], 0), (["--fail-on", "error"], 0), (["--fail-on", "warning"], 3), (["--fail-on", "note"], 3)],
    )
    def test_tells_a_program_by_its_exit_code(self, settings, arguments, code):
        settings.SESSION_COOKIE_HTTPONLY = False
        assert call(*arguments)[1] == code

    def test_fails_on_an_error(self, configure):
        configure(URL="unix:///nowhere/redis.sock")
        out, code = call()
        assert code == 3
        assert out.startswith("error    reachable: unix:///nowhere/redis.sock: ")

    def test_refuses_another_level(self):
        with pytest.raises(CommandError, match="invalid choice"):
            call("--fail-on", "ok")


class TestASystemCheck:
    def ids(self, **options):
        return {
            message.id.rpartition(".")[2]: message
            for message in django_checks.run_checks(tags=[checks.TAG], **options)
        }

    def test_is_silent_about_a_site_with_nothing_to_change(self, store):
        assert self.ids() == {}

    def test_has_an_id_a_hint_and_a_place_in_the_documentation(self, store, settings, server):
        settings.CACHES = {
            "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": server.url}
        }
        message = self.ids()["W004"]
        assert message.msg.startswith("The cache 'default' is in the sessions' database")
        assert message.hint.startswith('settings.py: CACHES["default"]["LOCATION"] = ')
        assert message.hint.endswith("(docs/doctor.md#cache-shared)")

    def test_finds_settings_that_fight_each_other(self, store, settings):
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "TTL": 60, "ABSOLUTE_TTL": 30, "ROLLING": True}
        settings.SESSION_SAVE_EVERY_REQUEST = True
        settings.SESSION_SERIALIZER = "shop.PickleSerializer"
        settings.SESSION_COOKIE_SAMESITE = "None"
        assert set(self.ids()) == {"W005", "W006", "W007", "W008", "W009"}

    def test_of_deployment_looks_at_the_network(self, settings, monkeypatch):
        settings.SESSION_REDIS = {"URL": "redis://192.0.2.1:6379"}
        monkeypatch.setattr(sessions, "server_facts", list)
        assert set(self.ids(include_deployment_checks=True)) == {"W011", "W013"}
        settings.SESSION_REDIS = {
            "URL": "rediss://:pw@192.0.2.1", "OPTIONS": {"ssl_cert_reqs": "none"}
        }  # fmt: skip
        assert set(self.ids(include_deployment_checks=True)) == {"W012"}
        assert self.ids() == {}

    def test_has_nothing_to_say_to_a_site_that_keeps_its_sessions_elsewhere(self, store, settings):
        settings.SESSION_SERIALIZER = "shop.PickleSerializer"
        assert set(self.ids()) == {"W009"}
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
        assert self.ids() == {}

    def test_leaves_settings_that_cannot_be_used_to_another_check(self, settings):
        settings.SESSION_REDIS = {"TTL": -1}
        assert set(self.ids(include_deployment_checks=True)) == {"E003"}

    def test_says_the_same_of_several_servers_once(self, store, monkeypatch):
        monkeypatch.setattr(sessions, "server_facts", lambda: [{"maxmemory_policy": "allkeys-lru"}] * 3)
        messages = checks.check_eviction()
        assert [message.id for message in messages] == ["django_redis_sessions.W003"]
