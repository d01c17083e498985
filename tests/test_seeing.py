"""When and from where a signed-in visitor was last seen, as our middleware stores it. Sync and async alike."""

import logging

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpResponse
from django.test import RequestFactory

from django_redis_sessions import held, operations, seen, sessions
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.devices import KEY, Device
from django_redis_sessions.errors import SessionStoreUnavailable
from django_redis_sessions.middleware import SessionMiddleware
from django_redis_sessions.records import header_of
from tests.races import watch

COOKIE = "sessionid"
#: Far away, for the operator's functions ask the real clock what is over.
START = 4_000_000_000
LIFE = 14 * 24 * 3600
HERE = {"REMOTE_ADDR": "203.0.113.7", "HTTP_USER_AGENT": "curl/8"}
ENTRY = {"address": "203.0.113.7", "agent": "curl/8"}
ELSEWHERE = {**HERE, "REMOTE_ADDR": "198.51.100.1"}


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = START

        def __call__(self):
            return self.now

    moved = Clock()
    monkeypatch.setattr(held, "time", moved)
    monkeypatch.setattr(seen, "time", moved)
    return moved


@pytest.fixture
def send(way, runner):
    """Sends a request through our middleware to ``view(request)``, which may answer; gives the response."""

    def through(view, cookie=None, **meta):
        request = RequestFactory().get("/", **{**HERE, **meta})
        if cookie:
            request.COOKIES[COOKIE] = cookie
        if way == "blocking":
            return SessionMiddleware(lambda request: view(request) or HttpResponse())(request)

        async def get_response(request):
            return await sync_to_async(view)(request) or HttpResponse()

        async def awaited():
            return await SessionMiddleware(get_response)(request)

        return runner.run(awaited())

    return through


@pytest.fixture
def signed_in(send, store, clock):
    """The key of a session that is signed in from HERE, on a server that knows the scripts."""
    other = SessionStore()
    other.create()
    other.save()
    other.delete()
    return send(lambda request: request.session.update({"_auth_user_id": "1", "a": 0})).cookies[COOKIE].value


@pytest.fixture
def life(behind, store):
    """``(touched, end, end by the server's ttl)`` of a session, seconds after START."""

    def of(session_key):
        header = header_of(behind.get(store.keys.record(session_key)))
        ttl = behind.ttl(store.keys.record(session_key))
        return header.touched - START, header.expires - START, header.touched - START + ttl

    return of


@pytest.fixture
def sent(monkeypatch, store):
    commands = []
    watch(monkeypatch, store, lambda command: commands.append(command[0]))
    return commands


def look(request):
    request.session.get("a")


def write(request):
    request.session["a"] = 1


def data(session_key):
    return dict(SessionStore(session_key).items())


class TestASessionThatIsSaved:
    def test_holds_the_device_of_its_visitor(self, signed_in):
        assert data(signed_in) == {"_auth_user_id": "1", "a": 0, KEY: ENTRY}

    def test_holds_the_next_one_without_a_further_round_trip(self, send, signed_in, sent):
        send(write, signed_in, **ELSEWHERE)
        assert sent == ["GET", "EVALSHA"]
        assert data(signed_in)[KEY] == {**ENTRY, "address": "198.51.100.1"}

    def test_is_not_written_again_for_the_same_device(self, send, signed_in, settings, behind, store):
        settings.SESSION_SAVE_EVERY_REQUEST = True
        before = header_of(behind.get(store.keys.record(signed_in))).revision
        send(look, signed_in)
        assert header_of(behind.get(store.keys.record(signed_in))).revision == before

    def test_says_nothing_of_an_anonymous_visitor(self, send, store, configure):
        configure(DEVICES="tests.test_visitors.fails")
        anonymous = send(write).cookies[COOKIE].value
        assert data(anonymous) == {"a": 1}

    def test_forgets_the_device_of_whoever_is_not_signed_in_any_more(self, send, signed_in):
        send(lambda request: request.session.update({"b": request.session.pop("_auth_user_id")}), signed_in)
        assert data(signed_in) == {"a": 0, "b": "1"}

    def test_forgets_what_is_not_to_be_recorded_any_more(self, send, signed_in, configure):
        configure(DEVICES="agent")
        send(write, signed_in)
        assert data(signed_in)[KEY] == {"agent": "curl/8"}
        configure(DEVICES=None)
        send(write, signed_in)
        assert KEY not in data(signed_in)

    def test_keeps_what_it_says_when_a_project_says_nothing(self, send, signed_in, configure):
        configure(DEVICES="tests.test_visitors.says_nothing")
        send(write, signed_in, **ELSEWHERE)
        assert data(signed_in)[KEY] == ENTRY

    def test_of_a_failed_request_is_left_alone(self, send, signed_in, sent):
        def view(request):
            write(request)
            return HttpResponse(status=500)

        send(view, signed_in, **ELSEWHERE)
        assert sent == ["GET"]

    def test_takes_nonsense_for_nothing(self, send, signed_in):
        session = SessionStore(signed_in)
        session[KEY] = ["<script>"]
        session.save()
        send(write, signed_in)
        assert data(signed_in)[KEY] == ENTRY


