"""A session that is not here is adopted from the engine that the site comes from."""

import asyncio
import time

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import CreateError
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.utils import timezone

from django_redis_sessions import arrivals, checks, conf, engines, errors, fallbacks, sessions
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.executors import run
from django_redis_sessions.keys import digest
from tests import memory_engine
from tests.other_engines import DJANGO, NAMES, begun, close_databases, hide_the_table, use
from tests.races import watch
from tests.rivals import in_threads
from tests.test_budgets import told

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.socket]


@pytest.fixture(autouse=True)
def tidy(runner):
    """Leave no connection to a database behind in the thread that awaited code uses."""
    yield
    runner.run(sync_to_async(close_databases)())


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def path(name):
    return DJANGO + name


@pytest.fixture
def there(name, path, settings, server, prefix, tmp_path, monkeypatch, configure):
    """The other engine's ``SessionStore``; ``FALLBACK_ENGINES`` names it."""
    store_class = use(name, settings, server, prefix, tmp_path, monkeypatch)
    configure(FALLBACK_ENGINES=[path])
    return store_class


@pytest.fixture
def sent(there, monkeypatch):
    """The names of the commands that were sent so far, a list for each round trip."""
    begun(SessionStore).delete()
    trips = []

    def see(command):
        trips.append([each[0] for each in (command if isinstance(command, list) else [command])])

    watch(monkeypatch, conf.store(), see)
    return trips


def ttl(behind, session_key):
    return behind.ttl(conf.store().keys.record(session_key))


def aside(function):
    """Call it in a thread of its own, as another process would: a rival may act while a loop is running."""

    def work(own):
        try:
            function()
        finally:
            close_databases()

    in_threads(work, 1)


class TestASessionThatIsNotHere:
    def test_is_adopted_under_its_key_with_what_is_left_of_its_life(self, there, do, behind):
        old = there()
        old.update({"_auth_user_id": "7", "cart": [1, {"tea": 2}]})
        old.set_expiry(500)
        old.save()
        session = SessionStore(old.session_key)
        assert do(session.load) == dict(old.items())
        assert session.session_key == old.session_key
        # cached_db keeps the life in its row, cache in Redis, and of a file it is all there again.
        assert 490 <= ttl(behind, old.session_key) <= 500
        assert [info.handle for info in sessions.of_user("7")] == [digest(old.session_key)]

    def test_stays_there_if_it_is_larger_than_the_limit(self, there, path, configure, do, caplog):
        old = begun(there, basket="".join(map(digest, map(str, range(500)))))
        configure(FALLBACK_ENGINES=[path], MAX_SIZE=4096, METRICS="tests.test_budgets.told")
        assert do(SessionStore(old.session_key).load) == {}
        assert f"A session was not adopted: The session {digest(old.session_key)}" in caplog.text
        assert there().exists(old.session_key)
        assert told.reasons.pop() == fallbacks.TOO_LARGE

    def test_is_written_here_from_then_on(self, there, do):
        old = begun(there, a=1)
        session = SessionStore(old.session_key)
        assert do(session.get, "a") == 1
        session["a"] = 2
        do(session.save)
        assert SessionStore(old.session_key)["a"] == 2
        assert there(old.session_key)["a"] == 1

    def test_is_saved_without_having_been_read(self, there, do):
        old = begun(there, a=1)
        session = SessionStore(old.session_key)
        do(session.save)
        assert SessionStore(old.session_key)["a"] == 1

    def test_is_only_asked_for_once(self, there, do, sent):
        old = begun(there, a=1)
        do(SessionStore(old.session_key).load)
        assert sent[0] == ["GET"]
        assert sent[1] == ["GET", "GET"]
        assert sent[2:] in ([["EVALSHA"], ["SET"]], [["EVALSHA"], ["EVAL"], ["SET"]])
        sent.clear()
        do(SessionStore(old.session_key).load)
        assert sent == [["GET"]]

    def test_tells_when_that_was(self, there, do):
        assert do(sessions.adopted) is None
        do(SessionStore(begun(there, a=1).session_key).load)
        assert abs(do(sessions.adopted).timestamp() - time.time()) <= 60

    def test_and_not_there_either_is_no_session(self, there, do, sent):
        session = SessionStore("x" * 32)
        assert do(session.load) == {}
        assert session.session_key is None
        assert sent == [["GET"], ["GET", "GET"]]

    def test_is_not_looked_for_under_text_that_is_no_key(self, there, do, sent):
        assert do(SessionStore("a b").load) == {}
        assert do(SessionStore().exists, "a b") is False
        do(SessionStore().delete, "a b")
        assert sent == []

    def test_exists(self, there, do):
        old = begun(there, a=1)
        assert do(SessionStore().exists, old.session_key) is True
        assert do(SessionStore().exists, "x" * 32) is False

    def test_keeps_its_key_from_being_taken(self, there, do):
        old = begun(there, a=1)
        with pytest.raises(CreateError):
            do(SessionStore(old.session_key).save, must_create=True)
        do(SessionStore("x" * 32).save, must_create=True)


