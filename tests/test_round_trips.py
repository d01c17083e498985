"""DESIGN says how often each operation speaks to Redis; here it is counted on the wire."""

import pytest
import redis
from django.contrib.auth.models import User
from django.test import AsyncClient, Client

from django_redis_sessions.backend import SessionStore
from django_redis_sessions.records import LIFE_OFFSET, header_of, life
from tests.wire import Wire


@pytest.fixture
def wire(server, tmp_path, configure, known_scripts, do):
    """A relay in front of the server, with a connection that is open."""
    with Wire(server.socket, tmp_path) as relay:
        configure(URL=relay.url)
        do(SessionStore().create)
        relay.reset()
        yield relay


@pytest.fixture
def session(wire, do):
    """A stored session, opened anew."""
    session = SessionStore()
    session["a"] = 1
    do(session.save)
    wire.reset()
    return SessionStore(session.session_key)


class TestOneRoundTrip:
    def test_loads(self, wire, do, session):
        do(session.load)
        assert wire.round_trips == 1

    def test_finds_nothing(self, wire, do):
        do(SessionStore("someunknownsessionkey").load)
        assert wire.round_trips == 1

    def test_creates(self, wire, do):
        do(SessionStore().create)
        assert wire.round_trips == 1

    def test_saves(self, wire, do, session):
        do(session.get, "a")
        session["a"] = 2
        wire.reset()
        do(session.save)
        assert wire.round_trips == 1

    def test_touches(self, wire, do, session):
        do(session.get, "a")
        wire.reset()
        do(session.save)
        assert wire.round_trips == 1

    def test_exists_and_deletes(self, wire, do, session):
        do(session.exists, session.session_key)
        assert wire.round_trips == 1
        do(session.delete)
        assert wire.round_trips == 2

    def test_cycles(self, wire, do, session):
        do(session.get, "a")
        wire.reset()
        do(session.cycle_key)
        assert wire.round_trips == 1

    def test_mutates(self, wire, do, session):
        do(session.get, "a")
        wire.reset()
        do(session.increment, "a")
        assert wire.round_trips == 1


class TestOneMore:
    def test_is_the_price_of_a_conflict(self, wire, do, session):
        do(session.get, "a")
        session["b"] = 1
        rival = SessionStore(session.session_key)
        rival["c"] = 1
        rival.save()
        wire.reset()
        do(session.save)
        assert wire.round_trips == 2


def seen_before(session_key, seconds):
    """Let it be so long ago that the session was last seen."""
    store = SessionStore()._store
    name = store.keys.record(session_key)
    with redis.Redis.from_url(store.settings.url) as behind:
        header = header_of(behind.get(name))
        behind.setrange(name, LIFE_OFFSET, life(header.touched - seconds, header.ttl + seconds))


@pytest.mark.django_db
class TestAWholeRequest:
    @pytest.fixture(autouse=True)
    def middleware(self, settings, way):
        settings.MIDDLEWARE = [
            "django_redis_sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ]

    def test_that_signs_in_takes_three(self, wire, client):
        User.objects.create_user("alice", password="wonderland")
        client.get("/write/", {"cart": "full"})
        wire.reset()
        client.get("/sign-in/")
        assert wire.round_trips == 3

    @pytest.fixture
    def visit(self, wire, way, runner):
        """Sends a request of one signed-in visitor, last seen so many seconds ago; the round trips it took."""
        browser = Client() if way == "blocking" else AsyncClient()

        def visited(path, seen=0, **headers):
            if session := browser.cookies.get("sessionid"):
                seen_before(session.value, seen)
            wire.reset()
            if way == "blocking":
                browser.get(path, headers=headers)
            else:

                async def awaited():
                    await browser.get(path.replace("/", "/a", 1), headers=headers)

                runner.run(awaited())
            return wire.round_trips

        visited("/write/?_auth_user_id=1")
        return visited

    def test_that_reads_takes_one_more_to_be_seen_and_only_when_it_is_time(self, visit):
        assert visit("/read/", seen=200) == 1
        assert visit("/read/", seen=301) == 2
        assert visit("/read/") == 1
        assert visit("/read/", seen=301, user_agent="another device") == 2
        assert visit("/read/", user_agent="a third") == 1

    def test_that_saves_takes_no_more_to_be_seen(self, visit):
        assert visit("/write/?a=1", seen=301, user_agent="another device") == 2
        assert visit("/read/", seen=200) == 1

    def test_that_reads_and_writes_takes_two(self, wire, client, runner, way):
        if way == "blocking":
            browser = Client()
            get = browser.get
        else:
            browser = AsyncClient()

            def get(*arguments):
                async def awaited():
                    return await browser.get(*arguments)

                return runner.run(awaited())

        path = "/write/" if way == "blocking" else "/awrite/"
        get(path, {"a": "1"})
        wire.reset()
        get(path, {"a": "2"})
        assert wire.round_trips == 2