class TestASessionThatIsOnlyRead:
    def test_is_not_written_before_its_time(self, send, signed_in, clock, sent):
        for later in (0, 1, 299, 300, -5000):
            clock.now = START + later
            send(look, signed_in, **ELSEWHERE)
        assert sent == ["GET"] * 5

    def test_is_touched_when_it_is_time_and_ends_when_it_would_anyway(
        self, send, signed_in, clock, sent, life
    ):
        assert life(signed_in)[:2] == (0, LIFE)
        clock.now = START + 301
        response = send(look, signed_in)
        assert sent == ["GET", "EVALSHA"]
        touched, end, servers_end = life(signed_in)
        assert (touched, end) == (301, LIFE)
        assert LIFE - 10 <= servers_end <= LIFE
        assert not response.cookies
        assert response["Vary"] == "Cookie"

    def test_is_touched_no_more_often_than_so(self, send, signed_in, clock, sent):
        for later in range(0, 3001, 100):
            clock.now = START + later
            send(look, signed_in)
        assert sent.count("GET") == 31
        assert sent.count("EVALSHA") == 7  # after each 400 seconds, as 300 are not longer ago than 300

    def test_is_never_touched_if_so_set(self, send, signed_in, clock, sent, configure):
        configure(LAST_SEEN=None)
        clock.now = START + 100_000
        send(look, signed_in, **ELSEWHERE)
        assert sent == ["GET"]

    def test_is_written_with_a_new_device_and_ends_when_it_would_anyway(
        self, send, signed_in, clock, sent, life
    ):
        clock.now = START + 301
        send(look, signed_in, **ELSEWHERE)
        assert sent == ["GET", "EVALSHA"]
        touched, end, servers_end = life(signed_in)
        assert (touched, end) == (301, LIFE)
        assert LIFE - 10 <= servers_end <= LIFE
        assert data(signed_in) == {"_auth_user_id": "1", "a": 0, KEY: {**ENTRY, "address": "198.51.100.1"}}

    def test_stores_nothing_that_the_view_has_not_asked_to_store(self, send, signed_in, clock):
        def view(request):
            request.session._get_session()["a"] = "changed behind the session's back"

        clock.now = START + 301
        send(view, signed_in, **ELSEWHERE)
        assert data(signed_in)["a"] == 0
        assert data(signed_in)[KEY]["address"] == "198.51.100.1"

    def test_is_told_to_its_object_as_well(self, signed_in, clock, do):
        session = SessionStore(signed_in)
        do(session.get, "a")
        clock.now = START + 301
        assert session.is_due_to_be_seen
        do(session.see, Device("198.51.100.1"))
        assert not session.is_due_to_be_seen
        session["b"] = 1
        do(session.save)
        assert data(signed_in) == {"_auth_user_id": "1", "a": 0, "b": 1, KEY: {"address": "198.51.100.1"}}

    def test_is_left_alone_when_the_request_failed(self, send, signed_in, clock, sent):
        def view(request):
            look(request)
            return HttpResponse(status=503)

        clock.now = START + 301
        send(view, signed_in, **ELSEWHERE)
        assert sent == ["GET"]

    def test_is_left_alone_when_its_life_is_over(self, send, signed_in, clock, sent):
        clock.now = START + LIFE
        send(look, signed_in, **ELSEWHERE)
        assert sent == ["GET"]

    def test_is_left_alone_after_the_view_has_saved_it(self, send, signed_in, clock, sent, life):
        def view(request):
            look(request)
            request.session.save()

        clock.now = START + 301
        send(view, signed_in)
        assert sent == ["GET", "EVALSHA"]
        assert life(signed_in)[:2] == (301, 301 + LIFE)

    def test_is_left_alone_after_the_view_has_mutated_it(self, send, signed_in, clock, sent, life):
        def view(request):
            request.session.mutate("a", lambda value: value)

        clock.now = START + 301
        send(view, signed_in, **ELSEWHERE)
        assert sent == ["GET", "EVALSHA"]
        assert life(signed_in)[:2] == (301, 301 + LIFE)

    def test_is_left_alone_after_the_view_has_ended_it(self, send, signed_in, clock, behind, prefix):
        clock.now = START + 301
        send(lambda request: request.session.flush(), signed_in)
        assert not list(behind.scan_iter(f"{prefix}:*"))

    @pytest.mark.parametrize("elsewhere", [{}, ELSEWHERE])
    def test_does_not_come_back_when_it_was_ended_meanwhile(
        self, send, signed_in, clock, behind, prefix, elsewhere
    ):
        def view(request):
            look(request)
            SessionStore(signed_in).delete()

        clock.now = START + 301
        assert send(view, signed_in, **elsewhere).status_code == 200
        assert not list(behind.scan_iter(f"{prefix}:*"))

    @pytest.mark.parametrize("elsewhere", [{}, ELSEWHERE])
    def test_keeps_what_somebody_else_has_saved_meanwhile(self, send, signed_in, clock, life, elsewhere):
        def view(request):
            look(request)
            rival = SessionStore(signed_in)
            rival["b"] = 1
            rival.save()

        clock.now = START + 301
        send(view, signed_in, **elsewhere)
        assert data(signed_in) == {"_auth_user_id": "1", "a": 0, "b": 1, KEY: ENTRY}
        assert life(signed_in)[:2] == (301, 301 + LIFE)

    def test_makes_nobodys_strict_save_fail(self, send, signed_in, clock, configure, life):
        configure(CONFLICT="strict")
        other = SessionStore(signed_in)
        other["b"] = 1
        clock.now = START + 301
        send(look, signed_in, **ELSEWHERE)
        assert life(signed_in)[0] == 301
        other.save()
        assert data(signed_in)[KEY] == ENTRY


