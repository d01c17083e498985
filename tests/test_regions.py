"""Several Redis deployments, one for each region: where a session lives, how it moves, and what one outage costs."""

import json
import os
import signal
from io import StringIO
from time import time

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import AsyncClient, Client

from django_redis_sessions import conf, regions, revocations, sessions
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.client import SessionClient
from django_redis_sessions.configuration import problems
from django_redis_sessions.errors import (
    SessionEnded,
    SessionStoreError,
    SessionStoreMisconfigured,
    SessionStoreUnavailable,
)
from tests.races import Race, watch
from tests.rivals import in_threads
from tests.servers import RedisServer
from tests.wire import Wire

LOGIN = {"_auth_user_id": "7", "_auth_user_backend": "backend", "_auth_user_hash": "hash"}
COOKIE = "sessionid"

# Most tests look with an operator's eyes at what has come about.
pytestmark = pytest.mark.operator


@pytest.fixture(scope="module")
def others():
    """Two more servers, beside the one that all tests share."""
    with RedisServer() as us, RedisServer() as ap:
        yield {"us": us, "ap": ap}


@pytest.fixture
def configure_regions(server, others, prefix, settings, permit):
    """Sets the project up with three regions, ``eu`` first; gives their stores by name."""

    def set_up(**given):
        eu = {"URL": server.url, "OPTIONS": server.options}
        three = {"eu": eu, "us": others["us"].url, "ap": others["ap"].url}
        settings.SESSION_REDIS = {"PREFIX": prefix, "TIMEOUT": 5, "REGIONS": three, **given}
        permit(conf.store().settings)
        return conf.stores().by_region

    yield set_up
    for other in others.values():
        with other.client() as client:
            names = list(client.scan_iter(f"{prefix}:*"))
            immortal = [name for name in names if client.ttl(name) == -1]
            if names:
                client.unlink(*names)
            assert not immortal


@pytest.fixture
def stores(configure_regions):
    return configure_regions()


@pytest.fixture(params=["eu", "us"])
def source(request):
    """Moves begin on the topology that the tests run on, or on a single server."""
    return request.param


def begin(region="eu", **data):
    """A session that is stored in this region, opened anew."""
    session = SessionStore()
    session.update(data)
    session.place = lambda: region
    session.save()
    return SessionStore(session.session_key)


def there(stores, region, other_client):
    """All Redis keys of this project in one region."""
    return sorted(other_client.scan_iter(f"{stores[region].keys.prefix}:*"))


def records_in(others, stores, region):
    with others[region].client() as client:
        return there(stores, region, client)


class TestASessionKey:
    @pytest.mark.parametrize(("keys", "length"), [("hashed", 35), ("plain", 35), ("signed", 40)])
    def test_begins_with_the_name_of_its_region(self, configure_regions, do, keys, length):
        configure_regions(KEYS=keys)
        session = begin("us")
        assert session.session_key.startswith("us.")
        assert len(session.session_key) == length
        assert do(SessionStore(session.session_key).exists, session.session_key) is True

    @pytest.mark.parametrize("tag", ["mars.", ".", "eu.", "US.", "us.us.", "us..", "\udcff."])
    def test_of_an_unknown_region_is_unknown_and_nobody_is_asked(self, stores, do, monkeypatch, tag):
        key = tag + begin("us").session_key.partition(".")[2]
        sent = watched(monkeypatch)
        assert do(SessionStore(key).load) == {}
        assert sent == []

    def test_names_another_session_in_another_region(self, stores, do):
        us = begin("us", a=1)
        moved = "ap" + us.session_key[2:]
        assert do(SessionStore(moved).load) == {}
        assert stores["us"].keys.handle(us.session_key) != stores["ap"].keys.handle(moved)

    def test_that_is_signed_is_refused_without_a_round_trip_when_it_is_forged(
        self, configure_regions, do, monkeypatch
    ):
        configure_regions(KEYS="signed")
        key = begin("us").session_key
        forged = key[:-1] + ("x" if key[-1] != "x" else "y")
        sent = watched(monkeypatch)
        assert do(SessionStore(forged).load) == {}
        assert sent == []


def watched(monkeypatch):
    """What is said to anybody from now on."""
    sent = []
    watch(monkeypatch, conf.stores(), sent.append)
    return sent


class TestANewSession:
    def test_lives_at_home(self, configure_regions, do):
        configure_regions(REGION="us")
        session = SessionStore()
        session["a"] = 1
        do(session.save)
        assert session.region == "us"
        assert do(SessionStore(session.session_key).load) == {"a": 1}

    def test_lives_in_the_first_region_where_nobody_says_which_is_home(self, stores, do):
        session = SessionStore()
        do(session.create)
        assert session.region == "eu"
        assert "." not in session.session_key

    @pytest.mark.parametrize("method", ["save", "create", "cycle_key"])
    def test_lives_where_it_is_placed(self, stores, do, method):
        session = SessionStore()
        session["a"] = 1
        session.place = lambda: "us"
        do(getattr(session, method))
        assert session.region == "us"
        assert SessionStore(session.session_key)["a"] == 1

    def test_is_placed_anew_after_a_sign_out(self, stores, do):
        session = begin("us", **LOGIN)
        do(session.flush)
        session.place = lambda: "ap"
        do(session.create)
        assert session.region == "ap"

    def test_stays_in_its_region_when_it_gets_a_new_key(self, stores, do):
        session = begin("us", **LOGIN)
        session.place = lambda: "ap"
        do(session.cycle_key)
        assert session.region == "us"


def by_header(request):
    """A router, as a site behind a proxy that knows countries has one."""
    return request.headers.get("X-Region")


def router_that_fails(request):
    raise ValueError("no idea")


