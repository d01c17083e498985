"""How long sessions live under each setting, asked of Redis and of a clock that is moved."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from django_redis_sessions import held
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.records import header_of
from tests.races import watch

LOGIN = {"_auth_user_id": "1", "_auth_user_backend": "backend", "_auth_user_hash": "hash"}
START = 1_800_000_000


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    moved = Clock()
    monkeypatch.setattr(held, "time", moved)
    monkeypatch.setattr("django.utils.timezone.now", lambda: datetime.fromtimestamp(moved.now, UTC))
    return moved


@pytest.fixture
def made(do):
    """Stores data as a session and opens it anew, as the next request would."""

    def make(**data):
        session = SessionStore()
        session.update(data)
        do(session.save)
        return SessionStore(session.session_key)

    return make


@pytest.fixture
def ttl(behind):
    def left(store, session):
        return behind.ttl(store.keys.record(session.session_key))

    return left


@pytest.fixture
def sent(monkeypatch, store):
    """The first words of all commands that are sent from now on."""
    words = []
    watch(monkeypatch, store, lambda command: words.append(command[0]))
    return words


class TestAnAnonymousSession:
    def test_lives_shorter_until_somebody_signs_in(self, do, configure, made, ttl):
        store = configure(ANONYMOUS_TTL=timedelta(hours=1))
        session = made(cart=1)
        assert 3598 <= ttl(store, session) <= 3600
        session.update(LOGIN)
        do(session.save)
        assert ttl(store, session) > 1_000_000

    def test_lives_shorter_again_when_its_end_is_nearer(self, configure, made, ttl):
        store = configure(ANONYMOUS_TTL=3600)
        assert ttl(store, made(_session_expiry=60)) <= 60


class TestANewAnonymousSession:
    def test_is_on_probation_until_its_cookie_comes_back(self, do, configure, made, ttl, sent):
        store = configure(PROBATION_TTL=60)
        session = made(cart=1)
        assert ttl(store, session) <= 60
        sent.clear()
        do(session.load)
        assert sent == ["GET", "EVALSHA"] or sent == ["GET", "EVALSHA", "EVAL"]
        assert ttl(store, session) > 1_000_000
        sent.clear()
        do(SessionStore(session.session_key).load)
        assert sent == ["GET"]

    def test_stays_on_probation_for_the_rest_of_its_first_request(self, do, configure, ttl):
        store = configure(PROBATION_TTL=60)
        session = SessionStore()
        do(session.create)
        session["a"] = 1
        do(session.save)
        assert ttl(store, session) <= 60

    def test_is_trusted_as_soon_as_somebody_signs_in(self, do, configure, made, ttl):
        store = configure(PROBATION_TTL=60)
        assert ttl(store, made(**LOGIN)) > 1_000_000


class TestTheAbsoluteLimit:
    def test_ends_a_session_however_active_it_is(self, do, configure, made, clock, ttl):
        store = configure(ABSOLUTE_TTL=1000, TTL=300)
        session = made(**LOGIN)
        for later in (200, 400, 600, 800):
            clock.now = START + later
            session = SessionStore(session.session_key)
            do(session.get, "a")
            session["a"] = later
            do(session.save)
            assert ttl(store, session) <= min(300, 1000 - later)
        clock.now = START + 1000
        session = SessionStore(session.session_key)
        assert do(session.load) == {}
        assert session.session_key is None

    def test_counts_from_the_sign_in(self, do, configure, made, clock):
        configure(ABSOLUTE_TTL=1000)
        session = made(cart=1)
        clock.now = START + 900
        do(session.cycle_key)
        session.update(LOGIN)
        do(session.save)
        clock.now = START + 1500
        assert do(SessionStore(session.session_key).load)["cart"] == 1

    def test_is_not_prolonged_by_a_rotation(self, do, configure, made, clock):
        configure(ABSOLUTE_TTL=1000)
        session = made(**LOGIN)
        clock.now = START + 900
        do(session.cycle_key)
        clock.now = START + 1000
        assert do(SessionStore(session.session_key).load) == {}

    def test_that_has_passed_lets_the_request_finish(self, do, configure, made, clock):
        """Its time is up: that is no reason to answer the second save with an error."""
        configure(ABSOLUTE_TTL=1000)
        session = made(**LOGIN)
        do(session.get, "a")
        clock.now = START + 1001
        do(session.save)
        session["a"] = 1
        do(session.save)
        do(session.cycle_key)
        assert do(session.exists, session.session_key) is False

    def test_that_passes_during_a_request_ends_the_session(self, do, configure, made, clock):
        configure(ABSOLUTE_TTL=1000)
        session = made(**LOGIN)
        do(session.get, "a")
        clock.now = START + 1001
        session["a"] = 1
        do(session.save)
        assert do(session.exists, session.session_key) is False


class TestRolling:
    def test_is_off_by_default(self, do, configure, made, clock, sent):
        configure()
        session = made(a=1)
        clock.now += 86400
        sent.clear()
        do(session.load)
        assert sent == ["GET"]

    def test_extends_the_life_when_it_is_due_and_not_before(
        self, do, configure, made, clock, ttl, behind, sent
    ):
        store = configure(ROLLING=0.5, TTL=1000)
        session = made(a=1)
        name = store.keys.record(session.session_key)
        clock.now = START + 500
        sent.clear()
        do(SessionStore(session.session_key).load)
        assert sent == ["GET"]
        behind.expire(name, 499)
        clock.now = START + 501
        rolled = SessionStore(session.session_key)
        sent.clear()
        do(rolled.load)
        assert sent[:2] == ["GET", "EVALSHA"]
        assert rolled.was_extended
        assert ttl(store, session) > 990
        assert header_of(behind.get(name)).touched == START + 501
        sent.clear()
        do(SessionStore(session.session_key).load)
        assert sent == ["GET"]

    def test_does_not_move_a_fixed_end(self, do, configure, made, clock, sent):
        configure(ROLLING=True)
        session = SessionStore()
        do(session.set_expiry, timedelta(seconds=1000))
        do(session.save)
        clock.now += 100
        sent.clear()
        do(SessionStore(session.session_key).load)
        assert sent == ["GET"]

    def test_beside_a_logout_leaves_the_cookie_alone(self, do, configure, made, clock, interrupt):
        configure(ROLLING=True)
        session = made(**LOGIN)
        clock.now += 10
        loading = SessionStore(session.session_key)
        with interrupt(by=SessionStore(session.session_key).delete, before=2) as race:
            do(loading.load)
        assert race.happened
        assert not loading.was_extended

    def test_that_fails_does_not_lose_the_session(self, do, configure, made, clock, monkeypatch, caplog):
        """A replica that was promoted too late can still be read from."""
        from django_redis_sessions import operations
        from django_redis_sessions.errors import SessionStoreRefused

        configure(ROLLING=True)
        session = made(a=1)
        clock.now += 10

        def refused(*_):
            raise SessionStoreRefused("READONLY")
            yield

        monkeypatch.setattr(operations, "touch", refused)
        assert do(session.load) == {"a": 1}
        assert not session.was_extended
        assert "life was not extended: READONLY" in caplog.text


class TestWhateverTheSettings:
    """No key without a ttl, and none that outlives its absolute limit."""

    steps = st.lists(
        st.tuples(
            st.sampled_from(["save", "load", "sign in", "cycle", "expiry", "increment"]),
            st.integers(0, 5000),
            st.sampled_from([None, 0, 10, 500, 10**10, timedelta(seconds=300)]),
        ),
        max_size=6,
    )
    limit = st.none() | st.integers(10, 5000)  # seconds of the server's clock, which goes on

    @hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        steps=steps,
        absolute=limit,
        anonymous=limit,
        probation=limit,
        ttl=limit,
        rolling=st.sampled_from([False, True, 0.3]),
    )
    def test_no_session_lives_too_long(
        self, configure, clock, behind, steps, absolute, anonymous, probation, ttl, rolling
    ):
        store = configure(
            ABSOLUTE_TTL=absolute, ANONYMOUS_TTL=anonymous, PROBATION_TTL=probation, TTL=ttl, ROLLING=rolling
        )
        clock.now = START
        session = SessionStore()
        session.create()
        for action, later, expiry in steps:
            clock.now += later
            session = SessionStore(session.session_key)
            session.get("a")
            if action == "save":
                session["a"] = later
            elif action == "sign in":
                session.update(LOGIN)
            elif action == "cycle":
                session.cycle_key()
            elif action == "expiry":
                session.set_expiry(expiry)
            elif action == "increment":
                session.increment("n")
            if action != "load":
                session.save()
            name = store.keys.record(session.session_key or "x" * 32)
            record = behind.get(name)
            if record is None:
                session = SessionStore()
                session.create()
                continue
            left = behind.ttl(name)
            assert left != -1
            header = header_of(record)
            if absolute is not None:
                assert header.touched + left <= header.created + absolute
            if header.is_anonymous and anonymous is not None:
                assert left <= anonymous
