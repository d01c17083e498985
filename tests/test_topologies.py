"""Each topology by its URL alone, and what happens when its primary dies under load."""

import asyncio
import logging
import threading
from time import monotonic

import pytest

from django_redis_sessions import conf, sessions
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.clusters import key_of, slot_of
from django_redis_sessions.configuration import target_of
from django_redis_sessions.errors import SessionNotReplicated, SessionStoreError, SessionStoreMisconfigured
from tests.topologies import IMPATIENT, Cluster, SentinelService, TlsServer, has_tls, until

log = logging.getLogger(__name__)
LOGIN = {"_auth_user_id": "1", "_auth_user_backend": "backend", "_auth_user_hash": "hash"}
#: Seconds that a failover may take on a machine that does other things as well.
PATIENCE = 180


class TestWhatAUrlLeadsTo:
    def test_a_sentinel_service(self):
        target = target_of("redis+sentinel://app:p%40ss@one:26380,two/mymaster/3?sentinel_password=x")
        assert target.hosts == (("one", 26380), ("two", 26379))
        assert (target.service, target.plain_url) == (
            "mymaster",
            "redis://app:p%40ss@one:26380/3?sentinel_password=x",
        )
        assert target.address == "mymaster@one:26380,two:26379"
        assert not target.is_tls

    def test_a_cluster(self):
        target = target_of("rediss+cluster://app:pw@one:7000,two:7001")
        assert target.is_cluster
        assert target.is_tls
        assert target.hosts == (("one", 7000), ("two", 7001))
        assert "pw" not in target.address

    def test_an_ipv6_address(self):
        assert target_of("redis+cluster://[::1]:7000,[::2]").hosts == (("::1", 7000), ("::2", 6379))


class TestASlot:
    @pytest.mark.parametrize(
        ("key", "slot"),
        [
            ("123456789", 12739),
            ("{user1000}.following", slot_of("user1000")),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
        ],
    )
    def test_is_computed_as_the_specification_has_it(self, key, slot):
        assert slot_of(key) == slot_of(key.encode()) == slot

    @pytest.mark.parametrize(
        ("command", "key"),
        [
            (("GET", "k"), "k"),
            (("EVALSHA", "sha", 2, "k", "l"), "k"),
            (("MEMORY", "USAGE", b"k"), b"k"),
            (("WAIT", 1, 100), None),
            (("PING",), None),
        ],
    )
    def test_is_that_of_the_first_key(self, command, key):
        assert key_of(command) == key


@pytest.fixture(scope="module")
def sentinel():
    with SentinelService() as service:
        yield service


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as started:
        yield started


@pytest.fixture(params=["sentinel", "cluster"])
def deployment(request, settings):
    """A deployment of several servers, set up as the project's."""
    found = request.getfixturevalue(request.param)
    settings.SESSION_REDIS = {"URL": found.url, "PREFIX": "topology", "TIMEOUT": 2}
    return found


def stored(do, **data):
    session = SessionStore()
    session.update(data)
    do(session.save)
    return session.session_key


