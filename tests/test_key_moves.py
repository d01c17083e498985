"""A site changes how it keeps session keys, and nobody is signed out by it, or stays signed in."""

import asyncio
import base64
import hmac
import json
import re
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory

from django_redis_sessions import conf, held, operations, revocations, scripts, sessions, watches
from django_redis_sessions.backend import SessionConflict, SessionEnded, SessionStore
from django_redis_sessions.devices import Device
from django_redis_sessions.errors import SessionStoreUnavailable
from django_redis_sessions.keys import digest, user_marker
from django_redis_sessions.leaving.db import SessionStore as LeavingStore
from django_redis_sessions.leaving.file import SessionStore as LeavingFiles
from django_redis_sessions.middleware import SessionMiddleware
from django_redis_sessions.schemes import Hashed, Signed
from tests.rivals import in_threads
from tests.test_watches import eventually

DJANGO = "django.contrib.sessions.middleware.SessionMiddleware"
OURS = "django_redis_sessions.middleware.SessionMiddleware"
AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"

#: Where sessions are, and where they are to be.
MOVES = [
    ("plain", "hashed"),
    ("hashed", "plain"),
    ("hashed", "signed"),
    ("plain", "signed"),
    ("signed", "plain"),
]
#: Before the last of so many commands no rival acts any more: no operation below sends as many.
COMMANDS, OF_A_REVOCATION, ON_A_CLUSTER = 3, 7, 9


def most_commands(config, name):
    if config.getoption("topology") == "cluster":
        return ON_A_CLUSTER
    return OF_A_REVOCATION if name.startswith("test_a_revocation") else COMMANDS


def pytest_generate_tests(metafunc):
    """``before``: a rival acts before this command."""
    if "before" in metafunc.fixturenames:
        most = most_commands(metafunc.config, metafunc.function.__name__)
        metafunc.parametrize("before", range(1, most + 1))


@pytest.fixture(params=MOVES, ids="-".join)
def move(request):
    """``begin()`` stores a session in the old form and changes the setting; gives the session key."""
    old, new = request.param

    def begin(configure, user=None, **given):
        configure(KEYS=old, **given)
        session = SessionStore()
        session["a"] = 0
        if user is not None:
            session["_auth_user_id"] = user
        session.save()
        configure(KEYS=[new, old], **given)
        return session.session_key

    return SimpleNamespace(old=old, new=new, begin=begin)


@pytest.fixture
def records(behind, prefix):
    """The names of all records."""
    return lambda: {key.decode().rpartition(":r:")[2] for key in behind.scan_iter(f"{prefix}:r:*")}


def change(do, session_key, **values):
    """A request that loads, changes and saves."""
    session = SessionStore(session_key)
    do(session.get, "a")
    for name, value in values.items():
        session[name] = value
    do(session.save)
    return session


def rival(session_key, **values):
    """The same, blocking, as something to be done."""
    return lambda: change(lambda method, *args: method(*args), session_key, **values)


def late_rival(session_key, **values):
    """The same by somebody who comes when the session may have ended: then nothing is saved."""

    def act():
        session = SessionStore(session_key)
        session.get("a")
        if session.session_key is None:
            return
        session.update(values)
        with suppress(SessionEnded):
            session.save()

    return act


def content(session_key):
    return dict(SessionStore(session_key).items())


