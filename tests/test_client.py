"""A program without Django and a site with it use the same sessions; ``do`` runs each test blocking and awaited."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.test import Client

from django_redis_sessions import sessions
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.client import SessionClient
from django_redis_sessions.errors import (
    SessionConflict,
    SessionEnded,
    SessionLimitReached,
    SessionStoreMisconfigured,
    SessionStoreRefused,
    SessionStoreUnavailable,
    SessionTooLarge,
)
from django_redis_sessions.records import LIFE_OFFSET, Codec, Header, header_of, life
from tests.rivals import in_threads
from tests.servers import RedisServer
from tests.sites import Place, wait_until_nothing_is_left
from tests.test_metrics import recorder
from tests.test_operations import HOSTILE
from tests.wire import Wire

pytestmark = pytest.mark.usefixtures("store")

SECRET = "only for tests, only for tests, only for tests"  # SECRET_KEY of tests.settings
NOWHERE = "unix:///nowhere/redis.sock"
LOGIN = {"_auth_user_id": "1", "_auth_user_backend": "backend", "_auth_user_hash": "hash"}
COMMANDS = range(1, 5)


# Fixtures -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def serve(server, prefix, permit):
    """``serve(keys="plain")``: a client of the sessions that this project keeps, with these settings."""
    made = []

    def of(url=None, **given):
        here = {"options": server.options} if url is None else {}
        client = SessionClient(url or server.url, prefix=prefix, **{"timeout": 5, **here, **given})
        if url is None:
            permit(client.stores.home.settings)
        made.append(client)
        return client

    yield of
    for client in made:
        client.close()


@pytest.fixture
def service(serve):
    return serve()


@pytest.fixture
def both(serve, configure, way, settings):
    """``both(KEYS="plain")``: the site and a client, with the same settings."""

    def set_up(**given):
        configure(**given)
        secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        return serve(secret_keys=secrets, **{name.lower(): value for name, value in given.items()})

    return set_up


@pytest.fixture
def short_directory():
    """A directory of the test's own, short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="drs-") as directory:
        yield Path(directory)


def on_the_site(**data):
    """The key of a session that Django's side has stored."""
    session = SessionStore()
    session.update(data)
    session.save()
    return session.session_key


def seen_there(session_key):
    """What Django's side finds under a key; None if there is no session."""
    session = SessionStore(session_key)
    data = dict(session.items())
    return None if session.session_key is None else data


def site_sets(session_key, **data):
    def act():
        session = SessionStore(session_key)
        session.update(data)
        session.save()

    return act


# Opening ------------------------------------------------------------------------------------------------------------


class TestASessionOfTheSite:
    def test_is_read_like_a_dict(self, service, do):
        key = on_the_site(cart={"mug": 1}, **LOGIN)
        session = do(service.open, key)
        assert session == {"cart": {"mug": 1}, **LOGIN}
        assert session["cart"]["mug"] == 1
        assert "cart" in session
        assert session.get("basket") is None
        assert len(session) == 4
        with pytest.raises(KeyError):
            session["basket"]

    def test_says_whose_it_is_and_by_which_name_it_may_be_spoken_of(self, service, do):
        key = on_the_site(**LOGIN)
        session = do(service.open, key)
        assert session.user_id == "1"
        assert session.key == key
        assert session.handle == sessions.of_user("1")[0].handle
        assert key not in repr(session)
        assert session.handle in repr(session)

    def test_has_nothing_to_save_and_nothing_to_tell_the_visitor(self, service, do):
        session = do(service.open, on_the_site(a=1.0, b=[{"ü": None}]))
        assert not session.is_new
        assert not session.has_changed
        assert not session.needs_cookie


