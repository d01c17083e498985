"""Our middleware: what Django's does, and where it knows better. Sync and async alike."""

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.http import HttpResponse
from django.test import RequestFactory

from django_redis_sessions.backend import SessionConflict, SessionStore
from django_redis_sessions.blocking import BlockingClient
from django_redis_sessions.decorators import on_conflict
from django_redis_sessions.errors import SessionStoreUnavailable
from django_redis_sessions.middleware import SessionMiddleware
from tests.races import watch
from tests.test_races import rival_sets

pytestmark = pytest.mark.usefixtures("store")

COOKIE = "sessionid"


@pytest.fixture
def send(way, runner):
    """Sends a request with a session cookie through the middleware to ``view(session)``; gives the response.

    ``view`` may answer with a response of its own; awaited, the whole request stays on the loop.
    """

    def through(view, cookie=None, middleware=SessionMiddleware):
        request = RequestFactory().get("/")
        if cookie:
            request.COOKIES[COOKIE] = cookie
        if way == "blocking":
            return middleware(lambda request: view(request) or HttpResponse())(request)

        async def get_response(request):
            return view(request) or HttpResponse()

        async def awaited():
            return await middleware(get_response)(request)

        return runner.run(awaited())

    return through


@pytest.fixture
def stored(store):
    session = SessionStore()
    session["a"] = 0
    session.save()
    return session.session_key


def keys_in_redis(behind, prefix):
    return sorted(behind.scan_iter(f"{prefix}:*"))


def look(request):
    request.session.get("a")


class TestACookieNobodyKnows:
    """Under SESSION_SAVE_EVERY_REQUEST Django would store an empty session for each of them (CVE-2015-5143)."""

    def test_creates_no_record(self, send, settings, behind, prefix):
        settings.SESSION_SAVE_EVERY_REQUEST = True
        response = send(lambda request: None, cookie="someunknownsessionkey")
        assert keys_in_redis(behind, prefix) == []
        assert response.cookies[COOKIE].value == ""
        assert response.cookies[COOKIE]["max-age"] == 0
        assert response["Vary"] == "Cookie"

    def test_that_no_engine_could_have_made_costs_nothing(self, send, settings, behind, prefix):
        settings.SESSION_SAVE_EVERY_REQUEST = True
        assert send(lambda request: None, cookie="{*}" * 1000).cookies[COOKIE].value == ""
        assert keys_in_redis(behind, prefix) == []

    def test_that_nobody_looks_at_is_left_alone(self, send):
        response = send(lambda request: None, cookie="someunknownsessionkey")
        assert not response.cookies
        assert not response.has_header("Vary")


class TestEveryRequest:
    def test_extends_the_life_of_a_session_if_so_set(self, send, settings, behind, store, stored):
        settings.SESSION_SAVE_EVERY_REQUEST = True
        behind.expire(store.keys.record(stored), 10)
        response = send(lambda request: None, cookie=stored)
        assert behind.ttl(store.keys.record(stored)) > 10
        assert response.cookies[COOKIE].value == stored
        assert response["Vary"] == "Cookie"

    def test_without_a_cookie_stays_without(self, send, settings, behind, prefix):
        settings.SESSION_SAVE_EVERY_REQUEST = True
        assert not send(lambda request: None).cookies
        assert keys_in_redis(behind, prefix) == []


class TestAModifiedSession:
    def test_is_saved_and_its_cookie_set_with_all_its_flags(self, send, settings):
        settings.SESSION_COOKIE_SECURE = True
        settings.SESSION_COOKIE_PATH = "/shop"
        settings.SESSION_COOKIE_DOMAIN = ".example.com"
        settings.SESSION_COOKIE_SAMESITE = "Strict"
        response = send(lambda request: request.session.update({"a": 1}))
        cookie = response.cookies[COOKIE]
        assert SessionStore(cookie.value)["a"] == 1
        assert (cookie["path"], cookie["domain"], cookie["samesite"]) == ("/shop", ".example.com", "Strict")
        assert cookie["secure"] is True
        assert cookie["httponly"] is True
        assert cookie["max-age"] == django_settings.SESSION_COOKIE_AGE
        assert response["Vary"] == "Cookie"

    def test_is_not_saved_when_the_request_failed(self, send, stored):
        def view(request):
            request.session["a"] = 1
            return HttpResponse(status=500)

        assert not send(view, cookie=stored).cookies
        assert SessionStore(stored)["a"] == 0

    def test_can_end_with_the_browser(self, send):
        response = send(lambda request: request.session.set_expiry(0))
        assert response.cookies[COOKIE]["max-age"] == ""

    def test_that_was_emptied_loses_its_cookie(self, send, stored):
        response = send(lambda request: request.session.flush(), cookie=stored)
        assert response.cookies[COOKIE]["max-age"] == 0
        assert response["Vary"] == "Cookie"


class TestASessionThatWasOnlyRead:
    def test_varies_and_is_not_saved(self, send, stored):
        response = send(look, cookie=stored)
        assert response["Vary"] == "Cookie"
        assert not response.cookies

    def test_gets_a_new_cookie_when_its_life_was_extended(self, send, configure, behind, stored):
        store = configure(ROLLING=True)
        name = store.keys.record(stored)
        behind.expire(name, 10)
        behind.setrange(name, 16, b"\0\0\0\1")  # last touched long ago
        response = send(look, cookie=stored)
        assert behind.ttl(name) > 10
        assert response.cookies[COOKIE].value == stored
        assert response.cookies[COOKIE]["max-age"] == django_settings.SESSION_COOKIE_AGE