class TestTheListOfAUsersSessions:
    def test_says_who_was_seen_and_where(self, send, signed_in, clock):
        clock.now = START + 301
        send(look, signed_in, **ELSEWHERE)
        (info,) = sessions.of_user("1")
        assert (info.address, info.user_agent) == ("198.51.100.1", "curl/8")
        assert info.last_seen.timestamp() == START + 301
        assert info.expires.timestamp() == START + LIFE

    def test_keeps_a_session_that_is_seen_and_saved_for_as_long_as_it_lives(
        self, send, signed_in, clock, behind, store
    ):
        """The list is written when a session's end moves by much, which being seen must not hide."""
        for day in range(1, 13):
            clock.now = START + day * 86_400
            send(look if day % 3 else write, signed_in)
        (index,) = behind.scan_iter(f"{store.keys.prefix}:u:*")
        score = behind.zscore(index, store.keys.name(signed_in))
        assert score >= START + 12 * 86_400 + LIFE


class TestNobodyWhoIsSignedIn:
    def test_is_seen(self, send, store, clock, sent):
        anonymous = send(write).cookies[COOKIE].value
        clock.now = START + 301
        sent.clear()
        send(look, anonymous)
        assert sent == ["GET"]

    def test_is_seen_where_the_session_is_not_used(self, send, signed_in, clock, sent, way):
        clock.now = START + 301
        response = send(lambda request: None, signed_in, **ELSEWHERE)
        assert "EVALSHA" not in sent
        assert not response.has_header("Vary")

    def test_gets_a_session_by_it(self, send, store, clock, behind, prefix):
        send(look)
        send(look, "someunknownsessionkey")
        assert not list(behind.scan_iter(f"{prefix}:*"))

    def test_is_seen_where_no_session_was_loaded(self, do, signed_in, sent):
        session = SessionStore(signed_in)
        assert not session.is_due_to_be_seen
        do(session.see, Device("198.51.100.1"))
        assert sent == []