class TestACookieWithoutASession:
    def test_gives_a_new_one_and_creates_nothing(self, service, do, behind, prefix):
        session = do(service.open, "someunknownsessionkey")
        assert session == {}
        assert session.is_new
        assert session.key is session.handle is session.user_id is None
        assert not session.has_changed
        assert not session.needs_cookie
        assert not list(behind.scan_iter(f"{prefix}:*"))
        assert "not stored" in repr(session)

    def test_is_never_adopted(self, service, do):
        session = do(service.open, "a" * 32)
        session["a"] = 1
        do(session.save)
        assert session.key != "a" * 32
        assert seen_there("a" * 32) is None

    @pytest.mark.parametrize("cookie", HOSTILE)
    @pytest.mark.parametrize("scheme", ["hashed", "plain", "signed"])
    def test_costs_no_round_trip_when_it_is_no_session_key(self, serve, do, cookie, scheme):
        session = do(serve(NOWHERE, keys=scheme, secret_keys=["a", "b"]).open, cookie)
        assert session.key is None
        assert session == {}

    def test_costs_no_round_trip_when_it_is_forged(self, serve, do):
        assert do(serve(NOWHERE, keys="signed", secret_keys=[SECRET]).open, "a" * 40).key is None

    def test_cannot_name_a_key_of_somebody_else(self, serve, do, behind, prefix):
        behind.set(f"{prefix}:u:1", "index", ex=60)
        for cookie in ("u:1", f"{prefix}:u:1", "../u:1"):
            do(do(serve(keys="plain").open, cookie).delete)
        assert behind.get(f"{prefix}:u:1") == b"index"


class TestANewSession:
    def test_does_no_io_when_it_is_made(self, serve):
        session = serve(NOWHERE).new()
        session["a"] = 1
        assert session.is_new
        assert session.key is None

    def test_gets_a_key_with_its_first_save(self, service, do):
        session = service.new()
        session["cart"] = {"mug": 1}
        assert session.has_changed
        do(session.save)
        assert session.is_new
        assert not session.has_changed
        assert session.needs_cookie
        assert seen_there(session.key) == {"cart": {"mug": 1}}

    def test_is_to_the_byte_what_django_would_have_stored(self, service, do, behind, store):
        data = {"a": 1.0, "ü": "\ud83d", "n": [None, True, 10**20]}
        session = service.new()
        session.update(data)
        do(session.save)
        ours, theirs = (
            Codec().open(behind.get(store.keys.record(key)), store.keys.handle(key))
            for key in (session.key, on_the_site(**data))
        )
        assert ours[1] == theirs[1]
        assert ours[0].serializer == theirs[0].serializer
        assert ours[0].ttl == theirs[0].ttl


# Saving -------------------------------------------------------------------------------------------------------------


class TestAChange:
    @pytest.mark.parametrize(
        "change",
        [
            lambda session: session.update(b=1),
            lambda session: session["cart"].update(mug=2),
            lambda session: session["seen"].append(7),
            lambda session: session.pop("a"),
            lambda session: session.clear(),
            lambda session: session.setdefault("c", 3),
        ],
    )
    def test_is_found_wherever_it_is_and_stored(self, service, do, change):
        key = on_the_site(a=1, cart={"mug": 1}, seen=[])
        session = do(service.open, key)
        change(session)
        assert session.has_changed
        do(session.save)
        assert not session.has_changed
        assert seen_there(key) == dict(session)

    def test_that_was_taken_back_is_none(self, service, do):
        session = do(service.open, on_the_site(a=1))
        session["a"] = 2
        session["a"] = 1
        assert not session.has_changed

    def test_that_json_cannot_write_is_refused_and_nothing_stored(self, service, do):
        key = on_the_site(a=1)
        session = do(service.open, key)
        session["a"] = {1, 2}
        with pytest.raises(TypeError):
            do(session.save)
        assert seen_there(key) == {"a": 1}

    def test_that_is_too_large_is_refused_and_nothing_stored(self, serve, do):
        key = on_the_site(a=1)
        session = do(serve(max_size=1024).open, key)
        session["a"] = [math.sin(number) for number in range(500)]
        with pytest.raises(SessionTooLarge, match="'a'"):
            do(session.save)
        assert seen_there(key) == {"a": 1}