class TestASessionOfTheOldForm:
    def test_is_found_in_one_round_trip_and_stays_where_it_is(self, move, configure, do, records, interrupt):
        key = move.begin(configure)
        before = records()
        session = SessionStore(key)
        with interrupt(by=None, before=0) as race:
            assert do(session.get, "a") == 0
        assert race.sent == 1
        assert records() == before
        assert not session.modified

    def test_is_kept_in_the_new_form_from_the_next_save_on(self, move, configure, do, records):
        key = move.begin(configure)
        session = change(do, key, b=1)
        assert records() == {conf.store().keys.lasting(session.session_key)}
        assert (session.session_key == key) is (move.new != "signed")
        configure(KEYS=move.new)
        assert content(session.session_key) == {"a": 0, "b": 1}

    def test_moves_with_a_save_that_changes_nothing(self, move, configure, do, records):
        key = move.begin(configure)
        session = change(do, key)
        assert records() == {conf.store().keys.lasting(session.session_key)}
        assert content(session.session_key) == {"a": 0}

    def test_moves_with_a_mutation_and_the_visitor_is_told(self, move, configure, do, records):
        key = move.begin(configure)
        session = SessionStore(key)
        assert do(session.increment, "a") == 1
        assert records() == {conf.store().keys.lasting(session.session_key)}
        assert session.modified is (move.new == "signed")

    def test_can_be_saved_again_after_its_move(self, move, configure, do):
        session = change(do, move.begin(configure), b=1)
        session["c"] = 2
        do(session.save)
        assert content(session.session_key) == {"a": 0, "b": 1, "c": 2}

    def test_exists_and_can_be_deleted(self, move, configure, do, records):
        key = move.begin(configure)
        assert do(SessionStore().exists, key) is True
        do(SessionStore().delete, key)
        assert do(SessionStore().exists, key) is False
        assert records() == set()

    def test_is_ended_by_a_sign_out(self, move, configure, do, records):
        session = SessionStore(move.begin(configure, user="1"))
        do(session.get, "a")
        do(session.flush)
        assert records() == set()
        assert sessions.of_user("1") == []

    def test_is_ended_by_a_sign_out_that_has_not_read_it(self, move, configure, do, records, behind, prefix):
        do(SessionStore().delete, move.begin(configure, user="1"))
        assert records() == set()
        assert [name for name in members(behind, prefix) if name[:1] not in (b"=", b"!")] == []

    def test_gets_another_key_at_sign_in(self, move, configure, do, records):
        key = move.begin(configure)
        session = SessionStore(key)
        do(session.get, "a")
        do(session.cycle_key)
        assert session.session_key != key
        assert records() == {conf.store().keys.lasting(session.session_key)}
        assert content(key) == {}

    def test_gets_a_key_at_sign_in_that_nobody_else_was_given(self, move, configure, do, interrupt):
        """Whoever had planted the cookie may have been faster to move the session, and know its new key."""
        key = move.begin(configure)
        session = SessionStore(key)
        do(session.get, "a")
        thief = rival(key, theirs=1)()
        do(session.cycle_key)
        session["_auth_user_id"] = "1"
        do(session.save)
        assert content(session.session_key)["_auth_user_id"] == "1"
        for known in (key, thief.session_key):
            assert content(known) == {}

    def test_cannot_be_made_again(self, move, configure, do):
        session = SessionStore(move.begin(configure))
        with pytest.raises(SessionStore.KeyTaken):
            do(session.save, must_create=True)

    def test_is_still_in_its_users_list(self, move, configure, do, behind, prefix):
        key = move.begin(configure, user="1")
        assert [info.handle for info in sessions.of_user("1", current=key)] == [digest(key)]
        assert sessions.of_user("1", current=key)[0].is_current
        session = change(do, key, b=1)
        (info,) = sessions.of_user("1", current=session)
        assert (info.handle, info.is_current) == (digest(session.session_key), True)
        listed = {name.decode() for name in members(behind, prefix) if name[:1] != b"="}
        assert listed == {conf.store().keys.lasting(session.session_key)}

    @pytest.mark.operator
    def test_is_found_and_ended_by_its_handle(self, move, configure, do, records):
        key = move.begin(configure, user="1")
        assert do(sessions.get, digest(key)).user_id == "1"
        session = change(do, key, b=1)
        assert do(sessions.get, digest(session.session_key)).user_id == "1"
        assert do(sessions.revoke, digest(session.session_key)) is True
        assert records() == set()

    def test_is_ended_by_the_handle_it_had_before_its_move(self, move, configure, do, records):
        key = move.begin(configure, user="7")
        (info,) = sessions.of_user("7")
        change(do, key, b=1)
        assert do(sessions.revoke, info.handle) is True
        assert records() == set()

    def test_is_the_one_that_is_kept(self, move, configure, do, records):
        key = move.begin(configure, user="1")
        other = SessionStore()
        other["_auth_user_id"] = "1"
        other.save()
        assert do(sessions.revoke_user, "1", keep=key) == 1
        assert content(key) == {"a": 0, "_auth_user_id": "1"}
        assert len(records()) == 1

    def test_of_another_user_from_now_on_leaves_the_first_ones_list(self, move, configure, do):
        key = move.begin(configure, user="1")
        session = change(do, key, _auth_user_id="2")
        assert sessions.of_user("1") == []
        assert [info.handle for info in sessions.of_user("2")] == [digest(session.session_key)]

    def test_counts_once_for_the_limit(self, move, configure, do):
        key = move.begin(configure, user="1", MAX_SESSIONS_PER_USER=1, ON_LIMIT="refuse")
        session = change(do, key, b=1)
        assert len(sessions.of_user("1")) == 1
        assert content(session.session_key)["b"] == 1

    def test_makes_room_in_the_list_of_another_user(self, move, configure, do, records):
        key = move.begin(configure, user="1", MAX_SESSIONS_PER_USER=1)
        rival(None, _auth_user_id="2")()
        session = change(do, key, _auth_user_id="2")
        assert [info.handle for info in sessions.of_user("2")] == [digest(session.session_key)]
        assert records() == {conf.store().keys.lasting(session.session_key)}

    def test_that_is_only_read_moves_when_its_life_is_extended(
        self, move, configure, do, records, monkeypatch
    ):
        key = move.begin(configure, ROLLING=True)
        later = time.time() + 10
        monkeypatch.setattr(held, "time", lambda: later)
        session = SessionStore(key)
        do(session.get, "a")
        assert session.modified
        do(session.save)
        assert records() == {conf.store().keys.lasting(session.session_key)}

    def test_is_not_moved_by_being_seen(self, move, configure, do, records):
        key = move.begin(configure, user="1", LAST_SEEN=1)
        before = records()
        session = SessionStore(key)
        do(session.get, "a")
        session._baseline = session._baseline._replace(
            header=session._baseline.header._replace(touched=session._baseline.header.touched - 10)
        )
        do(session.see, Device("192.0.2.1", "a browser"))
        assert records() == before
        assert content(key) == {"a": 0, "_auth_user_id": "1"}


