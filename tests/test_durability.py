"""What is left after the server is killed while clients write, as Redis promises for each setting.

The process is killed, the machine lives on: what was written to the append-only file is there. With
``always`` that is everything that was acknowledged. With ``everysec`` the server keeps back what it
should write while the disk is busy with an earlier ``fsync``, for up to two seconds, and answers
nevertheless (https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/).
"""

import threading

import pytest

from django_redis_sessions.backend import SessionStore
from django_redis_sessions.errors import SessionStoreError
from tests.servers import RedisServer
from tests.topologies import until

LOGIN = {"_auth_user_id": "1", "_auth_user_backend": "backend", "_auth_user_hash": "hash"}


def write_until_killed(server, and_first=lambda: None):
    """Four threads sign people in until the server is killed.

    The keys whose saves were acknowledged before ``and_first`` was called, and those of all, in order.
    """
    acknowledged, stop = [], threading.Event()

    def work():
        while not stop.is_set():
            session = SessionStore()
            session.update(LOGIN)
            try:
                session.save()
            except SessionStoreError:
                stop.wait(0.01)
            else:
                acknowledged.append(session.session_key)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(acknowledged) > 500)
    early = list(acknowledged)
    and_first()
    server.stop()
    stop.set()
    for thread in threads:
        thread.join()
    return early, acknowledged


def wait_for_the_file(server):
    """Until the server holds nothing back that was acknowledged before."""
    with server.client() as client:
        until(lambda: client.info("persistence")["aof_buffer_length"] == 0)


def come_back(server):
    """Start the server, and wait until this process has noticed."""
    server.start()
    until(lambda: SessionStore().exists("some-session-key") is False)


@pytest.fixture
def server(settings, appendfsync):
    with RedisServer("--appendonly", "yes", "--appendfsync", appendfsync) as running:
        settings.SESSION_REDIS = {"URL": running.url, "PREFIX": "durable"}
        yield running


@pytest.mark.parametrize("appendfsync", ["always"])
class TestAKilledServerThatWritesAlways:
    def test_has_every_acknowledged_session_after_its_restart(self, server):
        _, acknowledged = write_until_killed(server)
        come_back(server)
        assert sum(not SessionStore().exists(key) for key in acknowledged) == 0

    def test_keeps_logouts_too(self, server):
        session = SessionStore()
        session.save()
        session.delete()
        server.stop()
        come_back(server)
        assert SessionStore().exists(session.session_key) is False


@pytest.mark.parametrize("appendfsync", ["everysec"])
class TestAKilledServerThatWritesEverySecond:
    def test_has_every_session_that_it_had_written_to_its_file(self, server):
        early, _ = write_until_killed(server, lambda: wait_for_the_file(server))
        come_back(server)
        assert sum(not SessionStore().exists(key) for key in early) == 0

    def test_keeps_logouts_too(self, server):
        session = SessionStore()
        session.save()
        session.delete()
        wait_for_the_file(server)
        server.stop()
        come_back(server)
        assert SessionStore().exists(session.session_key) is False


class TestAServerWithoutPersistence:
    def test_forgets_everybody(self, settings):
        with RedisServer() as server:
            settings.SESSION_REDIS = {"URL": server.url, "PREFIX": "durable"}
            _, acknowledged = write_until_killed(server)
            come_back(server)
            assert not any(SessionStore().exists(key) for key in acknowledged)