class TestASaveOfUnchangedData:
    def test_extends_the_life(self, service, do, behind, store):
        key = on_the_site(a=1)
        name = store.keys.record(key)
        header = header_of(behind.get(name))
        behind.setrange(name, LIFE_OFFSET, life(header.touched - 100, header.ttl))
        behind.expire(name, header.ttl - 100)
        session = do(service.open, key)
        do(session.save)
        assert behind.ttl(name) > header.ttl - 50
        assert session.needs_cookie

    def test_leaves_what_others_have_saved(self, service, do):
        key = on_the_site(a=1)
        session = do(service.open, key)
        site_sets(key, a=2)()
        do(session.save)
        assert seen_there(key) == {"a": 2}


class TestAChangeOnBothSides:
    @pytest.mark.parametrize("before", COMMANDS)
    def test_survives_whoever_is_faster(self, service, do, interrupt, before):
        key = on_the_site(a=0, b=0, gone=1)
        with interrupt(by=site_sets(key, b=1, c=1), before=before) as race:
            session = do(service.open, key)
            session["a"] = 1
            del session["gone"]
            do(session.save)
        assert seen_there(key) == {"a": 1, "b": 0, **({"b": 1, "c": 1} if race.happened else {})}
        assert race.happened == (before <= 2)
        assert session == seen_there(key)

    def test_survives_when_the_site_is_slower(self, service, do):
        key = on_the_site(a=0)
        slow = SessionStore(key)
        slow["a"] = 1
        session = do(service.open, key)
        session["b"] = 1
        do(session.save)
        slow.save()
        assert seen_there(key) == {"a": 1, "b": 1}

    def test_is_a_conflict_for_who_wants_it_so(self, serve, do):
        key = on_the_site(a=0)
        session = do(serve(conflict="strict").open, key)
        session["a"] = 1
        site_sets(key, b=1)()
        with pytest.raises(SessionConflict):
            do(session.save)
        assert seen_there(key) == {"a": 0, "b": 1}

    def test_can_be_overwritten_for_once(self, service, do):
        key = on_the_site(a=0)
        session = do(service.open, key)
        session["a"] = 1
        session.on_conflict = "overwrite"
        site_sets(key, b=1)()
        do(session.save)
        assert seen_there(key) == {"a": 1}

    def test_survives_from_many_threads_and_tasks_at_once(self, service, do):
        """Real rivals: the site's threads, the client's threads, and its tasks on one loop, 15 writes each."""
        key = on_the_site()

        def on_site(own, turn):
            session = SessionStore(key)
            session.get(f"{own}")
            session[f"{own}-{turn}"] = 1
            session.save()

        def here(own, turn):
            session = service.open(key)
            session[f"{own}-{turn}"] = 1
            session.save()

        async def awaited(own, turn):
            session = await service.aopen(key)
            session[f"{own}-{turn}"] = 1
            await session.asave()

        async def tasks():
            await asyncio.gather(*[awaited("task", turn) for turn in range(15)])

        def work(own):
            if own == 8:
                asyncio.run(tasks())
                return
            for turn in range(15):
                (on_site if own % 2 else here)(own, turn)

        in_threads(work, 9)
        found = seen_there(key)
        assert len(found) == 8 * 15 + 15

    def test_of_a_number_is_exact(self, service, do):
        key = on_the_site(visits=0)
        session = do(service.open, key)
        SessionStore(key).increment("visits")
        assert do(session.increment, "visits") == 2
        assert do(session.mutate, "visits", lambda value: value * 10) == 20
        assert seen_there(key) == {"visits": 20}
        assert not session.has_changed

    def test_of_a_number_that_is_not_stored_yet_tells_the_visitor_nothing(self, serve, do):
        session = serve(NOWHERE).new()
        assert do(session.increment, "visits", 5) == 5
        assert session == {"visits": 5}
        assert not session.needs_cookie


class TestAnAwaitedCall:
    def test_serves_several_event_loops(self, service):
        async def use():
            session = service.new()
            session["a"] = 1
            await session.asave()
            return dict(await service.aopen(session.key))

        assert [asyncio.run(use()) for _ in range(3)] == [{"a": 1}] * 3


