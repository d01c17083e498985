"""What is left after the server is killed while clients write, as Redis promises for each setting."""

import threading

import pytest

from django_redis_sessions.backend import SessionStore
from django_redis_sessions.errors import SessionStoreError
from tests.servers import RedisServer
from tests.topologies import until

LOGIN = {"_auth_user_id": "1", "_auth_user_backend": "backend", "_auth_user_hash": "hash"}


def write_until_killed(server):
    """Four threads sign people in until the server is killed; the keys whose saves were acknowledged, in order."""
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
    server.stop()
    stop.set()
    for thread in threads:
        thread.join()
    return acknowledged


def come_back(server):
    """Start the server, and wait until this process has noticed."""
    server.start()
    until(lambda: SessionStore().exists("some-session-key") is False)


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
class TestAKilledServer:
    def test_has_every_acknowledged_session_after_its_restart(self, settings, appendfsync):
        """The process is killed, the machine lives on: what was written to the file is there.

        ``everysec`` may lose up to a second when the machine itself goes down, ``always`` nothing.
        """
        with RedisServer("--appendonly", "yes", "--appendfsync", appendfsync) as server:
            settings.SESSION_REDIS = {"URL": server.url, "PREFIX": "durable"}
            acknowledged = write_until_killed(server)
            come_back(server)
            lost = sum(not SessionStore().exists(key) for key in acknowledged)
            assert lost == 0

    def test_keeps_logouts_too(self, settings, appendfsync):
        with RedisServer("--appendonly", "yes", "--appendfsync", appendfsync) as server:
            settings.SESSION_REDIS = {"URL": server.url, "PREFIX": "durable"}
            session = SessionStore()
            session.save()
            session.delete()
            server.stop()
            server.start()
            assert SessionStore().exists(session.session_key) is False


class TestAServerWithoutPersistence:
    def test_forgets_everybody(self, settings):
        with RedisServer() as server:
            settings.SESSION_REDIS = {"URL": server.url, "PREFIX": "durable"}
            acknowledged = write_until_killed(server)
            come_back(server)
            assert not any(SessionStore().exists(key) for key in acknowledged)
