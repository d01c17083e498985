"""An address may begin so many anonymous sessions, and its visitors are served all the same."""

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth import SESSION_KEY, alogin, login
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client, RequestFactory

from django_redis_sessions import floods, sessions
from django_redis_sessions import stored as stored_module
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.configuration import problems, settings_from
from django_redis_sessions.devices import Device, network
from django_redis_sessions.errors import SessionBudgetSpent
from django_redis_sessions.keys import digest
from django_redis_sessions.metrics import Metrics
from django_redis_sessions.middleware import SessionMiddleware
from django_redis_sessions.operations import Budget, Outcome, begin
from tests.wire import Wire

NUMBER = 3
ADDRESS = "203.0.113.77"


class Told(Metrics):
    def __init__(self):
        self.reasons = []

    def discarded(self, reason):
        self.reasons.append(reason)


told = Told()


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No line was written yet."""
    monkeypatch.setattr(floods, "_next_line", 0.0)
    monkeypatch.setattr(floods, "_untold", 0)
    told.reasons.clear()


@pytest.fixture
def tight(configure):
    return configure(ANONYMOUS_BUDGET=(NUMBER, 3600), METRICS="tests.test_budgets.told")


@pytest.fixture
def send(way, runner):
    """Sends a request through the middleware to ``view(request)``; gives the response."""

    def through(view, address=ADDRESS, cookie=None, **headers):
        request = RequestFactory().get("/", REMOTE_ADDR=address, headers=headers)
        if cookie:
            request.COOKIES["sessionid"] = cookie

        if way == "blocking":
            middleware = SessionMiddleware(lambda request: view(request) or HttpResponse("served"))
            try:
                return middleware(request)
            except SessionBudgetSpent as error:
                # As Django's handler does for what a view raises.
                return middleware.process_exception(request, error)

        async def aview(request):
            return view(request) or HttpResponse("served")

        async def awaited():
            return await SessionMiddleware(aview)(request)

        return runner.run(awaited())

    return through


def put(request):
    request.session["basket"] = "tea"


def records(behind, prefix):
    return list(behind.scan_iter(f"{prefix}:r:*"))


class TestBeyondTheBudget:
    def test_the_page_goes_out_without_a_session(self, tight, send, behind, prefix):
        for _ in range(NUMBER):
            assert "sessionid" in send(put).cookies
        response = send(put)
        assert (response.status_code, response.content) == (200, b"served")
        assert "sessionid" not in response.cookies
        assert response["Vary"] == "Cookie"
        assert len(records(behind, prefix)) == NUMBER

    def test_others_have_a_budget_of_their_own(self, tight, send):
        for _ in range(NUMBER + 1):
            send(put)
        assert "sessionid" in send(put, address="203.0.113.78").cookies

    def test_a_session_that_is_there_goes_on(self, tight, send):
        cookie = send(put).cookies["sessionid"].value
        for _ in range(NUMBER + 1):
            send(put)
        send(lambda request: request.session.update({"more": 1}), cookie=cookie)
        assert SessionStore(cookie)["more"] == 1

    def test_a_dead_cookie_stays_and_gets_nothing(self, tight, send):
        for _ in range(NUMBER):
            send(put)
        assert "sessionid" not in send(put, cookie="somedeadsessionkey").cookies

    def test_metrics_and_log_are_told_once_a_minute(self, tight, send, caplog, monkeypatch):
        caplog.set_level(logging.WARNING, "django_redis_sessions")
        for _ in range(NUMBER + 4):
            send(put)
        assert told.reasons == [stored_module.BUDGET_SPENT] * 4
        (line,) = caplog.messages
        assert line.endswith("1 in this process since the last such line")
        monkeypatch.setattr(floods, "_next_line", 0.0)
        send(put)
        assert caplog.messages[-1].endswith("4 in this process since the last such line")
        assert ADDRESS not in caplog.text

    @pytest.mark.parametrize("method", ["create", "save"])
    @pytest.mark.parametrize("way", ["blocking"])
    def test_a_view_that_insists_is_answered_with_429(self, tight, send, method):
        for _ in range(NUMBER):
            send(put)
        response = send(lambda request: put(request) or getattr(request.session, method)())
        assert response.status_code == 429
        assert response["Retry-After"] == "1200"
        assert b"Too many visits" in response.content

    @pytest.mark.parametrize("way", ["blocking"])
    def test_a_program_that_asks_for_json_gets_it(self, tight, send):
        for _ in range(NUMBER):
            send(put)
        response = send(lambda request: request.session.create(), accept="application/json")
        assert json.loads(response.content) == {"error": "too many new sessions"}

    def test_the_bucket_fills_again(self, configure, send, monkeypatch):
        configure(ANONYMOUS_BUDGET=(1, 3600))
        assert "sessionid" in send(put).cookies
        assert "sessionid" not in send(put).cookies
        now = time.time_ns()
        monkeypatch.setattr(stored_module, "time_ns", lambda: now + 3600 * 10**9)
        assert "sessionid" in send(put).cookies


@pytest.mark.django_db(transaction=True)
class TestASignIn:
    @pytest.fixture
    def alice(self):
        return User.objects.create_user("alice", password="wonderland")

    def signs_in(self, alice):
        def view(request):
            put(request)
            request.user = alice
            login(request, alice, "django.contrib.auth.backends.ModelBackend")

        return view

    @pytest.mark.parametrize("way", ["blocking"])
    def test_works_whatever_is_left(self, tight, send, alice):
        for _ in range(NUMBER + 1):
            send(put)
        response = send(self.signs_in(alice))
        session = SessionStore(response.cookies["sessionid"].value)
        assert session[SESSION_KEY] == str(alice.pk)
        assert session["basket"] == "tea"

    @pytest.mark.parametrize("way", ["awaited"])
    def test_works_awaited(self, tight, send, alice, runner):
        for _ in range(NUMBER + 1):
            send(put)
        request = RequestFactory().get("/", REMOTE_ADDR=ADDRESS)

        async def view(request):
            await alogin(request, alice, "django.contrib.auth.backends.ModelBackend")
            return HttpResponse()

        async def awaited():
            return await SessionMiddleware(view)(request)

        response = runner.run(awaited())
        assert SessionStore(response.cookies["sessionid"].value)[SESSION_KEY] == str(alice.pk)

    def test_takes_nothing_from_the_budget(self, tight, alice, behind, prefix):
        for _ in range(NUMBER + 3):
            session = SessionStore()
            session.network = lambda: ADDRESS
            session[SESSION_KEY] = str(alice.pk)
            session.save()
        assert list(behind.scan_iter(f"{prefix}:b:*")) == []

    @pytest.mark.parametrize("way", ["blocking"])
    def test_of_somebody_whose_session_has_gone_from_redis_works(self, tight, send, alice, behind):
        cookie = send(put).cookies["sessionid"].value
        for _ in range(NUMBER):
            send(put)

        def view(request):
            request.session.get("basket")
            SessionStore(cookie).delete()
            self.signs_in(alice)(request)

        response = send(view, cookie=cookie)
        assert SessionStore(response.cookies["sessionid"].value)[SESSION_KEY] == str(alice.pk)


@pytest.mark.operator
class TestAFlood:
    def test_of_a_thousand_requests_leaves_sixty_records(self, configure, behind, prefix, settings):
        configure(ANONYMOUS_BUDGET="60/d")
        settings.MIDDLEWARE = ["django_redis_sessions.middleware.SessionMiddleware"]
        client = Client(REMOTE_ADDR=ADDRESS)
        statuses = set()
        for _ in range(1000):
            client.cookies.clear()
            statuses.add(client.get("/write/?a=1").status_code)
        assert statuses == {200}
        assert len(records(behind, prefix)) == 60
        assert sessions.count() == 60
        (bucket,) = behind.scan_iter(f"{prefix}:b:*")
        assert 80_000 < behind.ttl(bucket) <= 86_400

    def test_of_threads_gets_exactly_the_budget(self, configure, behind, prefix):
        configure(ANONYMOUS_BUDGET=(50, 3600))

        def begins(_):
            session = SessionStore()
            session.network = lambda: ADDRESS
            session["a"] = 1
            try:
                session.save()
            except SessionBudgetSpent:
                return 0
            return 1

        with ThreadPoolExecutor(10) as threads:
            assert sum(threads.map(begins, range(200))) == 50
        assert len(records(behind, prefix)) == 50


class TestTheStep:
    """One script, or on a cluster two steps."""

    @pytest.fixture
    def keys(self, perform, configure):
        """Of a site with budgets, which has the rights for them and knows whether it is on a cluster."""
        return configure(ANONYMOUS_BUDGET="60/h").keys

    def budget(self, network=ADDRESS, number=2, seconds=60, now=1_800_000_000):
        return Budget(network, number, seconds, now_us=now * 1_000_000)

    def test_gives_one_back_when_its_time_has_passed(self, keys, perform):
        made = [
            perform(begin(keys, f"sessionkey{at}", b"\x01" * 30, 60, self.budget(now=1_800_000_000 + at)))
            for at in (0, 1, 2, 29, 30, 31, 60)
        ]
        done, spent = Outcome.DONE, Outcome.SPENT
        assert made == [done, done, spent, spent, done, spent, done]

    @pytest.mark.parametrize("number", [1, 3, 7, 60, 1000])
    def test_counts_exactly(self, keys, perform, number):
        """Also where the time cannot be divided by the number."""
        outcomes = [
            perform(
                begin(keys, f"sessionkey{at}", b"\x01" * 30, 60, self.budget(number=number, seconds=3601))
            )
            for at in range(number + 2)
        ]
        assert outcomes.count(Outcome.DONE) == number

    @pytest.mark.one_slot
    def test_does_not_pay_for_a_key_that_is_taken(self, keys, perform, behind):
        behind.set(keys.record("sessionkey"), b"somebody else's record", ex=60)
        for _ in range(3):
            assert perform(begin(keys, "sessionkey", b"\x01" * 30, 60, self.budget())) is Outcome.TAKEN
        assert not behind.exists(keys.bucket(ADDRESS))
        assert perform(begin(keys, "bad key", b"", 60, self.budget())) is Outcome.TAKEN

    @pytest.mark.one_slot
    def test_repeated_because_its_answer_was_lost_pays_once(self, keys, perform, behind):
        record = b"\x01\0\0\0\0revisi" + bytes(20)
        assert perform(begin(keys, "sessionkey", record, 60, self.budget())) is Outcome.DONE
        bucket = behind.get(keys.bucket(ADDRESS))
        assert perform(begin(keys, "sessionkey", record, 60, self.budget())) is Outcome.DONE
        assert behind.get(keys.bucket(ADDRESS)) == bucket

    def test_survives_a_bucket_that_holds_nonsense(self, keys, perform, behind):
        behind.set(keys.bucket(ADDRESS), "nonsense", ex=60)
        assert perform(begin(keys, "sessionkey", b"\x01" * 30, 60, self.budget())) is Outcome.DONE

    @pytest.mark.unix
    def test_takes_no_round_trip_more(self, server, tmp_path, configure, known_scripts, do):
        with Wire(server.socket, tmp_path) as wire:
            configure(URL=wire.url, ANONYMOUS_BUDGET="60/h")
            for network_of in (None, lambda: ADDRESS):
                session = SessionStore()
                session.network = network_of
                session["a"] = 1
                do(SessionStore().exists, "sessionkey")
                wire.reset()
                do(session.save)
                assert wire.round_trips == 1


class TestWhoseBudgetItIs:
    @pytest.mark.parametrize(
        ("address", "expected"),
        [
            (ADDRESS, ADDRESS),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::9", "2001:db8:1:2::"),
            ("::ffff:203.0.113.77", ADDRESS),
            ("unknown", None),
            ("", None),
            (None, None),
        ],
    )
    def test_is_an_address_or_the_network_of_a_customer(self, address, expected):
        assert network(address) == expected

    @pytest.mark.parametrize("devices", ["full", "masked", "agent", None])
    def test_is_counted_whatever_is_recorded(self, configure, send, behind, keys, devices):
        configure(ANONYMOUS_BUDGET=(NUMBER, 3600), DEVICES=devices)
        for _ in range(NUMBER):
            send(put)
        assert "sessionid" not in send(put).cookies
        assert "sessionid" in send(put, address="203.0.113.78").cookies
        assert behind.exists(f"{keys.prefix}:b:{digest(ADDRESS)}")

    @pytest.mark.parametrize(
        ("function", "is_counted"), [("behind_proxy", True), ("unsure", False), ("nowhere", False)]
    )
    def test_is_found_by_the_projects_function(self, configure, send, function, is_counted):
        configure(ANONYMOUS_BUDGET=(NUMBER, 3600), DEVICES=f"tests.test_budgets.{function}")
        for at in range(NUMBER):
            send(put, address=f"10.0.0.{at}", x_real_ip=ADDRESS)
        assert ("sessionid" in send(put, x_real_ip=ADDRESS).cookies) is not is_counted
        assert "sessionid" in send(put, x_real_ip="203.0.113.78").cookies

    def test_is_nobodys_where_no_address_is_known(self, tight, send, behind, prefix):
        for _ in range(NUMBER + 3):
            assert "sessionid" in send(put, address="").cookies

    def test_is_nobodys_under_djangos_middleware(self, tight, client):
        for _ in range(NUMBER + 3):
            client.cookies.clear()
            client.get("/write/?a=1")
            assert "sessionid" in client.cookies


def behind_proxy(request):
    return Device(request.headers["X-Real-IP"], None)


def unsure(request):
    return None


def nowhere(request):
    return Device()


class TestTheSetting:
    @pytest.mark.parametrize(
        ("value", "read"),
        [("60/h", (60, 3600)), ("1/s", (1, 1)), ("10/m", (10, 60)), ("500/d", (500, 86_400)),
         ((5, 90), (5, 90)), ([5, 0.5], (5, 1)), (None, None)],
    )  # fmt: skip
    def test_is_a_number_and_a_time(self, value, read):
        assert settings_from({"ANONYMOUS_BUDGET": value}).anonymous_budget == read

    @pytest.mark.parametrize(
        "value",
        ["", "60", "60/", "/h", "60/w", "0/h", "-1/h", "1.5/h", "9999999/h", "²/h", "1" * 5000 + "/h", 60, (60,),
         (60, 3600, 1), (60, 0), (0, 60), (True, 60), (60.0, 60), (60, 86_401), (60, "h"), {}],
    )  # fmt: skip
    def test_is_nothing_else(self, value):
        (problem,) = problems({"ANONYMOUS_BUDGET": value})
        assert "such as '60/h'" in problem.message