# Ending and moving --------------------------------------------------------------------------------------------------


class TestASessionThatHasEnded:
    @pytest.mark.parametrize("end", ["logout", "revocation"])
    def test_is_not_brought_back_by_a_save(self, service, do, end):
        key = on_the_site(**LOGIN)
        session = do(service.open, key)
        session["a"] = 1
        SessionStore(key).flush() if end == "logout" else sessions.revoke_user("1")
        for _ in range(2):
            with pytest.raises(SessionEnded):
                do(session.save)
        with pytest.raises(SessionEnded):
            do(session.increment, "a")
        with pytest.raises(SessionEnded):
            do(session.rotate)
        assert seen_there(key) is None

    @pytest.mark.parametrize("before", COMMANDS)
    def test_is_not_brought_back_at_any_moment(self, service, do, interrupt, before):
        key = on_the_site(**LOGIN)
        with interrupt(by=SessionStore(key).flush, before=before) as race:
            session = do(service.open, key)
            session["a"] = 1
            if race.happened:
                assert session.key is None
            else:
                try:
                    do(session.save)
                except SessionEnded:
                    assert race.happened
        assert race.happened == (before <= 2)
        assert (seen_there(key) is None) == race.happened


class TestEndingASession:
    def test_signs_out_on_the_site_and_takes_the_cookie_away(self, service, do):
        key = on_the_site(**LOGIN)
        session = do(service.open, key)
        do(session.delete)
        assert session == {}
        assert session.key is session.user_id is None
        assert session.needs_cookie
        assert seen_there(key) is None
        assert sessions.of_user("1") == []

    def test_is_not_undone_by_a_request_that_is_under_way_on_the_site(self, service, do):
        key = on_the_site(**LOGIN)
        slow = SessionStore(key)
        slow["a"] = 1
        do(do(service.open, key).delete)
        with pytest.raises(UpdateError):
            slow.save()
        assert seen_there(key) is None

    def test_lets_another_one_begin(self, service, do):
        key = on_the_site(a=1)
        session = do(service.open, key)
        do(session.delete)
        assert not session.has_changed
        session["a"] = 1
        assert session.has_changed
        do(session.save)
        assert session.key not in (None, key)
        assert session.is_new
        assert seen_there(session.key) == {"a": 1}

    def test_that_is_stored_nowhere_takes_the_cookie_away(self, serve, do):
        session = serve(NOWHERE).new()
        do(session.delete)
        assert session.needs_cookie
        assert session.key is None


class TestRotating:
    def test_leaves_nothing_under_the_old_key(self, service, do):
        key = on_the_site(a=1, **LOGIN)
        session = do(service.open, key)
        session["b"] = 2
        do(session.rotate)
        assert session.key not in (None, key)
        assert session.needs_cookie
        assert not session.is_new
        assert seen_there(key) is None
        assert seen_there(session.key) == {"a": 1, "b": 2, **LOGIN}
        assert [info.handle for info in sessions.of_user("1")] == [session.handle]

    def test_leads_nobody_who_has_the_old_key_to_the_new_one(self, serve, do):
        service = serve(secret_keys=[SECRET, "the former"])
        key = on_the_site(**LOGIN)
        session = do(service.open, key)
        do(session.rotate)
        assert do(service.open, key).key is None
        assert do(service.open, session.key).user_id == "1"

    def test_keeps_no_news_that_nobody_asks_for(self, service, do):
        session = service.new()
        for method in (session.save, session.rotate, session.delete):
            do(method)
            assert session._news == []

    def test_of_what_is_stored_nowhere_stores_it(self, service, do):
        session = service.new()
        session["a"] = 1
        do(session.rotate)
        assert seen_there(session.key) == {"a": 1}