def members(behind, prefix):
    return behind.zrange(f"{prefix}:u:{index_name('1')}", 0, -1)


def index_name(user):
    return conf.store().keys.index(user_marker(user)).rpartition(":u:")[2]


class TestTwoRequestsWithOneCookie:
    """``interrupt`` needs the clients of a store; all of a deployment's stores share their classes."""

    @pytest.fixture
    def interrupt(self, interrupt, request, before):
        """As usual, and fails if an operation sends more commands than are tried."""
        races = []
        yield lambda **given: races.append(interrupt(**given)) or races[-1]
        if before == most_commands(request.config, request.function.__name__):
            assert not any(race.happened for race in races)

    def test_both_find_the_session_and_both_changes_are_kept(
        self, move, configure, do, interrupt, records, before
    ):
        key = move.begin(configure)
        session = SessionStore(key)
        with interrupt(by=rival(key, theirs=1), before=before) as race:
            do(session.get, "a")
            session["mine"] = 1
            do(session.save)
        if not race.happened:
            rival(key, theirs=1)()
        assert content(session.session_key) == {"a": 0, "mine": 1, "theirs": 1}
        assert records() == {conf.store().keys.lasting(session.session_key)}
        assert session.session_key == rival(key)().session_key

    def test_a_sign_out_wins(self, move, configure, do, interrupt, records, before):
        key = move.begin(configure, user="1")
        session = SessionStore(key)

        def sign_out():
            leaving = SessionStore(key)
            leaving.get("a")
            leaving.flush()

        with interrupt(by=sign_out, before=before) as race:
            do(session.get, "a")
            if session.session_key is None:
                return  # it was gone before it was read
            session["mine"] = 1
            with suppress(SessionEnded):
                do(session.save)
        if race.happened:
            assert records() == set()

    def test_a_sign_out_is_not_escaped_by_a_move(self, move, configure, do, interrupt, records, before):
        key = move.begin(configure, user="1")
        leaving = SessionStore(key)
        do(leaving.get, "a")
        with interrupt(by=late_rival(key, theirs=1), before=before):
            do(leaving.flush)
        assert records() == set()
        assert sessions.of_user("1") == []

    def test_a_deletion_is_not_escaped_by_a_move(self, move, configure, do, interrupt, records, before):
        key = move.begin(configure)
        with interrupt(by=late_rival(key, theirs=1), before=before):
            do(SessionStore().delete, key)
        if move.new != "signed":
            assert records() == set()

    def test_a_revocation_is_not_escaped_by_a_move(self, move, configure, do, interrupt, records, before):
        key = move.begin(configure, user="1")
        with interrupt(by=late_rival(key, theirs=1), before=before):
            assert do(sessions.revoke_user, "1") == 1
        assert records() == set()
        assert content(key) == {}

    def test_a_move_does_not_escape_a_revocation(self, move, configure, do, interrupt, records, before):
        key = move.begin(configure, user="1")
        session = SessionStore(key)
        do(session.get, "a")
        session["mine"] = 1
        with interrupt(by=lambda: sessions.revoke_user("1"), before=before) as race, suppress(SessionEnded):
            do(session.save)
        if race.happened:
            assert records() == set()

    def test_a_sign_in_follows_a_move(self, move, configure, do, interrupt, records, before):
        key = move.begin(configure)
        session = SessionStore(key)
        do(session.get, "a")
        with interrupt(by=rival(key, theirs=1), before=before) as race:
            do(session.cycle_key)
        assert session.session_key != key
        if before == 3 and conf.store().keys.are_spread:
            # That is what tidies up on a cluster, when the old key is worthless already.
            assert content(session.session_key) == {"a": 0}
            return
        if race.happened:
            assert content(session.session_key) == {"a": 0, "theirs": 1}
        assert len(records()) == 1

    def test_a_load_does_not_miss_what_is_moving(self, move, configure, do, interrupt, before):
        key = move.begin(configure)
        session = SessionStore(key)
        with interrupt(by=rival(key, theirs=1), before=before):
            assert do(session.get, "a") == 0

    def test_of_whom_one_is_strict_only_conflict_when_something_was_saved(self, move, configure, do):
        key = move.begin(configure)
        session = SessionStore(key)
        session.on_conflict = "strict"
        do(session.get, "a")
        rival(key, theirs=1)()
        session["mine"] = 1
        if move.new == "signed":
            do(session.load)
        with pytest.raises(SessionConflict):
            do(session.save)

    def test_and_six_more_in_threads_lose_nothing(self, move, configure, records):
        key = move.begin(configure)
        ends = []

        def work(own):
            ends.append(rival(key, **{f"k{own}": own})().session_key)

        in_threads(work, 8)
        assert len(set(ends)) == 1
        assert content(ends[0]) == {"a": 0, **{f"k{own}": own for own in range(8)}}
        assert records() == {conf.store().keys.lasting(ends[0])}

    def test_and_six_more_on_a_loop_lose_nothing(self, move, configure, records):
        key = move.begin(configure)

        async def request(own):
            session = SessionStore(key)
            await session.aget("a")
            session[f"k{own}"] = own
            await session.asave()
            return session.session_key

        async def together():
            return await asyncio.gather(*[request(own) for own in range(8)])

        ends = asyncio.run(together())
        assert len(set(ends)) == 1
        assert content(ends[0]) == {"a": 0, **{f"k{own}": own for own in range(8)}}
        assert records() == {conf.store().keys.lasting(ends[0])}