class TestSigningOut:
    def test_ends_the_session_in_both(self, there, do):
        old = begun(there, "7")
        session = SessionStore(old.session_key)
        do(session.load)
        do(session.flush)
        assert not there().exists(old.session_key)
        assert not do(SessionStore().exists, old.session_key)

    def test_ends_a_session_that_was_never_read_here(self, there, do):
        old = begun(there, "7")
        do(SessionStore().delete, old.session_key)
        assert not there().exists(old.session_key)
        assert do(SessionStore(old.session_key).load) == {}

    def test_keeps_an_import_that_has_read_the_session_already_from_storing_it(self, there, path, do):
        old = begun(there, "7")
        arrival = SessionStore().arrival(old.session_key, dict(old.items()), 100, int(time.time()))
        do(SessionStore().delete, old.session_key)
        outcome = run(conf.store().connections.client(), arrivals.adopt(conf.store().keys, arrival))
        assert outcome is arrivals.Outcome.GONE

    def test_by_a_new_key_leaves_nothing_under_the_old_one(self, there, do):
        old = begun(there, "7")
        session = SessionStore(old.session_key)
        do(session.load)
        do(session.cycle_key)
        assert session.session_key != old.session_key
        assert not there().exists(old.session_key)
        assert do(SessionStore(old.session_key).load) == {}
        assert do(SessionStore(session.session_key).load)["_auth_user_id"] == "7"

    @pytest.mark.operator
    def test_there_while_it_is_adopted_wins(self, there, do, monkeypatch):
        old = begun(there, "7")
        adopt = arrivals.adopt

        def signed_out_just_before(keys, arrival):
            aside(there(old.session_key).delete)
            return (yield from adopt(keys, arrival))

        monkeypatch.setattr(arrivals, "adopt", signed_out_just_before)
        assert do(SessionStore(old.session_key).load) == {}
        assert sessions.count() == 0
        assert sessions.of_user("7") == []

    def test_by_somebody_else_is_not_undone(self, there, do):
        old = begun(there, "7")
        do(SessionStore(old.session_key).load)
        assert sessions.revoke(digest(old.session_key))
        assert there().exists(old.session_key)
        session = SessionStore(old.session_key)
        assert do(session.load) == {}
        assert not do(SessionStore().exists, old.session_key)

    def test_everywhere_holds_for_what_is_still_there(self, there, do):
        old = begun(there, "7")
        sessions.revoke_user("7")
        assert do(SessionStore(old.session_key).load) == {}