@pytest.mark.django_db
class TestAPerson:
    def test_who_signs_in_on_the_site_is_known_here_until_signing_out(self, service, do):
        alice = User.objects.create_user("alice", password="wonderland")
        browser = Client()
        browser.get("/sign-in/")
        cookie = browser.cookies["sessionid"].value
        assert do(service.open, cookie).user_id == str(alice.pk)
        browser.get("/sign-out/")
        assert do(service.open, cookie).user_id is None

    def test_who_is_signed_in_here_is_in_the_list_of_their_sessions(self, service, do):
        session = service.new()
        session.update(LOGIN)
        do(session.save)
        assert [info.handle for info in sessions.of_user("1")] == [session.handle]
        sessions.revoke(session.handle)
        assert do(service.open, session.key).key is None

    def test_is_not_signed_in_by_who_began_before_a_revocation(self, service, do):
        session = service.new()
        session.update(LOGIN)
        on_the_site(**LOGIN)
        sessions.revoke_user("1")
        with pytest.raises(SessionEnded):
            do(session.save)
        assert sessions.of_user("1") == []

    def test_has_as_many_sessions_as_are_allowed(self, both, do):
        service = both(MAX_SESSIONS_PER_USER=1, ON_LIMIT="refuse")
        on_the_site(**LOGIN)
        session = service.new()
        session.update(LOGIN)
        with pytest.raises(SessionLimitReached):
            do(session.save)


# Lifetimes ----------------------------------------------------------------------------------------------------------


class TestTheLifeOfASession:
    @pytest.mark.parametrize("expiry", [None, 0, 300, 60.5, "instant", "past"])
    def test_is_what_django_gives_it(self, service, do, behind, store, expiry):
        there = SessionStore()
        there["a"] = 1
        if expiry == "instant":
            there.set_expiry(datetime.now(UTC) + timedelta(hours=3))
        elif expiry == "past":
            there.set_expiry(datetime.now(UTC) - timedelta(hours=3))
        else:
            there.set_expiry(expiry)
        there.save()
        session = service.new()
        session.update(there.items())
        do(session.save)
        ours, theirs = (behind.ttl(store.keys.record(key)) for key in (session.key, there.session_key))
        assert abs(ours - theirs) <= 10
        if there.get_expire_at_browser_close():
            assert session.max_age is None
        else:
            assert abs(session.max_age - max(0, math.ceil(there.get_expiry_age()))) <= 10

    def test_is_as_long_as_the_cookies_of_the_site(self, serve, do, behind, store):
        session = serve(cookie_age=600).new()
        do(session.save)
        assert behind.ttl(store.keys.record(session.key)) in range(590, 601)
        assert session.max_age == 600

    def test_is_as_long_as_ttl_says(self, serve, do, behind, store):
        session = serve(cookie_age=600, ttl=timedelta(minutes=5)).new()
        do(session.save)
        assert behind.ttl(store.keys.record(session.key)) in range(290, 301)
        assert session.max_age == 300

    def test_ends_with_the_browser_where_the_site_wants_it_so(self, serve, do):
        service = serve(expire_at_browser_close=True)
        assert service.new().max_age is None
        kept = service.new()
        kept["_session_expiry"] = 300
        assert kept.max_age == 300

    def test_is_extended_by_reading_where_the_site_wants_it_so(self, both, do, behind):
        service = both(ROLLING=0.5)
        key = on_the_site(a=1)
        assert not do(service.open, key).needs_cookie
        name = service.stores.home.keys.record(key)
        header = header_of(behind.get(name))
        behind.setrange(name, LIFE_OFFSET, life(header.touched - 1_000_000, header.ttl))
        session = do(service.open, key)
        assert session.needs_cookie
        assert not session.has_changed
        assert header_of(behind.get(name)).touched >= header.touched

    def test_is_over_when_absolute_ttl_has_ended_it(self, both, do, behind):
        service = both(ABSOLUTE_TTL=500)
        key = on_the_site(a=1)
        name = service.stores.home.keys.record(key)
        record = behind.get(name)
        header, payload = Codec().open(record, "")
        old = header._replace(created=header.created - 600)
        behind.set(name, Codec().seal(payload, old, ""), ex=60)
        session = do(service.open, key)
        assert session.key is None
        assert session == {}


# Settings of the site -----------------------------------------------------------------------------------------------