class TestProcessesThatMoveInBothDirections:
    """While a deployment goes on, some have the new list and some the old one."""

    @pytest.mark.parametrize("lists", [("hashed", "plain"), ("plain", "hashed")], ids="-".join)
    def test_find_each_others_sessions(self, configure, do, lists):
        configure(KEYS="plain")
        key = change(do, None, a=0).session_key
        for turn in range(6):
            configure(KEYS=lists if turn % 2 else lists[::-1])
            change(do, key, **{f"turn{turn}": turn})
        assert content(key) == {"a": 0, **{f"turn{turn}": turn for turn in range(6)}}

    def test_do_not_lose_a_save(self, configure, do, records):
        configure(KEYS=["plain", "hashed"])
        key = change(do, None, a=0).session_key
        slow = SessionStore(key)
        do(slow.get, "a")
        slow["mine"] = 1
        configure(KEYS=["hashed", "plain"])
        rival(key, theirs=1)()
        configure(KEYS=["plain", "hashed"])
        do(slow.save)
        assert content(key) == {"a": 0, "mine": 1, "theirs": 1}
        assert records() == {key}


class TestTheOldCookieOfASessionThatIsSignedNow:
    @pytest.fixture
    def moved(self, configure, do):
        configure(KEYS="hashed")
        key = change(do, None, a=0).session_key
        configure(KEYS=["signed", "hashed"])
        return key, change(do, key, b=1).session_key

    def test_leads_to_the_new_one_for_parallel_requests(self, moved, do):
        old, new = moved
        late = SessionStore(old)
        assert do(late.get, "b") == 1
        assert late.session_key == new
        assert late.modified  # or its visitor would not be told

    def test_is_not_there_any_more(self, moved, do):
        assert do(SessionStore().exists, moved[0]) is False

    def test_signs_out_the_session_it_has_become(self, moved, do, records):
        do(SessionStore(moved[0]).flush)
        assert records() == set()

    def test_leads_there_for_as_long_as_the_session_lives(self, moved, do, behind):
        """A visitor who is told of it by no response comes back with the key of before."""
        old, new = (conf.store().keys.record(key) for key in moved)
        assert not behind.exists(old)
        address = conf.store().keys.forwarding(moved[0])
        assert abs(behind.ttl(address) - behind.ttl(new)) <= 2
        behind.unlink(address)
        assert do(SessionStore(moved[0]).load) == {}

    def test_outlasts_a_response_that_fails(self, configure, rf, behind):
        configure(KEYS="hashed")
        old = change(lambda method, *args: method(*args), None, a=0, _auth_user_id="7").session_key
        configure(KEYS=["signed", "hashed"])

        def view(request):
            request.session.increment("b")
            return HttpResponse(status=500)

        request = rf.get("/")
        request.COOKIES["sessionid"] = old
        assert "sessionid" not in SessionMiddleware(view)(request).cookies
        assert behind.ttl(conf.store().keys.forwarding(old)) > 60
        assert content(old) == {"a": 0, "_auth_user_id": "7", "b": 1}

    def test_is_worthless_once_its_visitor_has_signed_in_again(self, moved, do):
        session = SessionStore(moved[1])
        do(session.get, "a")
        do(session.cycle_key)
        assert do(SessionStore(moved[0]).load) == {}
        assert do(SessionStore(moved[1]).load) == {}

    def test_needs_the_other_scheme_in_the_list(self, moved, configure, do):
        configure(KEYS="signed")
        assert do(SessionStore(moved[0]).load) == {}
        assert do(SessionStore(moved[1]).load) == {"a": 0, "b": 1}