class TestRequestsAtTheSameTime:
    def test_adopt_a_session_once(self, interrupt, there, do):
        old = begun(there, a=1)

        def rival():
            session = SessionStore(old.session_key)
            session["b"] = 2
            session.save()

        for before in (1, 2, 3, 4):
            old = begun(there, a=1)
            with interrupt(by=lambda: aside(rival), before=before) as race:
                session = SessionStore(old.session_key)
                data = do(session.load)
            assert race.happened
            assert data["a"] == 1
            session["c"] = 3
            do(session.save)
            assert {"a": 1, "b": 2, "c": 3}.items() <= dict(SessionStore(old.session_key).items()).items()

    def test_that_sign_out_are_not_undone(self, interrupt, there, do):
        for before in (1, 2, 3, 4):
            old = begun(there, "7")
            with interrupt(by=lambda: aside(SessionStore(old.session_key).flush), before=before) as race:  # noqa: B023
                do(SessionStore(old.session_key).load)
            assert race.happened
            assert not SessionStore().exists(old.session_key), before
            assert not there().exists(old.session_key)

    @pytest.mark.parametrize("name", ["cache", "file"])
    def test_in_threads_lose_nothing(self, there):
        for _ in range(5):
            old = begun(there, a=1)

            def work(own):
                session = SessionStore(old.session_key)  # noqa: B023
                assert session["a"] == 1
                session[f"key{own}"] = own
                session.save()

            in_threads(work, 8)
            assert len(SessionStore(old.session_key).load()) == 9

    @pytest.mark.parametrize("name", ["cache", "file"])
    def test_in_tasks_lose_nothing(self, there, runner):
        old = begun(there, a=1)

        async def work(own):
            session = SessionStore(old.session_key)
            assert await session.aget("a") == 1
            await session.aset(f"key{own}", own)
            await session.asave()

        async def together():
            await asyncio.gather(*[work(own) for own in range(8)])

        runner.run(together())
        assert len(SessionStore(old.session_key).load()) == 9


class TestAFallbackThatFails:
    def test_is_not_no_session(self, there, name, do, monkeypatch):
        old = begun(there, a=1)
        begin_to_fail(name, there, monkeypatch)
        session = SessionStore(old.session_key)
        with pytest.raises(errors.OtherEngineUnavailable) as caught:
            do(session.load)
        assert caught.value.engine == DJANGO + name
        assert old.session_key not in str(caught.value)
        assert session.session_key == old.session_key

    def test_says_so_at_sign_out_and_lets_nobody_back_in(self, there, name, do, monkeypatch):
        old = begun(there, "7")
        do(SessionStore(old.session_key).load)
        with monkeypatch.context() as patch:
            begin_to_fail(name, there, patch)
            with pytest.raises(errors.OtherEngineUnavailable):
                do(SessionStore().delete, old.session_key)
        assert there().exists(old.session_key)
        assert do(SessionStore(old.session_key).load) == {}

    def test_does_not_cost_a_visitor_the_new_key(self, there, name, do, monkeypatch, caplog):
        """Who signs in beside the outage would keep a key that is worthless by then."""
        old = begun(there, "7")
        session = SessionStore(old.session_key)
        do(session.load)
        with monkeypatch.context() as patch:
            begin_to_fail(name, there, patch)
            do(session.cycle_key)
        assert "still in another engine" in caplog.text
        assert old.session_key not in caplog.text
        assert do(SessionStore(session.session_key).load)["_auth_user_id"] == "7"
        assert there().exists(old.session_key)
        assert do(SessionStore(old.session_key).load) == {}


def begin_to_fail(name, there, patch):
    def fail(*args, **kwargs):
        raise RuntimeError("down")

    if name in ("db", "cached_db"):
        hide_the_table(patch)
    elif name == "cache":
        patch.setattr(type(caches["default"]), "get", fail)
        patch.setattr(type(caches["default"]), "delete", fail)
    else:
        patch.setattr(there, "_key_to_file", fail)