class TestTheSettingsOfTheSite:
    @pytest.mark.parametrize(
        "given",
        [
            {"KEYS": "plain"},
            {"KEYS": "signed"},
            {"KEYS": ["signed", "hashed"]},
            {"SIGN": True},
            {"ENCRYPTION_KEYS": ["4" * 64]},
            {"ENCRYPTION_KEYS": ["4" * 64], "SIGN": True, "GENERATION": 3},
            {"COMPRESSION": None},
            {"COMPRESSION": "zlib"},
            {"USER_INDEX": False},
        ],
        ids=str,
    )
    def test_are_a_clients_too(self, both, do, given):
        if "ENCRYPTION_KEYS" in given:
            pytest.importorskip("cryptography")
        service = both(**given)
        key = on_the_site(a=1, **LOGIN)
        session = do(service.open, key)
        assert session == {"a": 1, **LOGIN}
        session["a"] = 2
        do(session.save)
        do(session.rotate)
        assert seen_there(session.key) == {"a": 2, **LOGIN}
        begun = service.new()
        begun["b"] = 3
        do(begun.save)
        assert seen_there(begun.key) == {"b": 3}

    def test_make_sessions_move_to_another_kind_of_keys(self, both, do):
        key = on_the_site(a=1)
        service = both(KEYS=["signed", "hashed"])
        session = do(service.open, key)
        assert session.key == key
        assert not session.needs_cookie
        session["a"] = 2
        do(session.save)
        assert len(session.key) == 40
        assert session.needs_cookie
        late = do(service.open, key)
        assert late.key == session.key
        assert late == {"a": 2}
        assert late.needs_cookie

    def test_that_retire_a_secret_key_let_a_session_be_followed(self, both, do, settings):
        key = on_the_site(**LOGIN)
        settings.SECRET_KEY_FALLBACKS = ["the former"]
        service = both()
        moved = SessionStore(key)
        moved.get("a")
        moved._perform("cycle_key", moved._cycling(leaves_address=True))
        session = do(service.open, key)
        assert session.key == moved.session_key
        assert session.needs_cookie
        assert session.user_id == "1"

    def test_that_retire_a_secret_key_let_what_was_signed_with_it_be_read(self, both, do, settings):
        settings.SECRET_KEY, now = "the former", settings.SECRET_KEY
        both(KEYS="signed", SIGN=True)
        key = on_the_site(**LOGIN)
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = now, ["the former"]
        session = do(both(KEYS="signed", SIGN=True).open, key)
        assert session.user_id == "1"
        do(session.save)
        assert session.key != key
        assert session.needs_cookie
        settings.SECRET_KEY_FALLBACKS = []
        assert do(both(KEYS="signed", SIGN=True).open, session.key).user_id == "1"

    def test_let_records_that_were_copied_be_refused(self, both, do, behind, caplog):
        service = both(SIGN=True)
        mine, victim = on_the_site(a=1), on_the_site(**LOGIN)
        record = service.stores.home.keys.record
        behind.set(record(mine), behind.get(record(victim)), ex=60)
        assert do(service.open, mine).user_id is None
        assert "Session data corrupted" in caplog.text


class TestARecordThatIsNoJson:
    @pytest.fixture
    def pickled(self, settings):
        settings.SESSION_SERIALIZER = "tests.test_backend.PickleSerializer"
        return on_the_site(set={1, 2})

    def test_is_an_error_that_says_what_to_do(self, service, do, pickled):
        with pytest.raises(SessionStoreMisconfigured, match="SESSION_SERIALIZER"):
            do(service.open, pickled)
        assert seen_there(pickled) == {"set": {1, 2}}

    def test_is_not_written_over_by_who_has_read_json(self, service, do, settings):
        key = on_the_site(a=1)
        session = do(service.open, key)
        session["b"] = 2
        settings.SESSION_SERIALIZER = "tests.test_backend.PickleSerializer"
        site_sets(key, set={1, 2})()
        with pytest.raises(SessionStoreMisconfigured, match="SESSION_SERIALIZER"):
            do(session.save)
        assert seen_there(key) == {"a": 1, "set": {1, 2}}

    def test_leaves_json_readable_for_the_site(self, service, do, settings):
        session = service.new()
        session["a"] = 1
        do(session.save)
        settings.SESSION_SERIALIZER = "tests.test_backend.PickleSerializer"
        assert seen_there(session.key) == {"a": 1}