class TestADeploymentOfSeveralServers:
    def test_keeps_the_contract(self, do, deployment):
        keys = [stored(do, number=number) for number in range(20)]
        assert [do(SessionStore(key).get, "number") for key in keys] == list(range(20))
        session = SessionStore(keys[0])
        session["a"] = 1
        do(session.save)
        do(session.cycle_key)
        assert do(session.exists, keys[0]) is False
        assert do(SessionStore(session.session_key).load) == {"number": 0, "a": 1}
        assert do(session.increment, "a") == 2
        do(session.flush)
        assert do(SessionStore().exists, session.session_key) is False

    def test_refuses_to_revive_what_was_logged_out(self, do, deployment):
        key = stored(do, **LOGIN)
        slow = SessionStore(key)
        do(slow.get, "a")
        do(SessionStore(key).flush)
        with pytest.raises(SessionStoreError):
            do(slow.cycle_key)
        with pytest.raises(SessionStoreError):
            do(slow.save)

    def test_is_counted_and_purged_on_every_master(self, do, deployment, runner, way):
        do_purge = sessions.purge if way == "blocking" else lambda: runner.run(sessions.apurge())
        count = sessions.statistics if way == "blocking" else lambda: runner.run(sessions.astatistics())
        do_purge()
        for number in range(30):
            stored(do, number=number)
        assert count().census.sessions == 30
        assert do_purge() == 30
        assert count().census.sessions == 0

    def test_is_diagnosed_on_every_master(self, do, deployment, settings):
        sessions.purge()
        for _ in range(20):
            stored(do, **LOGIN)
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "WAIT_REPLICAS": 1}
        found = do(sessions.diagnose)
        masters = conf.store().connections.client().nodes()
        answered = [finding for finding in found if finding.id == "reachable"]
        assert len(answered) == len(masters)
        assert {finding.where for finding in answered} == {server.address for server in masters}
        for id_ in ("topology", "replicas", "reachable"):
            assert {finding.severity for finding in found if finding.id == id_} == {sessions.Severity.OK}
        assert "seeds" not in {finding.id for finding in found}
        (index,) = [finding.message for finding in found if finding.id == "index"]
        assert index == "Each of 20 signed-in sessions is in its user's index."
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "WAIT_REPLICAS": 9}
        errors = [finding for finding in do(sessions.diagnose) if finding.severity is sessions.Severity.ERROR]
        assert {finding.id for finding in errors} == {"replicas"}
        assert len(errors) == len(masters)

    def test_can_wait_for_its_replicas_at_login_and_logout(self, do, deployment, settings):
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "WAIT_REPLICAS": 1}
        key = stored(do, **LOGIN)
        session = SessionStore(key)
        do(session.cycle_key)
        do(session.flush)

    def test_says_so_when_there_are_too_few(self, do, deployment, settings, little_patience):
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "WAIT_REPLICAS": 5}
        with pytest.raises(SessionNotReplicated, match="of 5 replicas"):
            stored(do, **LOGIN)
        stored(do, anonymous=1)

    def test_names_itself_in_errors_without_its_password(self, deployment):
        assert "127.0.0.1" in conf.store().connections.client().address
        assert "sentinels" not in conf.store().connections.client().address.replace("sentinel", "")


class TestAClusterThatIsBeingRebuilt:
    @pytest.fixture
    def client(self, cluster, settings, way, runner):
        """The project's client; ``routing(client)`` knows where it sends what."""
        settings.SESSION_REDIS = {"URL": cluster.url, "PREFIX": "rebuilt", "TIMEOUT": 2, "WAIT_REPLICAS": 1}
        connections = conf.store().connections
        if way == "blocking":
            return connections.client()

        async def awaited():
            return connections.async_client()

        return runner.run(awaited())

    def test_is_followed_to_where_a_slot_has_moved(self, do, cluster, client):
        """WAIT goes along: asked of the node that did not take the write, it would mean nothing."""
        stored(do, a=1)
        somebody = ("127.0.0.1", cluster.servers[0].port)
        client._routing._slots = [somebody] * 16384
        keys = [stored(do, number=number, **LOGIN) for number in range(10)]
        assert [do(SessionStore(key).get, "number") for key in keys] == list(range(10))

    def test_is_followed_to_where_a_slot_is_moving(self, do, cluster, client):
        key = stored(do, a=1)
        name = conf.store().keys.record(key)
        slot = slot_of(name)
        source = cluster.master_of(name)
        target = next(server for server in cluster.servers[:3] if server is not source)
        with source.client(decode_responses=True) as old, target.client(decode_responses=True) as new:
            source_id, target_id = (
                old.execute_command("CLUSTER", "MYID"),
                new.execute_command("CLUSTER", "MYID"),
            )
            new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
            old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
            try:
                old.execute_command("MIGRATE", "127.0.0.1", target.port, name, 0, 2000)
                session = SessionStore(key)
                assert do(session.load) == {"a": 1}
                session.update(LOGIN)
                do(session.save)
                new.execute_command("ASKING")
                assert new.execute_command("EXISTS", name) == 1
            finally:
                new.execute_command("ASKING")
                new.execute_command("UNLINK", name)
                for each in (old, new):
                    each.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")


class Writer:
    """Keeps signing people in, from a thread of its own, and remembers what it was told."""

    def __init__(self, way):
        self.acknowledged = []
        self.failures = []
        self.last_success = self.last_failure = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._write if way == "blocking" else lambda: asyncio.run(self._awrite())
        )

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _write(self):
        while not self._stop.is_set():
            session = SessionStore()
            session.update(LOGIN)
            try:
                session.save()
            except SessionStoreError as error:
                self._failed(error)
                self._stop.wait(0.01)
            else:
                self._succeeded(session)

    async def _awrite(self):
        while not self._stop.is_set():
            session = SessionStore()
            session.update(LOGIN)
            try:
                await session.asave()
            except SessionStoreError as error:
                self._failed(error)
                await asyncio.sleep(0.01)
            else:
                self._succeeded(session)

    def _failed(self, error):
        self.last_failure = monotonic()
        self.failures.append(error)

    def _succeeded(self, session):
        self.last_success = monotonic()
        self.acknowledged.append(session.session_key)