@pytest.mark.django_db
class TestARouter:
    @pytest.fixture
    def browse(self, configure_regions, settings, way, runner):
        settings.MIDDLEWARE = [
            "django_redis_sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ]
        configure_regions(REGION_ROUTER="tests.test_regions.by_header", REGION="ap")
        client = Client() if way == "blocking" else AsyncClient()

        def get(path, region=None, data=None):
            headers = {} if region is None else {"X-Region": region}
            if way == "blocking":
                return client.get(f"/{path}/", data, headers=headers)

            async def awaited():
                return await client.get(f"/a{path}/", data, headers=headers)

            return runner.run(awaited())

        get.cookies = client.cookies
        return get

    def test_says_where_a_new_session_lives(self, browse):
        browse("write", "us", {"a": "1"})
        assert browse.cookies[COOKIE].value.startswith("us.")
        assert browse("read", "eu").json() == {"a": "1"}
        browse("write", "eu", {"b": "2"})
        assert browse.cookies[COOKIE].value.startswith("us.")

    def test_leaves_it_at_home(self, browse):
        browse("write", None, {"a": "1"})
        assert browse.cookies[COOKIE].value.startswith("ap.")

    def test_must_not_name_what_is_no_region(self, browse):
        with pytest.raises(SessionStoreMisconfigured, match="'mars'"):
            browse("write", "mars", {"a": "1"})

    @pytest.mark.django_db(transaction=True)
    def test_keeps_its_word_through_a_sign_in(self, browse):
        User.objects.create_user("alice", password="wonderland")
        browse("write", "us", {"a": "1"})
        browse("sign-in", "eu")
        assert browse.cookies[COOKIE].value.startswith("us.")
        assert browse("read", "eu").json()["a"] == "1"

    def test_that_cannot_be_used_is_an_error(self, configure_regions):
        configure_regions(REGION_ROUTER="tests.test_regions.missing")
        (found,) = [message for message in run_checks() if message.id == "django_redis_sessions.E011"]
        assert "tests.test_regions.missing" in found.msg

    @pytest.mark.parametrize("path", ["tests.test_regions.COOKIE", "tests.test_regions.acoroutine"])
    def test_that_is_no_function_is_an_error(self, configure_regions, path):
        configure_regions(REGION_ROUTER=path)
        assert "django_redis_sessions.E011" in [message.id for message in run_checks()]

    def test_that_works_is_no_error(self, configure_regions):
        configure_regions(REGION_ROUTER="tests.test_regions.by_header")
        assert "django_redis_sessions.E011" not in [message.id for message in run_checks()]


async def acoroutine(request):
    """No router: nobody would await it."""


class TestALoad:
    """One round trip, to the session's region; nobody else is asked."""

    @pytest.fixture
    def wires(self, others, tmp_path, prefix, settings, runner, do):
        with (
            Wire(others["us"].socket, tmp_path, "us") as us,
            Wire(others["ap"].socket, tmp_path, "ap") as ap,
        ):
            settings.SESSION_REDIS = {
                "PREFIX": prefix,
                "TIMEOUT": 5,
                "REGIONS": {"us": us.url, "ap": ap.url},
            }
            for region in ("us", "ap"):
                session = begin(region, a=region)
                do(session.load)
                do(session.save)
            us.reset()
            ap.reset()
            yield {"us": us, "ap": ap}
            for other in ("us", "ap"):
                with others[other].client() as client:
                    for name in client.scan_iter(f"{prefix}:*"):
                        client.unlink(name)

    @pytest.mark.parametrize(("region", "other"), [("us", "ap"), ("ap", "us")])
    def test_goes_straight_there(self, wires, do, region, other):
        key = begin(region, a=1).session_key
        wires[region].reset()
        assert do(SessionStore(key).load) == {"a": 1}
        assert (wires[region].round_trips, wires[other].round_trips) == (1, 0)

    def test_is_followed_by_a_save_of_one_round_trip(self, wires, do):
        session = SessionStore(begin("ap", a=1).session_key)
        do(session.load)
        session["a"] = 2
        wires["ap"].reset()
        do(session.save)
        assert (wires["ap"].round_trips, wires["us"].round_trips) == (1, 0)

    def test_of_nothing_asks_whether_it_has_moved(self, wires, do):
        do(SessionStore("ap." + "x" * 32).load)
        assert (wires["ap"].round_trips, wires["us"].round_trips) == (2, 0)

    @pytest.mark.parametrize(("data", "here", "there"), [({"a": 1}, 1, 1), (LOGIN, 2, 2)])
    def test_is_followed_by_a_move_of_few_round_trips(self, wires, do, data, here, there):
        do(begin("us", **data).move, "ap")  # the servers know the scripts by then
        session = begin("us", **data)
        old = session.session_key
        do(session.get, "a")
        reset(wires)
        do(session.move, "ap")
        assert (wires["us"].round_trips, wires["ap"].round_trips) == (here, there)
        reset(wires)
        assert do(SessionStore(old).load) == data
        assert (wires["us"].round_trips, wires["ap"].round_trips) == (2, 1)


def reset(wires):
    for wire in wires.values():
        wire.reset()


class TestAMove:
    @pytest.fixture
    def target(self, source):
        return {"eu": "us", "us": "eu"}[source]

    def test_takes_everything_along(self, stores, do, source, target):
        session = begin(source, cart=[1], **LOGIN)
        old = session.session_key
        session["more"] = 1
        do(session.move, target)
        assert session.region == target
        assert dict(SessionStore(session.session_key).items()) == {"cart": [1], "more": 1, **LOGIN}
        assert session.modified
        assert do(session.exists, old) is False

    def test_leaves_no_copy_of_it(self, stores, do, others, source, target):
        session = begin(source, secret="x", **LOGIN)
        old = session.session_key
        do(session.move, target)
        assert [info.region for info in sessions.of_user("7")] == [target]
        with regions.using(source):
            assert sessions.count() == 0
            assert sessions.get(stores[source].keys.handle(old)) is None

    def test_leads_requests_with_the_old_cookie_to_the_new_key(self, stores, do, source, target):
        session = begin(source, **LOGIN)
        old = session.session_key
        do(session.move, target)
        late = SessionStore(old)
        assert do(late.get, "_auth_user_id") == "7"
        assert late.session_key == session.session_key
        assert late.modified

    def test_leads_a_request_under_way_to_the_new_key(self, stores, do, source, target):
        session = begin(source, a=1)
        slow = SessionStore(session.session_key)
        do(slow.get, "a")
        do(session.move, target)
        slow["b"] = 2
        do(slow.save)
        assert slow.session_key == session.session_key
        assert dict(SessionStore(session.session_key).items()) == {"a": 1, "b": 2}

    def test_there_and_back(self, stores, do, source, target):
        session = begin(source, a=1)
        old = session.session_key
        do(session.move, target)
        do(session.move, source)
        assert session.session_key not in (None, old)
        assert do(SessionStore(old).get, "a") == 1

    def test_ends_with_a_sign_out_by_the_old_cookie(self, stores, do, source, target):
        session = begin(source, **LOGIN)
        old = session.session_key
        do(session.move, target)
        do(SessionStore(old).flush)
        assert sessions.count() == 0

    def test_to_where_it_is_does_nothing(self, stores, do, monkeypatch):
        session = begin("us", a=1)
        do(session.get, "a")
        sent = watched(monkeypatch)
        do(session.move, "us")
        assert sent == []

    def test_of_what_is_not_stored_places_it(self, stores, do):
        session = SessionStore()
        session["a"] = 1
        do(session.move, "us")
        assert session.session_key is None
        do(session.save)
        assert session.region == "us"

    def test_to_what_is_no_region_is_refused(self, stores, do):
        session = begin("us", a=1)
        with pytest.raises(SessionStoreMisconfigured, match="'mars'"):
            do(session.move, "mars")
        assert do(SessionStore(session.session_key).load) == {"a": 1}

    def test_of_a_session_that_was_signed_out_is_refused(self, stores, do, source, target):
        session = begin(source, **LOGIN)
        do(session.get, "a")
        SessionStore(session.session_key).flush()
        with pytest.raises(SessionEnded):
            do(session.move, target)
        assert sessions.count() == 0

    def test_of_an_anonymous_session_that_is_gone_begins_a_new_one_there(self, stores, do, source, target):
        session = begin(source, a=1)
        do(session.get, "a")
        SessionStore(session.session_key).flush()
        do(session.move, target)
        assert session.region == target
        assert do(SessionStore(session.session_key).load) == {"a": 1}

    def test_keeps_records_readable_that_are_bound_to_their_session(
        self, configure_regions, do, source, target
    ):
        configure_regions(ENCRYPTION_KEYS=["00" * 32], KEYS="signed")
        session = begin(source, a=1)
        do(session.move, target)
        assert do(SessionStore(session.session_key).load) == {"a": 1}

    def test_waits_for_replicas_at_both_ends(self, configure_regions, do, little_patience, others):
        configure_regions(WAIT_REPLICAS=1)
        with regions.using("us"):
            session = SessionStore()
        session.update({"a": 1})
        session.place = lambda: "us"
        do(session.save)
        session["_auth_user_id"] = "7"
        session.update(LOGIN)
        with pytest.raises(SessionStoreUnavailable):
            do(session.move, "ap")


class TestARaceWithAMove:
    """Somebody acts before each command that a move sends, to whichever region."""

    COMMANDS = 9

    @pytest.fixture
    def target(self, source):
        return {"eu": "us", "us": "eu"}[source]

    @pytest.fixture
    def race(self, stores, monkeypatch):
        return lambda by, before: Race(conf.stores(), by, before, monkeypatch)

    @pytest.mark.parametrize("before", range(1, COMMANDS))
    def test_loses_no_write(self, stores, do, race, source, target, before):
        session = begin(source, mine=0, **LOGIN)
        key = session.session_key

        def rival():
            other = SessionStore(key)
            other["theirs"] = 1
            other.save()

        with race(rival, before) as happened:
            session["mine"] = 1
            do(session.move, target)
        found = dict(SessionStore(key).items())
        assert found["mine"] == 1
        assert found.get("theirs", 1) == 1
        assert ("theirs" in found) == happened.happened
        assert len(sessions.of_user("7")) == 1

    @pytest.mark.parametrize("before", range(1, COMMANDS))
    @pytest.mark.parametrize("how", ["sign-out", "revoke", "revoke_user", "revoke_all"])
    def test_never_undoes_an_end(self, stores, do, race, source, target, before, how):
        session = begin(source, **LOGIN)
        key, handle = session.session_key, stores[source].keys.handle(session.session_key)

        def rival():
            if how == "sign-out":
                SessionStore(key).flush()
            elif how == "revoke":
                assert sessions.revoke(handle)
            elif how == "revoke_user":
                # Between two steps it is noted in both regions.
                assert sessions.revoke_user("7") >= 1
            else:
                sessions.revoke_all()

        with race(rival, before) as happened:
            try:
                do(session.move, target)
            except UpdateError:
                assert happened.happened
        if happened.happened:
            assert sessions.of_user("7") == []
            assert SessionStore(key).load() == {}
            assert sessions.count() == 0

    @pytest.mark.parametrize("before", range(1, COMMANDS))
    @pytest.mark.one_slot  # from a cluster, one waits for the other
    def test_of_two_ends_in_one_place(self, stores, do, race, source, target, before):
        session = begin(source, **LOGIN)
        key = session.session_key

        def rival():
            other = SessionStore(key)
            other["theirs"] = 1
            other.move(target)
            other.save()

        with race(rival, before) as happened:
            session["mine"] = 1
            do(session.move, target)
        do(session.save)
        found = dict(SessionStore(key).items())
        assert found["mine"] == 1
        assert ("theirs" in found) == happened.happened
        assert len(sessions.of_user("7")) == 1

    @pytest.mark.parametrize("before", range(1, COMMANDS))
    def test_is_over_when_the_connection_is_lost(self, stores, do, source, target, before, monkeypatch):
        """Whatever was lost, the old cookie leads to the session, or to the place where it is now."""
        session = begin(source, **LOGIN)
        key = session.session_key
        lost = [before]

        def fail():
            lost.clear()
            raise SessionStoreUnavailable("Redis is away.")

        with Race(conf.stores(), fail, before, monkeypatch):
            try:
                do(session.move, target)
            except SessionStoreUnavailable:
                assert not lost
        assert SessionStore(key)["_auth_user_id"] == "7"


class TestARevocationThatReachesOneRegionAfterTheOther:
    def test_is_meant_for_a_session_that_moves_to_where_it_has_been(self, stores, do, monkeypatch):
        """It has reached ``us`` and not yet ``eu``, from where a request of later brings the session."""
        monkeypatch.setattr("django_redis_sessions.held.time", lambda: time() - 60)
        session = begin("eu", **LOGIN)
        monkeypatch.undo()
        with regions.using("us"):
            sessions.revoke_user("7")
        late = SessionStore(session.session_key)
        with pytest.raises(SessionEnded):
            do(late.move, "us")
        sessions.revoke_user("7")
        assert sessions.count() == 0

    def test_is_not_meant_for_who_has_signed_in_since(self, stores, do):
        with regions.using("us"):
            sessions.revoke_user("7")
        session = begin("eu", **LOGIN)
        do(session.move, "us")
        assert [info.region for info in sessions.of_user("7")] == ["us"]

    @pytest.mark.parametrize("ago", [0, 60])
    def test_is_not_meant_for_what_it_keeps(self, stores, do, ago, monkeypatch):
        monkeypatch.setattr("django_redis_sessions.held.time", lambda: time() - ago)
        session = begin("eu", **LOGIN)
        monkeypatch.undo()
        do(session.get, "a")
        sessions.revoke_user("7", keep=session)
        session.cycle_key()  # as Django does after a new password
        do(session.move, "us")
        assert [info.region for info in sessions.of_user("7")] == ["us"]

    def test_is_not_meant_for_what_it_keeps_in_later_requests(self, stores, do, monkeypatch):
        monkeypatch.setattr("django_redis_sessions.held.time", lambda: time() - 60)
        session = begin("eu", **LOGIN)
        monkeypatch.undo()
        sessions.revoke_user("7", keep=session.session_key)
        for region in ("us", "ap"):
            session = SessionStore(session.session_key)
            do(session.move, region)
            assert [info.region for info in sessions.of_user("7")] == [region]

    @pytest.mark.parametrize("before", range(1, 12))
    @pytest.mark.parametrize("how", ["sign-out", "revoke_user", "revoke_user elsewhere first"])
    def test_is_not_undone_by_a_move_that_an_earlier_one_has_kept(self, stores, do, before, how, monkeypatch):
        monkeypatch.setattr("django_redis_sessions.held.time", lambda: time() - 60)
        session = begin("eu", **LOGIN)
        monkeypatch.undo()
        key = session.session_key
        sessions.revoke_user("7", keep=key)

        def rival():
            if how == "sign-out":
                SessionStore(key).flush()
            elif how == "revoke_user":
                sessions.revoke_user("7")
            else:
                with regions.using("us"):
                    sessions.revoke_user("7")

        session = SessionStore(key)
        with Race(conf.stores(), rival, before, monkeypatch) as happened:
            try:
                do(session.move, "us")
            except SessionEnded:
                assert happened.happened
        if how == "revoke_user elsewhere first":
            sessions.revoke_user("7")
        if happened.happened or how == "revoke_user elsewhere first":
            assert SessionStore(session.session_key or key).load() == {}
            assert sessions.count() == 0
            assert sessions.of_user("7") == []
        if before == 11:
            assert not happened.happened  # or there are commands that nobody came before

    @pytest.mark.parametrize("before", range(1, 12))
    def test_loses_nobody_it_has_kept_when_the_connection_is_lost(self, stores, do, before, monkeypatch):
        monkeypatch.setattr("django_redis_sessions.held.time", lambda: time() - 60)
        key = begin("eu", **LOGIN).session_key
        monkeypatch.undo()
        sessions.revoke_user("7", keep=key)
        lost = [before]

        def fail():
            lost.clear()
            raise SessionStoreUnavailable("Redis is away.")

        session = SessionStore(key)
        with Race(conf.stores(), fail, before, monkeypatch):
            try:
                do(session.move, "us")
            except SessionStoreUnavailable:
                assert not lost
        assert SessionStore(key)["_auth_user_id"] == "7"
        # Whatever was left half-way is known to the next revocation.
        sessions.revoke_user("7")
        assert SessionStore(key).load() == {}

    def test_is_still_meant_for_what_the_next_one_does_not_keep(self, stores, do, monkeypatch):
        monkeypatch.setattr("django_redis_sessions.held.time", lambda: time() - 60)
        session = begin("eu", **LOGIN)
        monkeypatch.undo()
        sessions.revoke_user("7", keep=session.session_key)
        with regions.using("us"):
            sessions.revoke_user("7")
        with pytest.raises(SessionEnded):
            do(SessionStore(session.session_key).move, "us")


class TestALimitOnAUsersSessions:
    def test_holds_in_the_region_that_a_session_moves_to(self, configure_regions, do):
        configure_regions(MAX_SESSIONS_PER_USER=1)
        first = begin("us", **LOGIN)
        second = begin("ap", **LOGIN)
        do(second.move, "us")
        assert [info.handle for info in sessions.of_user("7")] == [
            conf.store_of(second.session_key).keys.handle(second.session_key)
        ]
        assert do(SessionStore(first.session_key).load) == {}

    def test_may_refuse_the_move(self, configure_regions, do):
        configure_regions(MAX_SESSIONS_PER_USER=1, ON_LIMIT="refuse")
        begin("us", **LOGIN)
        second = begin("ap", **LOGIN)
        with pytest.raises(SessionStoreError):
            do(second.move, "us")
        assert do(SessionStore(second.session_key).get, "_auth_user_id") == "7"


class TestAllRegionsTogether:
    @pytest.fixture
    def three(self, stores):
        return {region: begin(region, place=region, **LOGIN) for region in ("eu", "us", "ap")}

    def test_a_users_sessions_are_found_in_all(self, three, do):
        infos = do(sessions.of_user, "7", three["us"])
        assert {info.region for info in infos} == {"eu", "us", "ap"}
        assert [info.region for info in infos if info.is_current] == ["us"]

    def test_a_handle_leads_to_a_session_in_any(self, three, stores, do):
        for region, session in three.items():
            handle = stores[region].keys.handle(session.session_key)
            assert do(sessions.get, handle).region == region
            assert do(sessions.data, handle)["place"] == region

    def test_a_handle_of_nobody_leads_nowhere(self, three, do):
        assert do(sessions.get, "x" * 24) is None
        assert do(sessions.revoke, "x" * 24) is False

    def test_a_session_is_revoked_in_any(self, three, stores, do):
        for region, session in three.items():
            assert do(sessions.revoke, stores[region].keys.handle(session.session_key)) is True
        assert sessions.count() == 0

    def test_a_user_is_signed_out_of_all_but_one(self, three, do):
        assert do(sessions.revoke_user, "7", keep=three["us"]) == 2
        assert [info.region for info in sessions.of_user("7")] == ["us"]

    def test_everybody_is_signed_out_of_all(self, three, do):
        assert do(sessions.revoke_all) == 3
        assert do(sessions.count) == 0

    def test_they_are_counted(self, three, do):
        assert do(sessions.count) == 3
        assert do(sessions.statistics).census.logged_in == 3
        assert do(sessions.contents).sessions == 3
        assert do(sessions.reindex) == 3
        assert do(sessions.rewrite).found == 3
        assert do(sessions.sweep) == 0

    def test_they_are_counted_one_region_at_a_time(self, three, do):
        begin("us")
        for region, number in (("eu", 1), ("us", 2), ("ap", 1)):
            with regions.using(region):
                assert do(sessions.count) == number
                assert do(sessions.statistics).census.sessions == number

    def test_they_are_purged_one_region_at_a_time(self, three, do):
        with regions.using("us"):
            assert do(sessions.purge) == 1
        assert sorted(info.region for info in sessions.of_user("7")) == ["ap", "eu"]
        assert do(sessions.purge) == 2

    def test_a_purge_goes_on_in_a_region_that_is_named(self, three, do):
        with pytest.raises(ValueError, match="using"):
            do(sessions.purge, resume="")
        with regions.using("us"):
            assert do(sessions.purge, resume="") == 1

    def test_they_are_listed_a_page_at_a_time(self, stores, do):
        made = {conf.store_of(key).keys.handle(key) for region in stores for key in keys_in(region, 7)}
        found, cursor = [], None
        while True:
            page = do(sessions.page, cursor, limit=4)
            assert len(page.infos) == 4 or page.next is None
            found += [info.handle for info in page.infos]
            if (cursor := page.next) is None:
                break
            assert sessions.is_cursor(cursor)
        assert sorted(found) == sorted(made)

    def test_a_cursor_belongs_to_its_region(self, stores):
        assert sessions.is_cursor("us:0-0")
        assert not sessions.is_cursor("mars:0-0")
        assert sessions.page("mars:0-0").infos == []

    def test_they_are_ranked(self, stores, do):
        for region, size in (("eu", 200), ("us", 900), ("ap", 500)):
            begin(region, text=os.urandom(size).hex())
        assert [info.region for info in do(sessions.ranked, "size").infos] == ["us", "ap", "eu"]
        first = do(sessions.ranked, "size", 2)
        assert [info.region for info in first.infos] == ["us", "ap"]
        assert [info.region for info in do(sessions.ranked, "size", cursor=first.next).infos] == ["eu"]

    def test_a_users_are_ranked(self, three, do):
        assert len(do(sessions.ranked, "created", user="7").infos) == 3

    def test_they_are_iterated(self, three, do, runner):
        assert {info.region for info in sessions.iterate()} == {"eu", "us", "ap"}

        async def iterated():
            return [info.region async for info in sessions.aiterate()]

        assert sorted(runner.run(iterated())) == ["ap", "eu", "us"]

    def test_a_reader_may_be_in_another_region_meanwhile(self, three):
        found = sessions.iterate()
        seen = [next(found)]
        with regions.using("ap"):
            seen += list(found)
        assert [info.region for info in seen] == ["eu", "us", "ap"]

    def test_the_doctor_looks_at_each(self, three, do):
        findings = do(sessions.diagnose)
        assert any(finding.id == "reachable" for finding in findings) or findings

    def test_each_server_tells_its_facts(self, three):
        assert len(sessions.server_facts()) >= 3


def keys_in(region, number):
    return [begin(region).session_key for _ in range(number)]


class Outage:
    """Three regions, each with a session, one of which is away by now."""

    is_hanging = False

    @pytest.fixture
    def stores(self, others, prefix, settings, db):
        with RedisServer() as mortal:
            settings.SESSION_REDIS = {
                "PREFIX": prefix,
                "RETRIES": 0,
                "TIMEOUT": 2 if self.is_hanging else 5,
                "REGIONS": {"us": others["us"].url, "down": mortal.url, "ap": others["ap"].url},
            }
            self.made = {region: begin(region, place=region, **LOGIN) for region in ("us", "down", "ap")}
            if self.is_hanging:
                os.kill(mortal.process.pid, signal.SIGSTOP)
            else:
                mortal.stop()
            yield conf.stores().by_region
        for other in others.values():
            with other.client() as client:
                for name in client.scan_iter(f"{prefix}:*"):
                    client.unlink(name)


class TestARegionThatIsDown(Outage):
    """It takes only its own sessions down."""

    def test_serves_the_sessions_of_the_others(self, stores, do):
        for region in ("us", "ap"):
            session = SessionStore(self.made[region].session_key)
            assert do(session.get, "place") == region
            session["a"] = 1
            do(session.save)

    def test_is_an_outage_for_its_own(self, stores, do):
        with pytest.raises(SessionStoreUnavailable):
            do(SessionStore(self.made["down"].session_key).load)

    def test_is_an_outage_for_whoever_is_placed_there(self, stores, do):
        session = SessionStore()
        session.place = lambda: "down"
        with pytest.raises(SessionStoreUnavailable):
            do(session.save)
        assert session.session_key is None

    def test_leaves_a_session_where_it_is_that_cannot_move_there(self, stores, do):
        session = SessionStore(self.made["us"].session_key)
        with pytest.raises(SessionStoreUnavailable):
            do(session.move, "down")
        assert do(SessionStore(self.made["us"].session_key).get, "place") == "us"

    def test_is_left_out_of_what_people_see_and_the_log_says_so(self, stores, do, caplog):
        assert {info.region for info in do(sessions.of_user, "7")} == {"us", "ap"}
        assert "region down" in caplog.text
        handle = stores["ap"].keys.handle(self.made["ap"].session_key)
        assert do(sessions.get, handle).region == "ap"

    def test_is_missing_from_a_page(self, stores, do):
        page = do(sessions.page)
        assert {info.region for info in page.infos} == {"us", "ap"}
        assert page.missing == ("down",)
        assert page.next is None

    def test_is_an_error_for_whoever_ends_sessions_when_the_others_are_ended(self, stores, do):
        with pytest.raises(SessionStoreUnavailable, match="In region down: "):
            do(sessions.revoke_user, "7")
        assert sessions.of_user("7") == []

    def test_is_none_for_whoever_ends_a_session_elsewhere(self, stores, do):
        assert do(sessions.revoke, stores["ap"].keys.handle(self.made["ap"].session_key)) is True
        with pytest.raises(SessionStoreUnavailable):
            do(sessions.revoke, stores["down"].keys.handle(self.made["down"].session_key))

    def test_is_an_error_for_whoever_signs_everybody_out_when_the_others_are(self, stores, do):
        with pytest.raises(SessionStoreUnavailable):
            do(sessions.revoke_all)
        assert sessions.of_user("7") == []

    def test_is_missing_from_the_figures(self, stores, do):
        found = do(sessions.statistics)
        assert (found.census.sessions, found.missing, found.sampled) == (2, ("down",), True)
        assert found.as_dict()["missing_regions"] == ["down"]
        out, err = StringIO(), StringIO()
        call_command("redis_sessions", "stats", stdout=out, stderr=err)
        assert "Without region down" in err.getvalue()

    def test_is_an_error_for_whoever_counts(self, stores, do):
        with pytest.raises(SessionStoreUnavailable):
            do(sessions.count)
        with regions.using("us"):
            assert do(sessions.count) == 1

    def test_is_a_finding_for_the_doctor(self, stores, do):
        assert any(finding.id == "reachable" for finding in do(sessions.diagnose))

    def test_is_told_in_the_list(self, stores, db):
        out = StringIO()
        err = StringIO()
        call_command("redis_sessions", "list", stdout=out, stderr=err)
        assert "REGION" in out.getvalue()
        assert "Without region down" in err.getvalue()
        out = StringIO()
        call_command("redis_sessions", "list", "--json", stdout=out)
        assert json.loads(out.getvalue())["missing_regions"] == ["down"]

    def test_is_an_error_when_it_is_asked_for_alone(self, stores, do):
        with regions.using("down"), pytest.raises(SessionStoreUnavailable):
            do(sessions.page)
        with regions.using("down"), pytest.raises(SessionStoreUnavailable):
            do(sessions.of_user, "7")


class TestARegionThatHangs(Outage):
    """Who asks it waits for as long as ``TIMEOUT``; nobody else does."""

    is_hanging = True

    def test_serves_the_sessions_of_the_others(self, stores, do):
        session = SessionStore(self.made["ap"].session_key)
        assert do(session.get, "place") == "ap"

    def test_is_an_outage_for_its_own(self, stores, do):
        with pytest.raises(SessionStoreUnavailable):
            do(SessionStore(self.made["down"].session_key).load)

    def test_is_left_out_of_what_people_see(self, stores, do):
        assert {info.region for info in do(sessions.of_user, "7")} == {"us", "ap"}


class TestASlowRegion:
    """It holds up nobody but those who live there."""

    @pytest.fixture
    def wires(self, others, tmp_path, prefix, settings, do):
        with (
            Wire(others["us"].socket, tmp_path, "slow") as slow,
            Wire(others["ap"].socket, tmp_path, "fast") as fast,
        ):
            settings.SESSION_REDIS = {
                "PREFIX": prefix,
                "TIMEOUT": 4,
                "REGIONS": {"slow": slow.url, "fast": fast.url},
            }
            self.made = {region: begin(region, **LOGIN) for region in ("slow", "fast")}
            do(sessions.of_user, "7")  # opens the connections
            slow.reset()
            fast.reset()
            # Whoever asks one after the other waits for ever.
            slow.answer_after(fast)
            yield {"slow": slow, "fast": fast}
        for other in ("us", "ap"):
            with others[other].client() as client:
                for name in client.scan_iter(f"{prefix}:*"):
                    client.unlink(name)

    def test_is_not_asked_for_the_sessions_of_others(self, wires, do):
        session = SessionStore(self.made["fast"].session_key)
        assert do(session.get, "_auth_user_id") == "7"
        session["a"] = 1
        do(session.save)
        assert wires["slow"].round_trips == 0

    def test_is_asked_at_the_same_time_as_the_others(self, wires, do):
        assert {info.region for info in do(sessions.of_user, "7")} == {"slow", "fast"}

    def test_is_told_to_end_sessions_at_the_same_time_as_the_others(self, wires, do):
        assert do(sessions.revoke_user, "7") == 2


class TestAServiceWithoutDjango:
    """``SessionClient`` with the regions of the site."""

    @pytest.fixture
    def service(self, configure_regions, settings, others):
        configure_regions(KEYS="signed")
        given = {name.lower(): value for name, value in settings.SESSION_REDIS.items()}
        client = SessionClient(secret_keys=[settings.SECRET_KEY], **given)
        yield client
        client.close()

    def test_finds_a_session_in_any_region(self, service, do):
        for region in ("eu", "us", "ap"):
            session = begin(region, place=region, **LOGIN)
            found = do(service.open, session.session_key)
            assert (found["place"], found.user_id, found.region) == (region, "7", region)
            found["seen"] = True
            do(found.save)
            assert SessionStore(session.session_key)["seen"] is True

    def test_begins_one_where_it_is_told_to(self, service, do):
        for region in (None, "us"):
            session = service.new(region)
            session["a"] = 1
            do(session.save)
            assert session.region == (region or "eu")
            assert SessionStore(session.key)["a"] == 1

    def test_moves_one(self, service, do):
        old = begin("us", **LOGIN).session_key
        session = do(service.open, old)
        do(session.move, "ap")
        assert session.needs_cookie
        assert session.region == "ap"
        assert SessionStore(session.key)["_auth_user_id"] == "7"
        assert do(service.open, old).user_id == "7"
        do(session.move, "ap")

    def test_ends_one(self, service, do):
        session = do(service.open, begin("us", **LOGIN).session_key)
        do(session.delete)
        assert session.region == "eu"
        assert sessions.count() == 0

    def test_knows_of_no_other_region(self, service):
        with pytest.raises(SessionStoreMisconfigured, match="There are: eu, us, ap"):
            service.new("mars")

    def test_meets_an_outage_of_one_region_alone(self, settings, others, prefix, do):
        with RedisServer() as mortal:
            places = {"us": others["us"].url, "down": mortal.url}
            settings.SESSION_REDIS = {"PREFIX": prefix, "REGIONS": places, "TIMEOUT": 5}
            made = {region: begin(region, **LOGIN).session_key for region in places}
            service = SessionClient(prefix=prefix, regions=places, retries=0, timeout=5)
        assert do(service.open, made["us"]).user_id == "7"
        with pytest.raises(SessionStoreUnavailable):
            do(service.open, made["down"])
        service.close()
        SessionStore(made["us"]).flush()
        with others["us"].client() as client:
            for name in client.scan_iter(f"{prefix}:*"):
                client.unlink(name)


class TestTheAdmin:
    @pytest.fixture
    def admin(self, stores, settings, db):
        settings.ROOT_URLCONF = "tests.admin_urls"
        settings.MIDDLEWARE = [
            "django_redis_sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ]
        User.objects.create_superuser("root", password="wonderland")
        client = Client()
        client.login(username="root", password="wonderland")
        return client

    def test_shows_the_sessions_of_all_regions(self, admin, stores):
        for region in ("us", "ap"):
            session = begin(region, **LOGIN)
            handle = stores[region].keys.handle(session.session_key)
            # The admin's own way to quote: an underscore may begin a code.
            path = f"/admin/django_redis_sessions/session/{handle.replace('_', '_5F')}/change/"
            shown = admin.get(path).content.decode()
            assert f"<td>{region}</td>" in shown
            assert handle in admin.get("/admin/django_redis_sessions/session/").content.decode()

    def test_says_which_region_is_missing(self, admin, monkeypatch):
        from django_redis_sessions import listing

        page = sessions.page()
        monkeypatch.setattr(
            listing.sessions, "page", lambda *_, **__: sessions.Page(page.infos, None, ("down",))
        )
        shown = admin.get("/admin/django_redis_sessions/session/").content.decode()
        assert "Region down cannot be reached" in shown


class TestSessionsOfBefore:
    """A site that had one deployment makes it the first region."""

    @pytest.fixture
    def before(self, server, prefix, settings, permit):
        def set_up(**given):
            settings.SESSION_REDIS = {
                "URL": server.url,
                "OPTIONS": server.options,
                "PREFIX": prefix,
                "TIMEOUT": 5,
                **given,
            }
            permit(conf.store().settings)
            session = SessionStore()
            session.update({"a": 1, **LOGIN})
            session.save()
            return session.session_key

        return set_up

    @pytest.mark.parametrize("keys", ["hashed", "plain", "signed"])
    def test_keep_their_keys_in_either_direction(self, before, configure_regions, do, keys):
        """Processes that know of regions and such that do not may run side by side."""
        old = before(KEYS=keys)
        configure_regions(KEYS=keys, REGION="us")
        session = SessionStore(old)
        assert do(session.get, "a") == 1
        assert session.region == "eu"
        session["b"] = 2
        do(session.save)
        assert session.session_key == old
        assert len(sessions.of_user("7")) == 1
        new = begin("eu", c=1).session_key
        before(KEYS=keys)
        assert do(SessionStore(old).get, "b") == 2
        assert do(SessionStore(new).get, "c") == 1

    def test_may_move_away(self, before, configure_regions, do):
        old = before()
        configure_regions()
        session = SessionStore(old)
        do(session.move, "us")
        assert do(SessionStore(old).get, "a") == 1
        assert [info.region for info in sessions.of_user("7")] == ["us"]

    def test_are_signed_out(self, before, configure_regions, do):
        old = before()
        configure_regions()
        do(SessionStore(old).flush)
        assert sessions.count() == 0

    def test_are_adopted_from_another_engine(self, configure_regions, do, db):
        from django.contrib.sessions.backends.db import SessionStore as Database

        there = Database()
        there["a"] = 1
        there.save()
        configure_regions(FALLBACK_ENGINES=["django.contrib.sessions.backends.db"], REGION="us")
        session = SessionStore(there.session_key)
        assert session.get("a") == 1
        session["b"] = 2
        session.save()
        assert session.region == "eu"
        assert sessions.adopted() is not None

    def test_are_imported_to_the_first_region(self, configure_regions, db):
        from django.contrib.sessions.backends.db import SessionStore as Database

        there = Database()
        there["a"] = 1
        there.save()
        configure_regions(REGION="us")
        assert sessions.import_from("django.contrib.sessions.backends.db").moved == 1
        assert SessionStore(there.session_key)["a"] == 1
        with regions.using("us"), pytest.raises(SessionStoreMisconfigured, match="first"):
            sessions.import_from("django.contrib.sessions.backends.db")

    def test_are_exported_from_all(self, configure_regions, db):
        from django.contrib.sessions.backends.db import SessionStore as Database

        configure_regions(KEYS="plain")
        made = [begin(region, a=1).session_key for region in ("eu", "us", "ap")]
        assert sessions.export_to("django.contrib.sessions.backends.db").moved == 3
        assert all(Database(key)["a"] == 1 for key in made)


class TestUsing:
    def test_is_about_one_region(self, stores):
        assert regions.names() == ["eu", "us", "ap"]
        with regions.using("us"):
            assert regions.names() == ["us"]
            assert conf.store().region == "us"
        assert conf.store().region == "eu"

    def test_refuses_what_is_none(self, stores):
        with pytest.raises(SessionStoreMisconfigured, match="There are: eu, us, ap"), regions.using("mars"):
            raise AssertionError

    def test_refuses_any_where_there_are_none(self, store):
        assert regions.names() == []
        with pytest.raises(SessionStoreMisconfigured, match="There are: none"), regions.using("eu"):
            raise AssertionError

    def test_changes_nothing_for_sessions_that_have_a_key(self, stores, do):
        session = begin("us", a=1)
        with regions.using("ap"):
            assert do(SessionStore(session.session_key).get, "a") == 1


@pytest.mark.listener
class TestAWatch:
    def test_hears_of_a_session_in_any_region(self, stores, runner):
        session = begin("us", **LOGIN)

        async def watch():
            async with revocations.watching(session) as watched:
                await sessions.arevoke(stores["us"].keys.handle(session.session_key))
                return await watched.ended()

        assert runner.run(watch()) == "revoked"


class TestTheCommand:
    @pytest.fixture
    def run(self, stores, db):
        def call(*arguments):
            out, err = StringIO(), StringIO()
            call_command("redis_sessions", *arguments, stdout=out, stderr=err)
            return out.getvalue()

        return call

    def test_counts_all_regions_or_one(self, run):
        for region in ("eu", "us", "us"):
            begin(region)
        assert json.loads(run("stats", "--json"))["sessions"] == 3
        assert json.loads(run("stats", "--json", "--region", "us"))["sessions"] == 2

    def test_purges_one(self, run):
        for region in ("eu", "us", "us"):
            begin(region)
        assert "2 sessions ended" in run("purge", "--all", "--no-input", "--region", "us")
        assert "1 session ended" in run("purge", "--all", "--no-input")

    def test_refuses_what_is_no_region(self, run):
        with pytest.raises(CommandError, match="'mars'"):
            run("stats", "--region", "mars")

    def test_goes_on_in_one_region(self, run):
        with pytest.raises(CommandError, match="--region"):
            run("purge", "--all", "--no-input", "--resume", f"{'a' * 12}:5")

    def test_shows_where_a_session_lives(self, run, stores):
        session = begin("us", **LOGIN)
        handle = stores["us"].keys.handle(session.session_key)
        assert "  region       us" in run("show", handle)
        (listed,) = json.loads(run("list", "--json"))["sessions"]
        assert listed["region"] == "us"


class TestTheSettings:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"REGIONS": ["eu"]}, "is no dict"),
            ({"REGIONS": {"EU": "redis://one"}}, "1 to 6 lower-case"),
            ({"REGIONS": {"europe1": "redis://one"}}, "1 to 6 lower-case"),
            ({"REGIONS": {"e.u": "redis://one"}}, "1 to 6 lower-case"),
            ({"REGIONS": {1: "redis://one"}}, "1 to 6 lower-case"),
            ({"REGIONS": {"eu": 5}}, "neither a URL nor a dict"),
            ({"REGIONS": {"eu": {"url": "redis://one"}}}, "neither a URL nor a dict"),
            ({"REGIONS": {"eu": {"OPTIONS": {}}}}, "neither a URL nor a dict"),
            ({"REGIONS": {"eu": "http://one"}}, "not supported"),
            (
                {"REGIONS": {"eu": {"URL": "redis://one", "OPTIONS": {"decode_responses": True}}}},
                "decode_responses",
            ),
            ({"REGIONS": {"eu": "redis://one", "us": "redis://one"}}, "the same place"),
            ({"REGIONS": {"eu": "redis://one"}, "REGION": "us"}, "does not name"),
            ({"REGIONS": {"eu": "redis://one"}, "REGION": 5}, "no name of a region"),
            ({"REGIONS": {"eu": "redis://one"}, "URL": "redis://two"}, "no effect beside"),
            ({"REGION": "eu"}, "no effect without"),
            ({"REGION_ROUTER": "shop.region"}, "no effect without"),
            ({"REGIONS": {"eu": "redis://one"}, "REGION_ROUTER": "region"}, "dotted path"),
        ],
    )
    def test_that_cannot_be_used_are_refused(self, given, words):
        found = problems(given)
        assert any(words in problem.message for problem in found), found

    def test_suggest_a_name(self):
        (found,) = problems({"REGIONS": {"east": "redis://one", "west": "redis://two"}, "REGION": "eas"})
        assert found.hint == "Did you mean 'east'?"

    @pytest.mark.parametrize(
        "given",
        [
            {"REGIONS": None},
            {"REGIONS": {}},
            {"REGIONS": {"eu": "redis://one/0", "us": "redis://one/1"}},
            {"REGIONS": {"eu": {"URL": "rediss+cluster://one"}, "us2": "redis://two"}, "REGION": "us2"},
        ],
    )
    def test_that_can_be_used_are_not(self, given):
        assert problems(given) == []

    def test_share_their_options(self, settings, others):
        settings.SESSION_REDIS = {
            "OPTIONS": {"max_connections": 7, "health_check_interval": 3},
            "REGIONS": {
                "us": {"URL": others["us"].url, "OPTIONS": {"max_connections": 9}},
                "ap": others["ap"].url,
            },
        }
        us, ap = conf.stores()
        assert us.settings.options == {"max_connections": 9, "health_check_interval": 3}
        assert ap.settings.options == {"max_connections": 7, "health_check_interval": 3}

    def test_are_forgotten_with_their_connections(self, stores, settings):
        begin("us")
        settings.SECRET_KEY = "another key, another key, another key"
        assert {store.region for store in conf.stores()} == {"eu", "us", "ap"}
        settings.SESSION_REDIS = {}
        assert [store.region for store in conf.stores()] == [None]