class TestARecordThatCannotBeRead:
    @pytest.mark.parametrize(
        "record",
        [
            b"not ours",
            Codec().seal(b"{not json", Header(1, 2, 3), ""),
            Codec().seal(b"[" * 100_000, Header(1, 2, 3), ""),
            Codec().seal(b"[1]", Header(1, 2, 3), ""),
            Codec().seal(b"\xff\xfe", Header(1, 2, 3), ""),
        ],
        ids=["bytes", "text", "depth", "list", "binary"],
    )
    def test_is_an_empty_session_and_a_warning(self, service, do, behind, caplog, record):
        key = on_the_site(a=1)
        behind.set(service.stores.home.keys.record(key), record, ex=60)
        with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
            session = do(service.open, key)
        assert session == {}
        assert not session.has_changed
        (line,) = caplog.records
        assert line.name == "django.security.SuspiciousSession"
        assert key not in caplog.text
        session["b"] = 1
        do(session.save)
        assert seen_there(key) == {"b": 1}


# Redis --------------------------------------------------------------------------------------------------------------


class TestAnOutage:
    def test_is_never_an_empty_session(self, serve, do):
        with pytest.raises(SessionStoreUnavailable):
            do(serve(NOWHERE, timeout=0.2).open, "a" * 32)

    def test_loses_no_change_and_no_session(self, do, prefix, way):
        with RedisServer() as own:
            service = SessionClient(own.url, prefix=prefix, timeout=5)
            session = service.new()
            session["a"] = 1
            do(session.save)
            key = session.key
            session["a"] = 2
            own.stop()
            with pytest.raises(SessionStoreUnavailable):
                do(session.save)
            assert session.key == key
            assert session == {"a": 2}
            assert session.has_changed
            with pytest.raises(SessionStoreUnavailable):
                do(session.delete)
            assert session.key == key
            service.close()

    def test_of_a_server_that_refuses_says_so(self, do, prefix):
        with RedisServer("--maxmemory", "1", "--maxmemory-policy", "noeviction") as own:
            service = SessionClient(own.url, prefix=prefix)
            assert do(service.open, "a" * 32).key is None
            with pytest.raises(SessionStoreRefused):
                do(service.new().save)
            service.close()

    def test_of_a_connection_that_was_closed_is_none(self, service):
        key = on_the_site(a=1)
        assert service.open(key) == {"a": 1}
        service.close()
        assert service.open(key) == {"a": 1}


@pytest.mark.unix
class TestRoundTrips:
    @pytest.fixture
    def wire(self, server, tmp_path, known_scripts):
        with Wire(server.socket, tmp_path) as relay:
            yield relay

    def test_are_one_for_each_method(self, serve, wire, do):
        service = serve(wire.url)
        key = on_the_site(a=1)
        do(service.open, key)

        def trips(method, *arguments):
            wire.reset()
            result = do(method, *arguments)
            assert wire.round_trips == 1, method.__name__
            return result

        session = trips(service.open, key)
        trips(session.save)
        session["a"] = 2
        trips(session.save)
        trips(session.increment, "a")
        trips(session.rotate)
        trips(session.delete)
        trips(session.save)
        trips(service.open, "someunknownsessionkey")
        session["a"] = 3
        site_sets(session.key, b=1)()
        wire.reset()
        do(session.save)
        assert wire.round_trips == 2