class TestALifeThatReadingExtends:
    def test_is_extended_however_often_its_visitor_is_seen(self, send, signed_in, clock, configure, life):
        """Being seen must not look like having been extended."""
        configure(ROLLING=0.5, LAST_SEEN=3600)
        for later in range(0, LIFE // 2 + 7201, 7200):
            clock.now = START + later
            send(look, signed_in)
            assert life(signed_in)[0] == later
        assert life(signed_in)[1] == later + LIFE

    def test_is_not_written_twice(self, send, signed_in, clock, configure, sent, life):
        configure(ROLLING=True)
        clock.now = START + 301
        response = send(look, signed_in)
        assert sent == ["GET", "EVALSHA"]
        assert life(signed_in)[:2] == (301, 301 + LIFE)
        assert response.cookies[COOKIE].value == signed_in

    def test_stays_extended_when_the_device_is_stored_too(
        self, send, signed_in, clock, configure, sent, life
    ):
        configure(ROLLING=True)
        clock.now = START + 301
        send(look, signed_in, **ELSEWHERE)
        assert sent == ["GET", "EVALSHA", "EVALSHA"]
        assert life(signed_in)[:2] == (301, 301 + LIFE)
        assert data(signed_in)[KEY]["address"] == "198.51.100.1"


class TestAFailureToRecord:
    @pytest.mark.parametrize(("name", "elsewhere"), [("touch", {}), ("save", ELSEWHERE)])
    def test_is_logged_and_the_response_goes_out(
        self, send, signed_in, clock, monkeypatch, caplog, name, elsewhere
    ):
        def unavailable(*_):
            raise SessionStoreUnavailable("Redis did not answer.")
            yield

        monkeypatch.setattr(operations, name, unavailable)
        clock.now = START + 301
        with caplog.at_level(logging.INFO, "django_redis_sessions"):
            response = send(lambda request: look(request) or HttpResponse("the page"), signed_in, **elsewhere)
        assert response.content == b"the page"
        assert [record.getMessage() for record in caplog.records] == [
            "A session's last use was not recorded: Redis did not answer."
        ]

    def test_of_the_projects_function_changes_nothing(self, send, signed_in, clock, configure, life):
        configure(DEVICES="tests.test_visitors.fails")
        clock.now = START + 301
        send(look, signed_in, **ELSEWHERE)
        assert life(signed_in)[0] == 301
        assert data(signed_in)[KEY] == ENTRY

    def test_is_no_second_one_after_an_outage(self, send, signed_in, clock, sent, monkeypatch):
        def view(request):
            look(request)
            request.session.outage = SessionStoreUnavailable("Redis did not answer.")

        clock.now = START + 301
        assert send(view, signed_in).status_code == 200
        assert sent == ["GET"]


class TestAnotherEngine:
    def test_is_left_alone(self, send, settings, store, clock):
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
        response = send(lambda request: request.session.update({"_auth_user_id": "1"}))
        assert response.cookies[COOKIE].value