class TestASignedKey:
    def test_goes_on_under_hashed_as_it_is(self, configure, do, records):
        configure(KEYS="signed")
        key = change(do, None, a=0).session_key
        configure(KEYS="hashed")
        session = change(do, key, b=1)
        assert session.session_key == key
        assert records() == {digest(key)}

    def test_is_renewed_after_a_rotation_of_the_secret(self, configure, do, settings):
        configure(KEYS="signed")
        key = change(do, None, a=0).session_key
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another secret, another secret, another secret"
        session = change(do, key, b=1)
        assert session.session_key != key
        settings.SECRET_KEY_FALLBACKS = []
        assert content(session.session_key) == {"a": 0, "b": 1}

    def test_is_worth_nothing_without_the_secret_that_made_it(self, configure, do, settings):
        configure(KEYS="signed")
        key = change(do, None, a=0).session_key
        settings.SECRET_KEY = "another secret, another secret, another secret"
        assert do(SessionStore(key).load) == {}
        assert do(SessionStore().exists, key) is False

    def test_cannot_be_given_to_a_new_session_by_whoever_makes_it_up(self, configure, do, records):
        configure(KEYS="signed")
        session = SessionStore("k" * 40)
        with pytest.raises(SessionStore.KeyTaken):
            do(session.save, must_create=True)
        assert records() == set()


class TestAHandleInACookie:
    """Handles stand in logs and on pages; none may let anybody in, whatever is listed."""

    @pytest.mark.parametrize(
        "listed", ["plain", ["plain", "hashed"], ["hashed", "plain"], ["signed", "plain"]]
    )
    def test_lets_nobody_in(self, configure, do, listed):
        configure(KEYS="hashed")
        key = change(do, None, a=0).session_key
        configure(KEYS=listed)
        thief = SessionStore(digest(key))
        assert do(thief.load) == {}
        assert thief.session_key is None
        assert do(SessionStore().exists, digest(key)) is False
        do(SessionStore().delete, digest(key))
        configure(KEYS="hashed")
        assert content(key) == {"a": 0}


class Peppered:
    """Names that depend on the secret: one session key has several while a site moves."""

    def __init__(self, secret):
        self.secret = secret

    def new(self):
        return Hashed().new()

    def name(self, session_key):
        return digest(self.secret + session_key) if Hashed().name(session_key) else None


@pytest.mark.parametrize("given", [{}, {"SIGN": True}], ids=["", "signed-records"])
class TestASessionKeyWithSeveralDigests:
    PATH = f"{__name__}.Peppered"

    def test_opens_the_record_that_was_sealed_for_another(self, configure, do, given, records):
        configure(KEYS="hashed", **given)
        key = change(do, None, a=0).session_key
        configure(KEYS=[self.PATH, "hashed"], **given)
        assert do(SessionStore(key).load) == {"a": 0}
        assert content(change(do, key, b=1).session_key) == {"a": 0, "b": 1}
        assert len(records()) == 1

    def test_opens_it_after_a_rotation_of_the_secret(self, configure, do, given, settings, records):
        configure(KEYS=self.PATH, **given)
        key = change(do, None, a=0).session_key
        settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another secret" * 4
        assert do(SessionStore(key).load) == {"a": 0}
        assert content(change(do, key, b=1).session_key) == {"a": 0, "b": 1}
        assert len(records()) == 1


class TestAMoveOnAClusterThatWasStoppedHalfWay:
    """Both names lead to the session then, whose key has not changed."""

    @pytest.fixture
    def stopped(self, monkeypatch):
        """Meanwhile no session leaves its old name, as if the connection were lost in that moment."""
        conditional = operations.conditional

        def stop(script, *arguments):
            if script is scripts.LEAVE:
                raise SessionStoreUnavailable("Gone.")
            return (yield from conditional(script, *arguments))

        @contextmanager
        def stopped():
            with monkeypatch.context() as patch:
                patch.setattr(operations, "conditional", stop)
                yield

        return stopped

    @pytest.fixture
    def key(self, configure, do, stopped, records):
        configure(KEYS="plain")
        if not conf.store().keys.are_spread:
            pytest.skip("One script moves a session on a single server.")
        key = change(do, None, a=0, _auth_user_id="7").session_key
        configure(KEYS=["hashed", "plain"])
        with stopped(), pytest.raises(SessionStoreUnavailable):
            change(do, key, b=1)
        assert len(records()) == 2
        return key

    @pytest.mark.parametrize(
        "end",
        [
            lambda do, session: (do(session.cycle_key), do(session.flush)),
            lambda do, session: do(session.flush),
            lambda do, session: do(sessions.revoke_user, "7"),
        ],
        ids=["sign-in", "sign-out", "revoke_user"],
    )
    def test_leaves_nothing_behind_that_outlives_the_session(self, key, do, records, end):
        session = SessionStore(key)
        do(session.get, "a")
        end(do, session)
        assert records() == set()
        assert do(SessionStore(key).load) == {}