class TestAnEngineOfSomebodyElse:
    @pytest.fixture
    def name(self):
        return "db"

    def test_is_asked_as_django_asks_it(self, there, configure, do):
        configure(FALLBACK_ENGINES=["tests.memory_engine"])
        old = begun(memory_engine.SessionStore, a=1)
        session = SessionStore(old.session_key)
        assert do(session.load) == {"a": 1}
        assert do(SessionStore("x" * 32).load) == {}
        do(session.flush)
        assert not memory_engine.SessionStore().exists(old.session_key)
        with pytest.raises(errors.SessionStoreMisconfigured, match="Nothing is known"):
            sessions.import_from("tests.memory_engine")

    def test_that_fails_is_not_no_session(self, there, configure, do, monkeypatch):
        configure(FALLBACK_ENGINES=["tests.memory_engine"])

        def fail(self):
            raise OSError("down")

        async def afail(self):
            raise OSError("down")

        monkeypatch.setattr(memory_engine.SessionStore, "load", fail)
        monkeypatch.setattr(memory_engine.SessionStore, "aload", afail)
        with pytest.raises(errors.OtherEngineUnavailable):
            do(SessionStore("x" * 32).load)


class TestACacheThatTellsNoLives:
    @pytest.mark.parametrize("name", ["cache"])
    def test_gives_all_of_the_life_again(self, there, settings, do, behind):
        settings.CACHES = {"default": settings.CACHES["here"]}
        old = there()
        old["a"] = 1
        old.set_expiry(500)
        old.save()
        assert do(SessionStore(old.session_key).load)["a"] == 1
        assert 490 <= ttl(behind, old.session_key) <= 500


class TestWhatIsNotAdopted:
    @pytest.mark.operator
    @pytest.mark.parametrize("name", ["db"])
    def test_is_empty_unreadable_or_over(self, there, path, configure, do):
        old = begun(there, a=1)
        del old["a"]
        old.save()
        assert do(SessionStore(old.session_key).load) == {}
        tired = begun(there, "7")
        Session.objects.filter(session_key=tired.session_key).update(
            expire_date=timezone.now() + timezone.timedelta(days=1)
        )
        configure(FALLBACK_ENGINES=[path], ABSOLUTE_TTL=86_400)
        assert do(SessionStore(tired.session_key).load) == {}
        assert sessions.count() == 0


class TestSeveralEngines:
    @pytest.mark.parametrize("name", ["db"])
    def test_are_asked_in_their_order(self, there, configure, do):
        configure(FALLBACK_ENGINES=[DJANGO + "cache", DJANGO + "db"])
        old = begun(there, a=1)
        assert do(SessionStore().exists, old.session_key) is True
        assert do(SessionStore(old.session_key).load) == {"a": 1}


class TestWithoutFallbacks:
    def test_nothing_else_is_said_or_asked(self, store, do, monkeypatch):
        monkeypatch.setattr(engines, "engine", None)
        commands = []
        watch(monkeypatch, store, lambda command: commands.append(command[0]))
        assert do(SessionStore("x" * 32).load) == {}
        assert do(SessionStore().exists, "x" * 32) is False
        do(SessionStore().delete, "x" * 32)
        assert [command for command in commands if command != "EVAL"] == ["GET", "EXISTS", "EVALSHA"]


class TestTheSetting:
    @pytest.mark.parametrize(
        ("given", "number"),
        [
            ("django.contrib.sessions.backends.db", "E003"),
            ([1], "E003"),
            (["not a path"], "E003"),
            (["nowhere.to_be_found"], "E006"),
            ([DJANGO + "signed_cookies"], "E006"),
            (["django_redis_sessions.backend"], "E006"),
        ],
    )
    def test_that_cannot_be_used_is_reported(self, settings, given, number):
        settings.SESSION_REDIS = {"FALLBACK_ENGINES": given}
        (found,) = [*checks.check_settings(), *checks.check_fallbacks()]
        assert found.id == f"django_redis_sessions.{number}"

    def test_that_can_be_used_is_not(self, settings):
        settings.SESSION_REDIS = {"FALLBACK_ENGINES": [DJANGO + "db", DJANGO + "cached_db"]}
        assert [*checks.check_settings(), *checks.check_fallbacks()] == []
        assert engines.engine(DJANGO + "cached_db").path == DJANGO + "cached_db"


class TestSigningOutWhereNothingIsKnown:
    def test_of_an_old_engine_stays_quick(self, store, do):
        session = begun(SessionStore, "7")
        do(session.flush)
        assert sessions.of_user("7") == []