class TestAnInterruptedRequest:
    def lose(self, request):
        request.session["a"] = 1
        SessionStore(request.session.session_key).delete()

    def test_fails_as_in_django(self, send, stored):
        with pytest.raises(SessionInterrupted, match="deleted before the request completed"):
            send(self.lose, cookie=stored)

    def test_can_keep_its_response_instead(self, send, configure, stored, behind, prefix):
        configure(INTERRUPTED="drop")

        def view(request):
            self.lose(request)
            return HttpResponse("the page")

        response = send(view, cookie=stored)
        assert response.content == b"the page"
        assert response["Vary"] == "Cookie"
        assert keys_in_redis(behind, prefix) == []

    def test_leaves_the_cookie_that_a_sign_in_beside_it_has_set(self, send, configure, stored):
        """Deleting it would sign out somebody who has just signed in."""
        configure(INTERRUPTED="drop")

        def view(request):
            request.session["a"] = 1
            SessionStore(stored).cycle_key()

        assert COOKIE not in send(view, cookie=stored).cookies


class TestAConflictPolicyOfOneView:
    def test_is_set_by_a_decorator(self, send, stored):
        @on_conflict("strict")
        def view(request):
            request.session["a"] = 1
            rival_sets(stored, b=1)()

        with pytest.raises(SessionConflict):
            send(view, cookie=stored)
        assert dict(SessionStore(stored).items()) == {"a": 0, "b": 1}

    def test_is_set_for_asynchronous_views_too(self, runner, stored):
        @on_conflict("overwrite")
        async def view(request):
            return request.session.on_conflict

        request = RequestFactory().get("/")
        request.session = SessionStore(stored)
        assert runner.run(view(request)) == "overwrite"

    def test_must_be_one_that_exists(self):
        with pytest.raises(ValueError, match="'merg' is none of 'merge'"):
            on_conflict("merg")


class TestAnAsynchronousRequest:
    @pytest.fixture(autouse=True)
    def no_blocking(self, monkeypatch, stored):
        def forbidden(*_):
            raise AssertionError("The session went through a thread, or blocked the loop.")

        self.allow = monkeypatch.undo
        monkeypatch.setattr(BlockingClient, "execute", forbidden)

    def run(self, view, cookie):
        async def awaited():
            request = RequestFactory().get("/")
            request.COOKIES[COOKIE] = cookie
            response = await SessionMiddleware(view)(request)
            return request, response

        return asyncio.run(awaited())

    def test_loads_and_saves_on_the_loop(self, stored):
        async def view(request):
            await request.session.aset("a", await request.session.aget("a") + 1)
            return HttpResponse()

        self.run(view, stored)
        self.allow()
        assert SessionStore(stored)["a"] == 1

    def test_fetches_the_record_before_it_is_asked_for(self, store, stored, monkeypatch):
        sent = []
        watch(monkeypatch, store, lambda command: sent.append(command[0]))

        async def view(request):
            await asyncio.sleep(0)
            assert sent == ["GET"]
            assert await request.session.aget("a") == 0
            return HttpResponse()

        request, _ = self.run(view, stored)
        assert sent == ["GET"]
        assert request.session.accessed

    def test_that_ignores_its_session_does_not_vary(self, stored):
        async def view(request):
            await asyncio.sleep(0.01)
            return HttpResponse()

        request, response = self.run(view, stored)
        assert not request.session.accessed
        assert not response.has_header("Vary")

    def test_that_ignores_its_session_survives_an_outage(self, configure):
        configure(URL="unix:///nowhere/redis.sock")

        async def view(request):
            await asyncio.sleep(0.01)
            return HttpResponse("a page without a session")

        _, response = self.run(view, "some-session-key")
        assert response.content == b"a page without a session"

    def test_meets_an_outage_where_it_asks(self, configure):
        configure(URL="unix:///nowhere/redis.sock")

        async def view(request):
            with pytest.raises(SessionStoreUnavailable):
                await request.session.aget("a")
            return HttpResponse()

        self.run(view, "some-session-key")

    def test_lets_a_synchronous_view_wait_for_the_record(self, stored):
        def view(request):
            return HttpResponse(json.dumps(dict(request.session.items())))

        _, response = self.run(sync_to_async(view), stored)
        assert json.loads(response.content) == {"a": 0}

    def test_may_still_read_synchronously_and_pays_for_it(self, stored):
        self.allow()

        async def view(request):
            return HttpResponse(request.session["a"])

        assert self.run(view, stored)[1].content == b"0"

    def test_reads_anew_after_its_key_has_changed(self, stored):
        async def view(request):
            request.session._session_key = "someunknownsessionkey"
            assert await request.session.aload() == {}
            return HttpResponse()

        self.run(view, stored)


class TestAProjectsOwnSubclass:
    def test_is_asked_for_both_ends_of_a_request(self, send, stored):
        class Marked(SessionMiddleware):
            def process_response(self, request, response):
                response["X-Marked"] = "yes"
                return super().process_response(request, response)

        assert send(lambda request: None, cookie=stored, middleware=Marked)["X-Marked"] == "yes"


class TestARequestWithoutASession:
    def test_is_left_alone(self, send):
        def view(request):
            del request.session

        assert not send(view).cookies

    def test_django_takes_ours_for_its_own(self):
        assert issubclass(SessionMiddleware, DjangoSessionMiddleware)