@pytest.mark.listener
class TestAWatch:
    def test_goes_on_when_the_session_moves(self, move, configure, monkeypatch):
        monkeypatch.setattr(watches, "PING_INTERVAL", 0.01)
        monkeypatch.setattr(watches, "CHECK_INTERVAL", 0.02)
        key = move.begin(configure)

        async def use():
            async with revocations.watching(key) as watch:
                session = SessionStore(key)
                await session.aget("a")
                session["b"] = 1
                await session.asave()
                await eventually(lambda: watch.handle == digest(session.session_key))
                assert not watch.is_over
                await session.aflush()
                return await asyncio.wait_for(watch.ended(), 5)

        assert asyncio.run(use()) in ("logout", "gone")

    def test_that_follows_nobody_goes_on_while_the_key_stays(self, configure, monkeypatch):
        monkeypatch.setattr(watches, "PING_INTERVAL", 0.01)
        monkeypatch.setattr(watches, "CHECK_INTERVAL", 0.02)
        configure(KEYS="plain")
        key = rival(None, a=0)().session_key
        configure(KEYS=["hashed", "plain"])

        async def use():
            async with revocations.watching(key, follow=False) as watch:
                session = SessionStore(key)
                await session.aget("a")
                await session.asave()
                await asyncio.sleep(0.1)
                assert not watch.is_over

        asyncio.run(use())


#: The whole way there and back, as an operator would write it.
WAY = [
    "plain", ["plain", "hashed"], ["hashed", "plain"], "hashed", ["hashed", "signed"], ["signed", "hashed"],
    "signed", ["hashed", "signed"], "hashed", ["plain", "hashed"], "plain",
]  # fmt: skip


@pytest.mark.django_db(transaction=False)
class TestAWholeSite:
    @pytest.fixture(params=[OURS, DJANGO], ids=["ours", "django's"])
    def site(self, request, settings):
        settings.MIDDLEWARE = [request.param, AUTH]
        return User.objects.create_user("alice", password="wonderland")

    def test_signs_nobody_out_on_the_way(self, site, configure, records):
        client, idle = Client(), Client()
        configure(KEYS=WAY[0])
        client.get("/sign-in/")
        idle.get("/sign-in/")
        for at, listed in enumerate(WAY):
            configure(KEYS=listed)
            assert client.get("/who/").content == b"alice"
            client.get("/write/", {f"step{at}": at})
            assert client.get("/who/").content == b"alice"
            if isinstance(listed, list):
                # Another visitor comes once while both are honoured.
                idle.get("/write/", {"idle": at})
            assert idle.get("/who/").content == b"alice"
        found = client.get("/read/").json()
        assert {f"step{at}" for at in range(len(WAY))} <= set(found)
        assert len(records()) == 2
        assert {info.user_id for info in sessions.of_user(site)} == {str(site.pk)}
        assert sessions.revoke_user(site) == 2
        assert client.get("/who/").content == b""

    @pytest.mark.parametrize("middleware", [OURS, DJANGO], ids=["ours", "django's"])
    def test_signs_nobody_out_on_the_way_awaited(self, middleware, settings, configure, records):
        settings.MIDDLEWARE = [middleware]

        async def way():
            client = AsyncClient()
            configure(KEYS=WAY[0])
            await client.get("/awrite/", {"_auth_user_id": "1"})
            for at, listed in enumerate(WAY):
                configure(KEYS=listed)
                await client.get("/awrite/", {f"step{at}": at})
            return (await client.get("/aread/")).json()

        found = asyncio.run(way())
        assert found["_auth_user_id"] == "1"
        assert {f"step{at}" for at in range(len(WAY))} <= set(found)
        assert len(records()) == 1

    def test_tells_the_browser_its_new_key(self, site, configure):
        client = Client()
        configure(KEYS="hashed")
        client.get("/write/", {"a": 1})
        before = client.cookies[django_settings.SESSION_COOKIE_NAME].value
        configure(KEYS=["signed", "hashed"])
        response = client.get("/write/", {"a": 2})
        after = response.cookies[django_settings.SESSION_COOKIE_NAME].value
        assert before != after
        assert len(after) == 40


@pytest.fixture
def gateway(monkeypatch):
    """The class in the documentation, as the module that it says it is."""
    page = Path(__file__).parents[1] / "docs" / "keys.md"
    text = page.read_text().partition("### A session key that is a JSON Web Token")[2]
    example = re.findall(r"(?s)```python\n(.*?)```", text)
    module = ModuleType("shop.keys")
    exec(example[0], vars(module))  # noqa: S102 - the documentation is ours
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.keys", module)
    namespace = {}
    exec(example[1], namespace)  # noqa: S102 - as above
    return SimpleNamespace(made=module.Gateway, setting=namespace["SESSION_REDIS"]["KEYS"])