@pytest.fixture
def only_of(request):
    """Skips what takes long unless the run is about this topology, as one of CI's is."""

    def skip_elsewhere(topology):
        if request.config.getoption("--topology") != topology:
            pytest.skip(f"takes long: run with --topology={topology}")

    return skip_elsewhere


@pytest.fixture
def mortal_sentinel(only_of):
    only_of("sentinel")
    with SentinelService(silence_ms=IMPATIENT // 2) as service:
        yield service


@pytest.fixture
def mortal_cluster(only_of):
    only_of("cluster")
    with Cluster(silence_ms=IMPATIENT) as started:
        yield started


class TestAFailoverUnderLoad:
    """The primary is killed while a writer goes on; WAIT_REPLICAS makes every acknowledged login survive."""

    def fail_over(self, way, victim, and_then=lambda: None):
        with Writer(way) as writer:
            until(lambda: len(writer.acknowledged) > 50)
            killed = monotonic()
            victim.stop()
            # On a busy machine WAIT may have had to give up before.
            until(lambda: writer.last_failure > killed, PATIENCE)
            and_then()
            until(
                lambda: writer.last_success > writer.last_failure and monotonic() - writer.last_failure > 1,
                PATIENCE,
            )
        assert all(isinstance(error, SessionStoreError) for error in writer.failures)
        assert not any(isinstance(error, SessionStoreMisconfigured) for error in writer.failures)
        until(lambda: SessionStore().exists("some-session-key") is False, PATIENCE)
        lost = [key for key in writer.acknowledged if not SessionStore().exists(key)]
        assert lost == []
        # Seen with --log-cli-level=INFO. Down-after 0.5 s or node-timeout 1 s, an election, and sometimes
        # replicas that find their new primary late.
        window = writer.last_failure - killed
        log.info("%d logins, %d errors within %.2f s", len(writer.acknowledged), len(writer.failures), window)

    def test_of_a_sentinel_service_loses_no_acknowledged_login(self, mortal_sentinel, settings, way):
        settings.SESSION_REDIS = {
            "URL": mortal_sentinel.url,
            "PREFIX": "failover",
            "TIMEOUT": 0.5,
            "WAIT_REPLICAS": 1,
        }
        # A replica that the failover before has left behind could be elected in this one.
        until(mortal_sentinel.is_in_sync, PATIENCE)
        self.fail_over(way, mortal_sentinel.primary())

    def test_of_a_cluster_loses_no_acknowledged_login(self, mortal_cluster, settings, way):
        settings.SESSION_REDIS = {
            "URL": mortal_cluster.url,
            "PREFIX": "failover",
            "TIMEOUT": 0.5,
            "WAIT_REPLICAS": 1,
        }
        victim = mortal_cluster.master_of("x")

        def come_back():
            # As its successor's replica: without one, nobody could acknowledge a login there.
            until(lambda: mortal_cluster.master_of("x") is not victim)
            victim.start()

        self.fail_over(way, victim, come_back)
        until(lambda: mortal_cluster.is_in_sync(victim))


@pytest.mark.skipif(not has_tls(), reason="this server program was built without TLS")
class TestTls:
    @pytest.fixture
    def server(self, tmp_path):
        with TlsServer(tmp_path) as running:
            with running.client() as client:
                client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "+@all", "~tls:*", "&*")
            yield running

    def test_by_options(self, do, server, settings):
        settings.SESSION_REDIS = {"URL": server.url, "PREFIX": "tls", "OPTIONS": server.options}
        key = stored(do, a=1)
        assert do(SessionStore(key).load) == {"a": 1}

    def test_by_url_alone_with_a_user(self, do, server, settings):
        query = "&".join(f"{name}={value}" for name, value in server.options.items())
        settings.SESSION_REDIS = {
            "URL": f"rediss://app:pw@localhost:{server.tls_port}/0?{query}",
            "PREFIX": "tls",
        }
        key = stored(do, a=1)
        assert do(SessionStore(key).load) == {"a": 1}

    def test_with_an_unknown_authority_is_refused(self, do, server, settings):
        settings.SESSION_REDIS = {"URL": server.url, "PREFIX": "tls"}
        with pytest.raises(SessionStoreError, match="cannot be reached"):
            do(SessionStore("some-session-key").load)