class TestMetrics:
    def test_are_told_as_by_the_site(self, serve, do):
        service = serve(metrics="tests.test_metrics.recorder")
        recorder.told.clear()
        session = service.new()
        session["a"] = 1
        do(session.save)
        do(service.open, session.key)
        do(service.open, "someunknownsessionkey")
        do(session.rotate)
        do(session.delete)
        operated = [told for told in recorder.told if told[0] in ("save", "load", "cycle_key", "delete")]
        assert operated == [
            ("save", "done"),
            ("load", "done"),
            ("load", "missing"),
            ("cycle_key", "done"),
            ("delete", "done"),
        ]
        with pytest.raises(SessionStoreUnavailable):
            do(serve(NOWHERE, metrics="tests.test_metrics.recorder", timeout=0.2).open, "a" * 32)
        assert ("unavailable", "SessionStoreUnavailable") in recorder.told


# Making one ---------------------------------------------------------------------------------------------------------


class TestMakingAClient:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"ttll": 5}, "no setting 'TTLL'. Did you mean 'TTL'?"),
            ({"ttl": 0}, "'TTL'. is 0"),
            ({"conflict": "marge"}, "did you mean 'merge'"),
            ({"prefix": "two words"}, "must be a word"),
            ({"fallback_engines": ["django.contrib.sessions.backends.db"]}, "no fallback_engines"),
            ({"regions": {"eu": "redis://eu"}}, "has no effect beside"),
            ({"region": "eu"}, "has no effect without"),
            ({"region_router": "shop.where"}, "has no region_router: it gets a request of Django's"),
            ({"keys": "signed"}, "need a secret"),
            ({"sign": True}, "SECRET_KEY"),
            ({"secret_keys": SECRET}, "between brackets"),
            ({"secret_keys": SECRET.encode()}, "between brackets"),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
    )
    def test_of_what_cannot_be_says_so_in_words_for_its_caller(self, given, words):
        with pytest.raises(SessionStoreMisconfigured, match=words) as caught:
            SessionClient(NOWHERE, **given)
        assert SECRET not in str(caught.value)

    def test_of_a_url_that_cannot_be_names_no_password(self):
        with pytest.raises(SessionStoreMisconfigured, match="lower case") as caught:
            SessionClient("reddis://:hunter2@localhost")
        assert "hunter2" not in str(caught.value)

    def test_takes_the_settings_of_a_site_as_they_are(self, configure, server, prefix):
        there = configure(TTL=timedelta(hours=1), KEYS=["hashed", "plain"], ROLLING=True).settings
        given = {"ttl": timedelta(hours=1), "keys": ["hashed", "plain"], "rolling": True, "timeout": 5}
        client = SessionClient(server.url, prefix=prefix, options=server.options, **given)
        assert client.stores.home.settings == there

    def test_tells_no_secret_by_its_repr(self):
        client = SessionClient("redis://:hunter2@localhost", prefix="shop", secret_keys=[SECRET])
        assert repr(client) == "<SessionClient of 'shop'>"

    def test_needs_no_django(self, short_directory):
        """Nor does using it, whatever it is made of; an own process shows it."""
        pytest.importorskip("prometheus_client")
        pytest.importorskip("cryptography")
        place = Place(short_directory)
        code = (
            "import asyncio, json, sys\n"
            "from django_redis_sessions.client import SessionClient\n"
            f"client = SessionClient('embedded://{short_directory}/redis', keys=['signed', 'plain'],\n"
            "    secret_keys=['a', 'b'], encryption_keys=['4' * 64],\n"
            "    metrics='django_redis_sessions.prometheus.PrometheusMetrics')\n"
            "session = client.new()\n"
            "session['a'] = 1\n"
            "session['_session_expiry'] = '2090-01-01T00:00:00'\n"
            "session.save()\n"
            "async def awaited():\n"
            "    session = await client.aopen(key)\n"
            "    await session.arotate()\n"
            "    return dict(session)\n"
            "key = session.key\n"
            "print(json.dumps([asyncio.run(awaited())['a'], sorted(name for name in sys.modules\n"
            "    if name.partition('.')[0] in ('django', 'asgiref'))]))\n"
        )
        environment = {**place.environment}
        del environment["DJANGO_SETTINGS_MODULE"]
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [1, []]
        wait_until_nothing_is_left(place)