class TestACrowd:
    """Real rivals, some of which move the session about."""

    WRITERS, WRITES, MOVES = 6, 8, 4

    def test_of_writers_loses_nothing_while_others_move_the_session(self, stores):
        key = begin("eu", **LOGIN).session_key

        def work(own):
            if own >= self.WRITERS:
                for turn in range(self.MOVES):
                    SessionStore(key).move(("us", "ap", "eu")[(own + turn) % 3])
                return
            for turn in range(self.WRITES):
                session = SessionStore(key)
                session[f"{own}-{turn}"] = 1
                session.save()

        in_threads(work, self.WRITERS + 2)
        found = dict(SessionStore(key).items())
        written = {f"{own}-{turn}" for own in range(self.WRITERS) for turn in range(self.WRITES)}
        assert written - set(found) == set()
        assert len(sessions.of_user("7")) == 1

    @pytest.mark.parametrize("how", ["sign-out", "revoke_user"])
    def test_never_brings_back_what_was_ended_while_it_moved(self, stores, how, monkeypatch):
        for _ in range(20):
            with monkeypatch.context() as patch:
                patch.setattr("django_redis_sessions.held.time", lambda: time() - 60)
                key = begin("eu", **LOGIN).session_key

            def work(own, key=key):
                try:
                    if own == 0:
                        SessionStore(key).flush() if how == "sign-out" else sessions.revoke_user("7")
                    else:
                        SessionStore(key).move(("us", "ap")[own % 2])
                except UpdateError:
                    pass

            in_threads(work, 4)
            if how == "revoke_user":
                assert sessions.of_user("7") == []
            assert not SessionStore(key).get("_auth_user_id")
            sessions.revoke_all()


class TestTheChecks:
    def test_say_in_which_region_something_is_amiss(self, settings):
        settings.SESSION_REDIS = {
            "REGIONS": {"eu": "rediss://:pw@eu.example.com", "us": "redis://:pw@us.example.com"},
        }
        settings.DEBUG = False
        messages = [
            message.msg
            for message in run_checks(tags=["sessions"], include_deployment_checks=True)
            if message.id == "django_redis_sessions.W011"
        ]
        assert messages == ["In region us: Sessions and passwords cross the network in the clear."]

    def test_say_once_what_is_amiss_everywhere(self, settings):
        settings.SESSION_REDIS = {
            "REGIONS": {"eu": "redis://:pw@one.example.com", "us": "redis://:pw@two.example.com"}
        }
        settings.DEBUG = False
        found = [
            message
            for message in run_checks(tags=["sessions"], include_deployment_checks=True)
            if message.id == "django_redis_sessions.W011"
        ]
        assert len(found) == 1