class TestTheExampleOfAGateway:
    """``docs/keys.md``: session keys that are JSON Web Tokens."""

    def test_passes_the_system_check(self, gateway, configure):
        configure(KEYS=gateway.setting)
        assert conf.problems() == []

    def test_makes_tokens_that_the_gateway_can_verify(self, gateway, configure, do):
        configure(KEYS=gateway.setting)
        key = change(do, None, a=0).session_key
        head, payload, proof = key.split(".")

        def decoded(part):
            return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

        assert json.loads(decoded(head)) == {"alg": "HS256", "typ": "JWT"}
        assert set(json.loads(decoded(payload))) == {"sid"}
        secret = gateway.made(django_settings.SECRET_KEY).key
        assert decoded(proof) == hmac.digest(secret, f"{head}.{payload}".encode(), "sha256")
        assert len(key) > 128
        assert content(key) == {"a": 0}

    def test_knows_a_session_whose_id_was_wrapped_anew(self, gateway, configure, do, records):
        configure(KEYS=gateway.setting)
        key = change(do, None, a=0).session_key
        claims = json.loads(base64.urlsafe_b64decode(key.split(".")[1] + "=="))
        made = gateway.made(django_settings.SECRET_KEY)
        body = key.rpartition(".")[0].partition(".")[0] + "."
        body += base64.urlsafe_b64encode(json.dumps({**claims, "by": "gate"}).encode()).decode().rstrip("=")
        again = f"{body}.{made.proof(body)}"
        assert again != key
        session = change(do, again, b=1)
        assert session.session_key == again
        assert content(key) == {"a": 0, "b": 1}
        assert len(records()) == 1

    @pytest.mark.parametrize(
        "payload",
        [
            b"{}",
            b'{"sub":"7"}',
            b"[1]",
            b'"sid"',
            b"null",
            b"7",
            b"{",
            b"",
            b"\xff\xfe",
            b'{"sid":"\\ud800"}',
            None,
        ],
    )
    def test_stands_a_token_that_the_gateway_has_signed_for_something_else(
        self, gateway, configure, do, payload
    ):
        configure(KEYS="shop.keys.Gateway")
        made = gateway.made(django_settings.SECRET_KEY)
        head = made.new().partition(".")[0]
        # Text that is no base64, or that.
        text = "a" if payload is None else base64.urlsafe_b64encode(payload).decode().rstrip("=")
        token = f"{head}.{text}.{made.proof(f'{head}.{text}')}"
        assert do(SessionStore(token).load) == {}

    @pytest.mark.parametrize(
        "forged",
        [
            lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"),
            lambda key: ".".join(["eyJhbGciOiJub25lIn0", key.split(".")[1], ""]),
            lambda key: key.rpartition(".")[0] + ".",
            lambda key: key + "." + key,
            lambda key: key + "é",
            lambda key: key * 20,
            lambda key: "x" * 32,
        ],
    )
    def test_refuses_whatever_else_is_said(self, gateway, configure, do, forged):
        configure(KEYS="shop.keys.Gateway")
        key = change(do, None, a=0).session_key
        assert do(SessionStore(forged(key)).load) == {}
        assert not conf.store().keys.accepts(forged(key))

    def test_moves_sessions_there_and_back(self, gateway, configure, do, records):
        configure(KEYS="hashed")
        key = change(do, None, a=0).session_key
        configure(KEYS=gateway.setting)
        token = change(do, key, b=1).session_key
        assert token.count(".") == 2
        late = SessionStore(key)
        assert do(late.get, "b") == 1
        assert late.session_key == token
        configure(KEYS=gateway.setting[::-1])
        back = change(do, token, c=1).session_key
        configure(KEYS="hashed")
        assert content(back) == {"a": 0, "b": 1, "c": 1}
        assert len(records()) == 1

    def test_renews_tokens_after_a_rotation_of_the_secret(self, gateway, configure, do, settings):
        configure(KEYS="shop.keys.Gateway")
        old = change(do, None, a=0).session_key
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another secret, another secret, another secret"
        new = change(do, old, b=1).session_key
        settings.SECRET_KEY_FALLBACKS = []
        assert content(new) == {"a": 0, "b": 1}

    def test_is_carried_through_whole_requests(self, gateway, configure, records):
        configure(KEYS="shop.keys.Gateway")
        client = Client()
        client.get("/write/", {"a": 1})
        assert client.cookies[django_settings.SESSION_COOKIE_NAME].value.count(".") == 2
        assert client.get("/read/").json() == {"a": "1"}
        (handle,) = records()
        assert sessions.get(handle).handle == handle


DB = "django.contrib.sessions.backends.db"


