"""An outage is not a logout: what a visitor sees while Redis hangs, is gone, or comes back."""

import json
import logging
import os
import signal
import threading
from time import monotonic

import pytest
import redis
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import AsyncClient, Client

from django_redis_sessions import awaiting, blocking, breaker
from django_redis_sessions.awaiting import AwaitingClient
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.blocking import BlockingClient
from django_redis_sessions.errors import SessionStoreRefused, SessionStoreUnavailable
from django_redis_sessions.middleware import OUTAGE_HEADER, unavailable
from tests.servers import RedisServer
from tests.topologies import until

COOKIE = "sessionid"


@pytest.fixture
def own_server():
    """A server of the test's own, to hang, kill and restart."""
    with RedisServer() as running:
        yield running


@pytest.fixture
def site(own_server, settings):
    """The project with our middleware; call it to change SESSION_REDIS."""
    settings.MIDDLEWARE = [
        "django_redis_sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]

    def set_up(**given):
        settings.SESSION_REDIS = {"URL": own_server.url, "PREFIX": "outage", "TIMEOUT": 0.5, **given}

    set_up()
    return set_up


@pytest.fixture
def browse(way, runner):
    """A browser with a cookie jar: ``get(path)``, on synchronous or asynchronous views."""
    client = (
        Client(raise_request_exception=False)
        if way == "blocking"
        else AsyncClient(raise_request_exception=False)
    )

    def get(path, data=None, **headers):
        if way == "blocking":
            return client.get(f"/{path}/", data, headers=headers)

        async def awaited():
            return await client.get(f"/a{path}/", data, headers=headers)

        return runner.run(awaited())

    get.cookies = client.cookies
    return get


def hang(server):
    os.kill(server.process.pid, signal.SIGSTOP)


def resume(server):
    os.kill(server.process.pid, signal.SIGCONT)


class TestAVisitorDuringAnOutage:
    @pytest.fixture(params=["hanging", "gone"])
    def outage(self, request, own_server):
        def begin():
            hang(own_server) if request.param == "hanging" else own_server.stop()

        yield begin
        if own_server.process:
            resume(own_server)

    def test_gets_a_503_and_keeps_the_cookie(self, site, browse, outage):
        browse("write", {"a": "1"})
        cookie = browse.cookies[COOKIE].value
        outage()
        response = browse("read")
        assert response.status_code == 503
        assert response["Retry-After"] == "2"
        assert response["Cache-Control"] == "no-store"
        assert b"you stay signed in" in response.content
        assert COOKIE not in response.cookies
        assert browse.cookies[COOKIE].value == cookie

    def test_gets_json_when_asking_for_it(self, site, browse, outage):
        browse("write", {"a": "1"})
        outage()
        response = browse("read", accept="application/json")
        assert response.status_code == 503
        assert json.loads(response.content) == {"error": "sessions are unavailable"}

    def test_is_told_that_nothing_was_saved(self, site, browse, outage):
        browse("write", {"a": "1"})
        outage()
        assert browse("write", {"a": "2"}).status_code == 503

    def test_is_still_there_afterwards(self, site, browse, own_server):
        browse("write", {"a": "1"})
        hang(own_server)
        assert browse("read").status_code == 503
        resume(own_server)
        until(lambda: browse("read").status_code == 200, 20)
        assert browse("read").json() == {"a": "1"}

    def test_without_a_cookie_is_served(self, site, browse, outage):
        outage()
        assert browse("read").status_code == 200

    def test_can_be_served_without_a_session(self, site, browse, outage):
        browse("write", {"a": "1"})
        cookie = browse.cookies[COOKIE].value
        site(ON_OUTAGE="anonymous")
        outage()
        response = browse("read")
        assert response.status_code == 200
        assert response.json() == {}
        assert response[OUTAGE_HEADER] == "unavailable"
        assert response["Vary"] == "Cookie"
        assert COOKIE not in response.cookies
        assert browse.cookies[COOKIE].value == cookie

    def test_served_without_a_session_saves_nothing_over_the_real_one(self, site, browse, own_server):
        browse("write", {"a": "1"})
        site(ON_OUTAGE="anonymous")
        hang(own_server)
        assert browse("write", {"a": "2"}).status_code == 200
        resume(own_server)
        until(lambda: OUTAGE_HEADER not in browse("read"), 20)
        assert browse("read").json() == {"a": "1"}


class TestASessionThatWasNotRead:
    def test_is_never_written_over_the_real_one(self, site, do, own_server, monkeypatch):
        """Redis may be back by the time that the view saves."""
        session = SessionStore()
        session["cart"] = 1
        do(session.save)
        own_server.stop()
        blind = SessionStore(session.session_key)
        blind.tolerates_outage = True
        assert do(blind.get, "cart") is None
        own_server.start()
        session._session_key = None
        do(session.create)
        monkeypatch.setattr(blind, "_session_key", session.session_key)
        monkeypatch.setattr(blind, "outage", None)
        blind["seen"] = 1
        for write in (blind.save, blind.create, blind.cycle_key):
            with pytest.raises(SessionStoreUnavailable, match="was not read during an outage"):
                do(write)
        assert do(SessionStore(session.session_key).load) == {"cart": 1}


class TestDjangosOwnMiddleware:
    def test_lets_the_error_out_and_never_an_empty_session(self, site, settings, browse, own_server):
        settings.MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
        site(ON_OUTAGE="anonymous")
        browse("write", {"a": "1"})
        own_server.stop()
        response = browse("read")
        assert response.status_code == 500
        assert COOKIE not in response.cookies


@pytest.mark.django_db
class TestALogoutDuringAnOutage:
    @pytest.mark.parametrize("on_outage", ["error", "anonymous"])
    def test_is_reported_as_failed(self, site, own_server, on_outage):
        User.objects.create_user("alice", password="wonderland")
        client = Client(raise_request_exception=False)
        client.get("/sign-in/")
        site(ON_OUTAGE=on_outage)
        own_server.stop()
        response = client.get("/sign-out/")
        assert response.status_code == 503
        assert COOKIE not in response.cookies


class TestOtherMiddleware:
    def test_that_meets_the_outage_is_a_503_too(self, site, settings, browse, own_server):
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.test_outages.curious_middleware"]
        browse("write", {"a": "1"})
        own_server.stop()
        assert browse("untouched").status_code == 503


def curious_middleware(get_response):
    """Looks into the session before any view does."""

    def middleware(request):
        request.session.get("a")
        return get_response(request)

    return middleware


class TestTheBudget:
    def test_bounds_one_operation(self, site, do, own_server):
        site(TIMEOUT=0.4, RETRIES=1)
        hang(own_server)
        began = monotonic()
        with pytest.raises(SessionStoreUnavailable):
            do(SessionStore("some-session-key").load)
        resume(own_server)
        # TIMEOUT x (RETRIES + 1) and the same again for connecting make 1.6 s; the rest is for a busy machine.
        assert monotonic() - began < 5

    def test_is_spent_once_by_a_request_that_asks_ten_times(self, site, do, own_server):
        site(TIMEOUT=1, RETRIES=0)
        hang(own_server)
        session = SessionStore("some-session-key")
        began = monotonic()
        for _ in range(10):
            with pytest.raises(SessionStoreUnavailable):
                do(session.load)
        resume(own_server)
        # Ten times would be ten seconds.
        assert monotonic() - began < 5

    def test_is_not_spent_at_all_after_a_few_failures(self, site, do, own_server):
        site(TIMEOUT=0.4, RETRIES=1)
        hang(own_server)
        for _ in range(4):
            with pytest.raises(SessionStoreUnavailable):
                do(SessionStore("some-session-key").load)
        began = monotonic()
        for _ in range(50):
            with pytest.raises(SessionStoreUnavailable, match="is not asked before it does"):
                do(SessionStore("some-session-key").load)
        resume(own_server)
        # Some of them start a probe in the background and give it 50 ms; fifty budgets would be forty seconds.
        assert monotonic() - began < 8


class TestTheReturnOfTheServer:
    @pytest.mark.parametrize("kind", ["hanging", "gone"])
    def test_is_noticed_within_a_second(self, site, do, own_server, kind):
        session = SessionStore()
        do(session.save)
        hang(own_server) if kind == "hanging" else own_server.stop()
        for _ in range(4):
            with pytest.raises(SessionStoreUnavailable):
                do(SessionStore("some-session-key").load)
        resume(own_server) if kind == "hanging" else own_server.start()
        returned = monotonic()

        def answers():
            try:
                do(SessionStore("some-session-key").load)
            except SessionStoreUnavailable:
                return False
            return True

        until(answers, 10)
        # A probe every quarter of a second; seen within 0.3 s on an idle machine.
        assert monotonic() - returned < 5

    def test_needs_no_second_request_when_nobody_asked_in_between(self, site, do, own_server, monkeypatch):
        site(TIMEOUT=5)
        monkeypatch.setattr(breaker, "PROBE_INTERVAL", 0)
        for module in (blocking, awaiting):
            monkeypatch.setattr(module, "PROBE_PATIENCE", 10)
        own_server.stop()
        for _ in range(4):
            with pytest.raises(SessionStoreUnavailable):
                do(SessionStore("some-session-key").load)
        own_server.start()
        until(lambda: not _is_probing(), 20)
        assert do(SessionStore("some-session-key").load) == {}

    def test_with_an_answer_that_refuses_ends_the_outage_too(self, site, do, own_server):
        own_server.stop()
        for _ in range(4):
            with pytest.raises(SessionStoreUnavailable):
                do(SessionStore("some-session-key").load)
        own_server.start()
        with own_server.client() as client:
            client.config_set("requirepass", "changed")
        until(lambda: "password" in _error_of(do), 20)


def _is_probing():
    return any(thread.name == "redis-sessions-probe" for thread in threading.enumerate())


def _error_of(do):
    try:
        do(SessionStore("some-session-key").load)
    except Exception as error:
        return str(error)
    return ""


class TestTheLog:
    def test_has_one_line_for_an_outage_and_one_for_its_end(self, site, do, own_server, caplog):
        caplog.set_level(logging.WARNING, "django_redis_sessions")
        do(SessionStore().save)
        own_server.stop()
        for _ in range(20):
            with pytest.raises(SessionStoreUnavailable):
                do(SessionStore("some-session-key").load)
        own_server.start()
        until(lambda: "available again" in caplog.text or _error_of(do) is None, 20)
        lines = [found.getMessage() for found in caplog.records if found.name == "django_redis_sessions"]
        assert [line.split(":")[0] for line in lines] == [
            "Sessions are unavailable",
            "Sessions are available again",
        ]


class TestAServerThatIsNotReady:
    def test_is_unavailable_while_it_is_loading(self, site, do, monkeypatch):
        async def aloading(client, command):
            raise redis.BusyLoadingError("Redis is loading the dataset in memory")

        def loading(client, command):
            raise redis.BusyLoadingError("Redis is loading the dataset in memory")

        monkeypatch.setattr(BlockingClient, "exchange", loading)
        monkeypatch.setattr(AwaitingClient, "exchange", aloading)
        with pytest.raises(SessionStoreUnavailable, match="still loading"):
            do(SessionStore("some-session-key").load)

    def test_is_unavailable_while_it_is_a_replica(self, site, do, own_server):
        session = SessionStore()
        do(session.save)
        with own_server.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")
        session["a"] = 1
        with pytest.raises(SessionStoreUnavailable, match="is a replica, not a primary any more"):
            do(session.save)
        with own_server.client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")

    def test_is_unavailable_while_somebodys_script_keeps_it_busy(self, site, do, own_server):
        site(TIMEOUT=10)
        with own_server.client(socket_timeout=None) as client:
            client.config_set("lua-time-limit", 50)
            script = threading.Thread(target=_run_for_ever, args=(client,))
            script.start()
            until(lambda: "BUSY" in _plain_error(own_server), 20)
            with pytest.raises(SessionStoreUnavailable, match="busy with somebody's script"):
                do(SessionStore("some-session-key").load)
            with own_server.client() as killer:
                killer.execute_command("SCRIPT", "KILL")
            script.join()


def _run_for_ever(client):
    try:
        client.eval("while true do end", 0)
    except redis.RedisError:
        pass


def _plain_error(server):
    try:
        with server.client() as client:
            client.get("x")
    except redis.ResponseError as error:
        return str(error)
    return ""


class TestAServerWhoseMemoryIsFull:
    @pytest.fixture
    def full(self, own_server):
        with own_server.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            yield lambda: client.config_set("maxmemory", "1")

    def test_still_loads_and_logs_out_and_refuses_to_save(self, site, do, full):
        session = SessionStore()
        session["a"] = 1
        do(session.save)
        full()
        assert do(SessionStore(session.session_key).load) == {"a": 1}
        session["a"] = 2
        with pytest.raises(SessionStoreRefused, match="memory is full"):
            do(session.save)
        with pytest.raises(SessionStoreRefused, match="memory is full"):
            do(SessionStore().save)
        do(session.flush)
        assert do(SessionStore().exists, session.session_key) is False


class TestTheAnswer:
    def test_can_be_the_projects_own_page(self, settings, rf, tmp_path):
        (tmp_path / "503.html").write_text("<p>Back in a moment.</p>")
        settings.TEMPLATES = [
            {"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [str(tmp_path)]}
        ]
        response = unavailable(rf.get("/"), SessionStoreUnavailable("away"))
        assert isinstance(response, HttpResponse)
        assert response.content == b"<p>Back in a moment.</p>"
