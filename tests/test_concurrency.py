"""The three figures that have to be 0, with real threads, tasks and processes.

Django's cache engine on the same Redis loses most of 240 concurrent writes, brings back logged-out
sessions, and revives a login with every key rotation that follows a logout.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.sessions.backends.base import UpdateError

from django_redis_sessions import sessions
from django_redis_sessions.backend import SessionEnded, SessionStore
from django_redis_sessions.keys import digest
from tests.rivals import in_threads, lost, write_in_tasks, write_in_threads

pytestmark = pytest.mark.usefixtures("store")

LOGIN = {"_auth_user_id": "1", "_auth_user_backend": "backend", "_auth_user_hash": "hash"}
WRITERS = 16


def stored(**data):
    session = SessionStore()
    session.update(data)
    session.save()
    return session.session_key


class TestConcurrentWrites:
    def test_from_threads_all_survive(self):
        key = stored()
        write_in_threads(SessionStore, key, WRITERS)
        assert lost(SessionStore, key, WRITERS) == 0

    def test_from_tasks_all_survive(self):
        key = stored()
        asyncio.run(write_in_tasks(SessionStore, key, WRITERS))
        assert lost(SessionStore, key, WRITERS) == 0

    def test_from_processes_all_survive(self, settings):
        key = stored()
        environment = {**os.environ, "RIVAL_SETTINGS": json.dumps({"SESSION_REDIS": settings.SESSION_REDIS})}
        engine = "django_redis_sessions.backend"
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.rivals", engine, key, str(first), "4"],
                env=environment,
                cwd=Path(__file__).parent.parent,
            )
            for first in range(0, WRITERS, 4)
        ]
        assert [process.wait(60) for process in started] == [0] * len(started)
        assert lost(SessionStore, key, WRITERS) == 0

    def test_of_one_number_are_all_counted(self):
        key = stored(n=0)

        def count(_):
            for _ in range(15):
                SessionStore(key).increment("n")

        in_threads(count, WRITERS)
        assert SessionStore(key)["n"] == WRITERS * 15


class TestALogoutBesideASlowerRequest:
    RACES = 150

    def test_is_never_undone(self):
        came_back = 0
        for _ in range(self.RACES):
            key = stored(a=0, **LOGIN)

            def race(own, key=key):
                if own:
                    SessionStore(key).flush()
                    return
                slow = SessionStore(key)
                slow["a"] = 1
                try:
                    slow.save()
                except UpdateError:
                    pass

            in_threads(race, 2)
            came_back += SessionStore().exists(key)
        assert came_back == 0

    def test_is_never_undone_by_tasks(self):
        async def races():
            came_back = 0
            for _ in range(self.RACES):
                session = SessionStore()
                await session.aupdate({"a": 0, **LOGIN})
                await session.asave()
                slow = SessionStore(session.session_key)
                await slow.aset("a", 1)
                outcomes = await asyncio.gather(
                    slow.asave(), SessionStore(session.session_key).aflush(), return_exceptions=True
                )
                assert isinstance(outcomes[0], (UpdateError, type(None)))
                came_back += await SessionStore().aexists(session.session_key)
            return came_back

        assert asyncio.run(races()) == 0


class TestARotationAfterALogout:
    def test_never_revives_the_login(self, behind, prefix):
        for _ in range(150):
            key = stored(a=0, **LOGIN)
            slow = SessionStore(key)
            slow.get("a")
            SessionStore(key).flush()
            with pytest.raises(SessionEnded):
                slow.cycle_key()
        assert list(behind.scan_iter(f"{prefix}:*")) == []

    def test_beside_it_leaves_the_login_or_nothing(self, behind, prefix):
        for _ in range(150):
            key = stored(a=0, **LOGIN)
            slow = SessionStore(key)
            slow.get("a")
            ended = []

            def race(own, slow=slow, key=key, ended=ended):
                if own:
                    SessionStore(key).flush()
                    return
                try:
                    slow.cycle_key()
                except SessionEnded:
                    ended.append(True)

            in_threads(race, 2)
            left = list(behind.scan_iter(f"{prefix}:r:*"))
            assert len(left) == (0 if ended else 1)
            if left:
                # The rotation came first: whoever logged out held a key that was worthless by then.
                behind.unlink(*left)


def sign_in(user="1"):
    """One request that signs in, with a cart from before; its handle, or None if it did not succeed."""
    before = SessionStore()
    before["cart"] = 1
    before.save()
    request = SessionStore(before.session_key)
    request.get("cart")
    try:
        request.cycle_key()
        request["_auth_user_id"] = user
        request.save()
    except SessionEnded:
        return None
    return digest(request.session_key)


def everybodys():
    """The handles of all sessions that are signed in, found without an index."""
    return {info.handle for info in sessions.iterate(anonymous=False)}


@pytest.mark.operator
class TestARevocationBesideSignIns:
    def test_leaves_none_that_began_before_it(self):
        for _ in range(30):
            made = []

            def race(own, made=made):
                if own:
                    made.append(sign_in())
                else:
                    sessions.revoke_user("1")

            in_threads(race, 4)
            # Whoever is left began after it; none is missing in the index.
            listed = {info.handle for info in sessions.of_user("1")}
            assert listed == everybodys()
            assert listed <= set(made)
            sessions.revoke_user("1")
            assert everybodys() == set()

    def test_of_one_session_that_rotates_leaves_none(self):
        for _ in range(60):
            key = stored(cart=1, **LOGIN)

            def race(own, key=key):
                if own:
                    request = SessionStore(key)
                    request.get("cart")
                    try:
                        request.cycle_key()
                    except SessionEnded:
                        pass
                else:
                    assert sessions.revoke(digest(key)) is True

            in_threads(race, 2)
            assert everybodys() == set()
            assert sessions.of_user("1") == []


@pytest.mark.operator
class TestALimitBesideSignIns:
    def test_is_kept(self, configure):
        configure(MAX_SESSIONS_PER_USER=3)
        for _ in range(10):
            in_threads(lambda own: sign_in(), 8)
            listed = {info.handle for info in sessions.of_user("1")}
            assert listed == everybodys()
            assert 1 <= len(listed) <= 3