@pytest.mark.operator
@pytest.mark.django_db(transaction=True)
class TestOtherEngines:
    @pytest.fixture
    def theirs(self):
        session = DatabaseStore()
        session["a"] = 0
        session.save()
        return session.session_key

    def test_hand_on_sessions_that_are_signed_with_their_first_save(self, theirs, configure, records):
        configure(KEYS=["signed", "hashed"], FALLBACK_ENGINES=[DB])
        session = rival(theirs)()
        assert len(session.session_key) == 40
        assert content(session.session_key) == {"a": 0}
        assert records() == {digest(session.session_key)}
        # The copy there has gone with its key, and does not come again.
        assert not DatabaseStore().exists(theirs)

    def test_hand_on_a_session_once_though_the_scheme_changes(self, theirs, configure, behind):
        configure(KEYS=["plain", "hashed"], FALLBACK_ENGINES=[DB])
        assert content(theirs) == {"a": 0}
        behind.unlink(conf.store().keys.record(theirs))
        configure(KEYS=["hashed", "plain"], FALLBACK_ENGINES=[DB])
        assert content(theirs) == {}

    def test_cannot_be_imported_from_where_their_keys_are_refused(self, theirs, configure, records):
        configure(KEYS="signed")
        moved = sessions.import_from(DB)
        assert (moved.found, moved.moved, moved.skipped) == (1, 0, 1)
        configure(KEYS=["signed", "hashed"])
        assert sessions.import_from(DB).moved == 1
        assert sessions.import_from(DB).known == 1

    @pytest.mark.parametrize("listed", ["signed", ["signed", "plain"]])
    def test_take_signed_sessions_that_leave(self, configure, listed):
        configure(KEYS=listed)
        key = rival(None, a=0)().session_key
        leaving = LeavingStore(key)
        assert leaving.exists(key)
        assert dict(leaving.items()) == {"a": 0}
        assert DatabaseStore().exists(key)
        leaving.flush()
        assert content(key) == {}
        assert not DatabaseStore().exists(key)

    @pytest.mark.operator
    def test_do_not_get_digests_for_session_keys(self, configure):
        configure(KEYS="hashed")
        hashed = rival(None, a=0)().session_key
        configure(KEYS="plain")
        plain = rival(None, a=0)().session_key
        moved = sessions.export_to(DB)
        assert (moved.found, moved.moved, moved.skipped) == (2, 1, 1)
        assert DatabaseStore().exists(plain)
        assert not DatabaseStore().exists(digest(hashed))

    def test_that_are_files_cannot_hold_a_signed_key(self, configure, settings, tmp_path, monkeypatch):
        settings.SESSION_FILE_PATH = str(tmp_path)
        monkeypatch.setattr(LeavingFiles, "_storage_path", str(tmp_path), raising=False)
        configure(KEYS="signed")
        key = rival(None, a=0)().session_key
        leaving = LeavingFiles(key)
        assert leaving.load() == {}
        assert content(key) == {"a": 0}

    def test_that_are_files_are_not_asked_for_a_signed_key(self, configure, settings, tmp_path, do):
        settings.SESSION_FILE_PATH = str(tmp_path)
        configure(KEYS=["signed", "hashed"], FALLBACK_ENGINES=["django.contrib.sessions.backends.file"])
        key = conf.store().keys.new()
        assert do(SessionStore(key).load) == {}
        assert do(SessionStore().exists, key) is False
        do(SessionStore().delete, key)


FLOOD = 10_000


@pytest.mark.unix
class TestAFloodOfForgedCookies:
    """Counted by the server itself."""

    @pytest.fixture
    def cookies(self, configure):
        configure(KEYS="signed")
        forgers = [
            Hashed().new,
            Signed("a guess").new,
            lambda: digest(Hashed().new()),
            lambda: forged(real()),
        ]
        real = conf.store().keys.new

        def forged(key):
            return key[:-1] + ("A" if key[-1] != "A" else "B")

        return [forgers[at % 4]() for at in range(FLOOD)]

    @pytest.mark.parametrize("saves_every_request", [False, True], ids=["", "saving-every-request"])
    @pytest.mark.parametrize(
        "middleware", [SessionMiddleware, DjangoSessionMiddleware], ids=["ours", "django's"]
    )
    def test_costs_redis_nothing(
        self, cookies, behind, way, runner, middleware, settings, saves_every_request
    ):
        settings.SESSION_SAVE_EVERY_REQUEST = saves_every_request
        factory = RequestFactory()

        def request(cookie):
            made = factory.get("/")
            made.COOKIES[django_settings.SESSION_COOKIE_NAME] = cookie
            return made

        def view(request):
            assert request.session.get("a") is None
            return HttpResponse()

        async def aview(request):
            assert await request.session.aget("a") is None
            return HttpResponse()

        async def flood():
            answer = middleware(aview)
            # Django's own asks a thread for each of them, which makes a thousand take as long as ten thousand.
            for cookie in cookies[: FLOOD if middleware is SessionMiddleware else FLOOD // 10]:
                await answer(request(cookie))

        before = said(behind)
        if way == "blocking":
            answer = middleware(view)
            for cookie in cookies:
                answer(request(cookie))
        else:
            runner.run(flood())
        assert said(behind) == before

    def test_costs_a_round_trip_each_where_unsigned_keys_are_honoured(self, cookies, configure, behind):
        configure(KEYS=["signed", "hashed"])
        before = said(behind)
        for cookie in cookies[:100]:
            SessionStore(cookie).load()
        # Those that nobody could have left an address for are looked for all the same.
        assert said(behind) - before == 200


def said(behind):
    """How many commands the server has performed, but for those that ask it or introduce a connection."""
    return sum(
        found["calls"]
        for name, found in behind.info("commandstats").items()
        if name.partition("_")[2].partition("|")[0] not in ("info", "hello", "client")
    )
