"""All sessions of another engine come here, and go there again."""

import io
import json
import os
import time

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_redis_sessions import arrivals, conf, engines, errors, records, sessions, walks
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.executors import run
from django_redis_sessions.keys import digest
from django_redis_sessions.legacy import Legacy
from django_redis_sessions.sessions import moving
from tests.other_engines import DJANGO, NAMES, begun, close_databases, hide_the_table, use
from tests.rivals import in_threads

pytestmark = [
    pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store"), pytest.mark.socket, pytest.mark.operator
]  # fmt: skip

LEGACY = "redis_sessions.session"
BUILT_IN_LIFE = 14 * 86_400


@pytest.fixture(autouse=True)
def tidy(runner):
    """Leave no connection to a database behind in the thread that awaited code uses."""
    yield
    runner.run(sync_to_async(close_databases)())


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def there(name, settings, server, prefix, tmp_path, monkeypatch):
    """The other engine's ``SessionStore``."""
    return use(name, settings, server, prefix, tmp_path, monkeypatch)


@pytest.fixture
def path(name):
    return DJANGO + name


def read(server, prefix, session_keys):
    return Legacy(f"unix://{server.socket}", f"{prefix}:old")._read(session_keys)


def ttl(behind, session_key):
    return behind.ttl(conf.store().keys.record(session_key))


def handle_of(session_key):
    return conf.store().keys.handle_of(conf.store().keys.name(session_key))


def call(*arguments):
    out = io.StringIO()
    call_command("redis_sessions", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


class TestImporting:
    def test_brings_live_sessions_under_their_keys_with_what_is_left_of_their_life(
        self, there, path, do, behind
    ):
        alice, guest = begun(there, "7", cart=[1, {"tea": 2}]), begun(there, colour="blue")
        short = there()
        short["a"] = 1
        short.set_expiry(500)
        short.save()
        moved = do(sessions.import_from, path)
        assert moved == sessions.Moved(found=3, moved=3)
        assert dict(SessionStore(alice.session_key).items()) == dict(alice.items())
        assert SessionStore(guest.session_key)["colour"] == "blue"
        assert BUILT_IN_LIFE - 10 <= ttl(behind, alice.session_key) <= BUILT_IN_LIFE
        assert 490 <= ttl(behind, short.session_key) <= 500
        assert there(alice.session_key)["cart"] == [1, {"tea": 2}]

    def test_notes_who_is_signed_in(self, there, path, do):
        session = begun(there, "7")
        do(sessions.import_from, path)
        (info,) = sessions.of_user("7")
        assert info.handle == handle_of(session.session_key)
        assert info.user_id == "7"
        assert sessions.revoke_user("7") == 1

    def test_again_changes_nothing(self, there, path, do):
        session = begun(there, a=1)
        do(sessions.import_from, path)
        changed = SessionStore(session.session_key)
        changed["a"] = 2
        changed.save()
        assert do(sessions.import_from, path) == sessions.Moved(found=1, known=1)
        assert SessionStore(session.session_key)["a"] == 2

    def test_never_brings_back_who_has_signed_out(self, there, path, do):
        session = begun(there, "7")
        do(sessions.import_from, path)
        SessionStore(session.session_key).flush()
        assert do(sessions.import_from, path) == sessions.Moved(found=1, known=1)
        assert not SessionStore().exists(session.session_key)

    @pytest.mark.parametrize("end", ["revoke", "purge", "cycle"])
    def test_never_brings_back_what_ended_in_another_way(self, there, path, end):
        session = begun(there, "7")
        sessions.import_from(path)
        if end == "revoke":
            assert sessions.revoke(handle_of(session.session_key))
        elif end == "purge":
            assert sessions.purge() == 1
        else:
            SessionStore(session.session_key).cycle_key()
        assert sessions.import_from(path).known == 1
        assert not SessionStore().exists(session.session_key)

    def test_leaves_out_users_whose_sessions_were_just_revoked(self, there, path, do):
        begun(there, "7")
        sessions.revoke_user("7")
        assert do(sessions.import_from, path) == sessions.Moved(found=1, ended=1)
        assert sessions.count() == 0

    def test_leaves_out_who_signs_out_there_meanwhile(self, there, path, do, monkeypatch):
        session, other = begun(there, "7"), begun(there, "7")
        adopt_all = arrivals.adopt_all

        def signed_out_just_before(keys, made):
            if made and there().exists(session.session_key):
                there(session.session_key).delete()
            return adopt_all(keys, made)

        monkeypatch.setattr(arrivals, "adopt_all", signed_out_just_before)
        assert do(sessions.import_from, path) == sessions.Moved(found=2, moved=1, ended=1)
        assert not SessionStore().exists(session.session_key)
        assert [info.handle for info in sessions.of_user("7")] == [handle_of(other.session_key)]

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_leaves_out_and_counts_what_is_larger_than_the_limit(
        self, there, path, configure, dry_run, caplog
    ):
        session = begun(there, basket="".join(map(digest, map(str, range(500)))))
        begun(there, "7")
        configure(MAX_SIZE=4096)
        moved = sessions.import_from(path, dry_run=dry_run)
        assert moved == sessions.Moved(found=2, moved=1, too_large=1)
        assert digest(session.session_key) in caplog.text
        assert "left out: larger than MAX_SIZE" in call("import", "--from", path)

    def test_only_counts_in_a_dry_run(self, there, path, do, behind, prefix):
        begun(there, "7")
        assert do(sessions.import_from, path, dry_run=True) == sessions.Moved(found=1, moved=1)
        assert not list(behind.scan_iter(f"{prefix}:[rxu]:*"))

    def test_leaves_out_what_is_empty(self, there, path):
        session = begun(there, a=1)
        del session["a"]
        session.save()
        assert sessions.import_from(path).moved == 0

    def test_goes_through_pages(self, there, path, monkeypatch):
        monkeypatch.setattr(engines, "BATCH", 3)
        keys = {begun(there, number=number).session_key for number in range(10)}
        reports = []
        assert sessions.import_from(path, progress=reports.append).moved == 10
        assert all(SessionStore().exists(session_key) for session_key in keys)
        assert reports[-1].seen == 10
        assert len(reports) >= 4

    def test_keeps_to_the_absolute_limit(self, there, path, configure):
        session = begun(there, "7")
        configure(ABSOLUTE_TTL=100)
        assert sessions.import_from(path).moved == 1
        assert SessionStore(session.session_key).load()


class TestImportingUnderTraffic:
    """Real threads: visitors sign out and change their sessions while they are imported, more than once."""

    @pytest.mark.parametrize("name", ["cache", "file"])
    def test_revives_nobody_and_overwrites_nothing(self, there, path, configure, monkeypatch):
        configure(FALLBACK_ENGINES=[path])
        monkeypatch.setattr(engines, "BATCH", 7)
        keys = [begun(there, "7", number=number).session_key for number in range(60)]
        leaving, changing = keys[::2], keys[1::2]

        def work(own):
            if own == 0 or own == 1:
                for _ in range(3):
                    sessions.import_from(path)
            elif own == 2:
                for session_key in leaving:
                    SessionStore(session_key).flush()
            elif own == 3:
                for session_key in reversed(changing):
                    session = SessionStore(session_key)
                    session["changed"] = session["number"]
                    session.save()

        in_threads(work, 4)
        sessions.import_from(path)
        assert [key for key in leaving if SessionStore().exists(key) or there().exists(key)] == []
        for session_key in changing:
            session = SessionStore(session_key)
            assert session["changed"] == session["number"]
        assert len(sessions.of_user("7")) == len(changing)


class TestImportingThroughAnOutage:
    @pytest.mark.parametrize("name", ["db"])
    @pytest.mark.parametrize("after", range(9))
    @pytest.mark.parametrize("is_said", [True, False])
    def test_goes_on_where_it_was(self, there, path, monkeypatch, interrupted, is_said, after):
        keys = [begun(there, number=number).session_key for number in range(5)]
        monkeypatch.setattr(engines, "BATCH", 2)
        rests = interrupted(after, times=1, is_said=is_said)
        assert sessions.import_from(path, patience=5) == sessions.Moved(found=5, moved=5)
        assert rests == [0.1]
        assert all(SessionStore().exists(session_key) for session_key in keys)

    @pytest.mark.parametrize("name", ["db"])
    def test_gives_up_at_last(self, there, path, interrupted):
        begun(there, a=1)
        rests = interrupted(0, times=100)
        with pytest.raises(errors.SessionStoreUnavailable):
            sessions.import_from(path, patience=5)
        assert 5 <= sum(rests) < 10


class TestExportingThroughAnOutage:
    @pytest.fixture
    def name(self):
        return "db"

    @pytest.fixture
    def many(self, there, configure, monkeypatch):
        configure(KEYS="plain")
        monkeypatch.setattr(walks, "LOOK", 10)
        return [begun(SessionStore, number=number).session_key for number in range(50)]

    @pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 9])
    @pytest.mark.parametrize("is_said", [True, False])
    def test_goes_on_where_it_was(self, many, there, path, interrupted, is_said, after):
        rests = interrupted(after, times=2, is_said=is_said)
        assert sessions.export_to(path, patience=5) == sessions.Moved(found=50, moved=50)
        assert rests == [0.1, 0.2]
        assert all(there().exists(session_key) for session_key in many)

    @pytest.mark.parametrize("after", range(1, 20, 3))
    def test_begins_again_where_a_cursor_means_nothing(self, many, there, path, interrupted, after):
        interrupted(after, times=1, is_restarted=True)
        moved = sessions.export_to(path, patience=5)
        assert (moved.moved, moved.found) == (50, 50 + moved.known)
        assert all(there().exists(session_key) for session_key in many)

    def test_counts_nothing_twice_in_a_dry_run(self, many, path, interrupted):
        interrupted(1, times=1, is_restarted=True)
        with pytest.raises(errors.SessionStoreUnavailable, match="Begin again"):
            sessions.export_to(path, dry_run=True, patience=5)


class TestImportingFromADatabase:
    @pytest.fixture
    def name(self):
        return "db"

    def test_passes_over_what_is_over(self, there, path):
        session = begun(there, a=1)
        Session.objects.update(expire_date=timezone.now())
        assert sessions.import_from(path) == sessions.Moved()
        assert not SessionStore().exists(session.session_key)

    def test_passes_over_what_cannot_be_read(self, there, path):
        begun(there, a=1)
        Session.objects.update(session_data="nonsense")
        begun(there, a=1)
        assert sessions.import_from(path) == sessions.Moved(found=2, moved=1, skipped=1)

    def test_passes_over_what_is_no_session_key(self, there, path):
        begun(there, a=1)
        Session.objects.update(session_key="ü")
        assert sessions.import_from(path) == sessions.Moved(found=1, skipped=1)

    def test_is_no_faster_than_told(self, there, path, monkeypatch):
        slept = []
        monkeypatch.setattr(moving, "sleep", slept.append)
        for _ in range(3):
            begun(there, a=1)
        sessions.import_from(path, rate=2)
        assert slept == [1.5]

    def test_that_is_down_is_an_error(self, there, path, monkeypatch):
        hide_the_table(monkeypatch)
        with pytest.raises(errors.OtherEngineUnavailable, match="OperationalError"):
            sessions.import_from(path)

    def test_tells_when_a_session_was_last_seen(self, there, path):
        session = begun(there, "7")
        Session.objects.update(expire_date=timezone.now() + timezone.timedelta(days=10))
        sessions.import_from(path)
        info = sessions.get(handle_of(session.session_key))
        assert abs((timezone.now() - info.last_seen).total_seconds() - 4 * 86_400) < 5
        assert abs((info.expires - timezone.now()).total_seconds() - 10 * 86_400) < 5


class TestImportingFromACache:
    @pytest.fixture
    def name(self):
        return "cache"

    def test_passes_over_what_has_gone_since_it_was_listed(self, there, path, behind, prefix):
        begun(there, a=1)
        # Listed by its name, and no value of the cache any more.
        behind.hset(f"{prefix}:[c]:1:{there.cache_key_prefix}{'x' * 32}", "a", 1)
        behind.expire(f"{prefix}:[c]:1:{there.cache_key_prefix}{'x' * 32}", 60)
        assert sessions.import_from(path) == sessions.Moved(found=1, moved=1)

    def test_on_another_alias(self, there, path, do):
        session = there()
        session._cache = caches["extra"]
        session["a"] = 1
        session.save()
        assert do(sessions.import_from, path) == sessions.Moved()
        assert do(sessions.import_from, path, cache="extra") == sessions.Moved(found=1, moved=1)
        assert SessionStore(session.session_key)["a"] == 1

    def test_asks_for_a_page_at_a_time(self, there, path, monkeypatch):
        asked = []
        kind = type(caches["default"])

        def counted(name):
            ask = getattr(kind, name)
            return lambda cache, *args: asked.append(name) or ask(cache, *args)

        for name in ("get_many", "get", "has_key"):
            monkeypatch.setattr(kind, name, counted(name))
        for at in range(20):
            begun(there, a=at)
        asked.clear()
        assert sessions.import_from(path).moved == 20
        assert asked == ["get_many"]

    def test_takes_the_life_that_redis_knows(self, there, path, behind):
        session = begun(there, a=1)
        (key,) = behind.scan_iter(f"*{session.session_key}")
        behind.expire(key, 300)
        sessions.import_from(path)
        assert 290 <= ttl(behind, session.session_key) <= 300

    def test_is_alone_in_its_cache_and_version(self, there, path):
        caches["default"].set("django.contrib.sessions.cachexx", {"a": 1})
        caches["default"].set("other", {"a": 1})
        caches["default"].set("django.contrib.sessions.cache" + "x" * 32, {"a": 1}, version=2)
        caches["default"].set("django.contrib.sessions.cache" + "y" * 32, "no session")
        assert sessions.import_from(path) == sessions.Moved(found=1, skipped=1)

    def test_that_has_no_list_says_what_to_do(self, there, path):
        with pytest.raises(errors.SessionStoreMisconfigured, match=r"no list of its keys.*FALLBACK_ENGINES"):
            sessions.import_from(path, cache="here")

    def test_whose_keys_cannot_be_told_says_what_to_do(self, there, path, settings):
        settings.CACHES = {
            "default": {**settings.CACHES["default"], "KEY_FUNCTION": lambda key, prefix, version: f"{key}!"}
        }
        with pytest.raises(errors.SessionStoreMisconfigured, match="KEY_FUNCTION"):
            sessions.import_from(path)


class TestImportingFromFiles:
    @pytest.fixture
    def name(self):
        return "file"

    def test_passes_over_other_files_and_what_is_over(self, there, path, tmp_path):
        for name in ("sessionid", "sessionid.bak", "sessionid" + "_" * 20, "notes"):
            (tmp_path / name).write_text("x")
        session = begun(there, a=1)
        long_ago = time.time() - BUILT_IN_LIFE - 1
        os.utime(tmp_path / f"sessionid{session.session_key}", (long_ago, long_ago))
        assert sessions.import_from(path) == sessions.Moved()


class TestImportingFromTheLegacyPackage:
    @pytest.fixture
    def legacy(self, behind, prefix):
        """Stores a session as that package does."""

        def store(start, life=1000, **data):
            session_key = "legacy" + os.urandom(13).hex()
            # The class has the same name as that package's, which is what counts for the signature.
            behind.set(f"{start}{session_key}", DatabaseStore().encode(data), ex=life)
            return session_key

        return store

    def test_with_a_prefix(self, legacy, server, prefix, behind, do):
        session_key = legacy(f"{prefix}:old:", _auth_user_id="7", a=1)
        url = {"legacy_url": f"unix://{server.socket}", "legacy_prefix": f"{prefix}:old"}
        assert do(sessions.import_from, LEGACY, dry_run=True, **url) == sessions.Moved(found=1, moved=1)
        assert do(sessions.import_from, LEGACY, **url) == sessions.Moved(found=1, moved=1)
        assert SessionStore(session_key)["a"] == 1
        assert 990 <= ttl(behind, session_key) <= 1000
        assert len(sessions.of_user("7")) == 1
        SessionStore(session_key).flush()
        assert do(sessions.import_from, LEGACY, **url) == sessions.Moved(found=1, known=1)

    def test_under_the_prefix_that_is_used_here(self, legacy, server, prefix, do):
        session_key = legacy(f"{prefix}:", a=1)
        SessionStore().save()
        moved = do(sessions.import_from, LEGACY, legacy_url=f"unix://{server.socket}", legacy_prefix=prefix)
        assert moved == sessions.Moved(found=1, moved=1)
        assert SessionStore(session_key)["a"] == 1

    def test_without_a_prefix(self, legacy, server, behind):
        session_key = legacy("", a=1)
        try:
            assert sessions.import_from(LEGACY, legacy_url=f"unix://{server.socket}").moved == 1
        finally:
            behind.unlink(session_key)
        assert SessionStore(session_key)["a"] == 1

    def test_finds_none_where_there_are_none(self, server, prefix):
        assert [*Legacy(f"unix://{server.socket}", f"{prefix}:old").pages()] == []

    def test_is_asked_for_one_session(self, legacy, server, prefix):
        session_key = legacy(f"{prefix}:old:", a=1)
        empty = legacy(f"{prefix}:old:")
        other = Legacy(f"unix://{server.socket}", f"{prefix}:old")
        found = other.find(session_key)
        assert found.data == {"a": 1}
        assert 990 <= found.life <= 1000
        assert other.find(empty) is None
        assert other.find("x" * 32) is None
        assert other.exists(session_key)
        other.delete(session_key)
        assert not other.exists(session_key)

    def test_fails_rather_than_leave_behind_what_it_may_not_read(self, legacy, server, prefix, behind):
        session_key = legacy(f"{prefix}:old:", a=1)
        user = f"reader-of-{prefix}"
        behind.execute_command("ACL", "SETUSER", user, "on", ">pw", f"~{prefix}:*", "+scan", "+pttl")
        try:
            other = Legacy(f"unix://{user}:pw@{server.socket}", f"{prefix}:old")
            with pytest.raises(errors.SessionStoreMisconfigured):
                list(other.pages())
            with pytest.raises(errors.SessionStoreMisconfigured):
                other.find(session_key)
        finally:
            behind.execute_command("ACL", "DELUSER", user)

    def test_passes_over_what_has_gone_and_what_has_no_end(self, legacy, server, prefix, behind):
        session_key = legacy(f"{prefix}:old:", a=1)
        behind.persist(f"{prefix}:old:{session_key}")
        (listed,) = run(
            Legacy(f"unix://{server.socket}")._connections.client(),
            read(server, prefix, [session_key, "gone"]),
        )
        assert listed.life == BUILT_IN_LIFE
        behind.expire(f"{prefix}:old:{session_key}", 60)

    def test_needs_to_know_where(self):
        with pytest.raises(errors.SessionStoreMisconfigured, match="--legacy-url"):
            sessions.import_from(LEGACY)
        with pytest.raises(errors.SessionStoreMisconfigured, match="belong to"):
            sessions.import_from(DJANGO + "db", legacy_prefix="x")


class TestAnEngineThatNothingCanBeImportedFrom:
    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            (DJANGO + "signed_cookies", "in its visitor's browser"),
            ("django_redis_sessions.backend", "already"),
            ("nowhere.to_be_found", "no session engine"),
            ("json", "no session engine"),
        ],
    )
    def test_is_explained(self, path, reason):
        with pytest.raises(errors.SessionStoreMisconfigured, match=reason):
            sessions.import_from(path)
        with pytest.raises(CommandError, match=reason):
            call("import", "--from", path)

    def test_has_no_cache(self):
        with pytest.raises(errors.SessionStoreMisconfigured, match="CACHES"):
            sessions.import_from(DJANGO + "db", cache="default")


class TestExporting:
    @pytest.fixture(autouse=True)
    def plain(self, store, configure):
        configure(KEYS="plain")

    def test_copies_live_sessions_under_their_keys_with_what_is_left_of_their_life(self, there, path, do):
        alice = begun(SessionStore, "7", cart=[1, {"tea": 2}])
        short = SessionStore()
        short["a"] = 1
        short.set_expiry(500)
        short.save()
        assert do(sessions.export_to, path, dry_run=True) == sessions.Moved(found=2, moved=2)
        assert not there().exists(alice.session_key)
        assert do(sessions.export_to, path) == sessions.Moved(found=2, moved=2)
        assert dict(there(alice.session_key).items()) == dict(alice.items())
        found = engines.engine(path).find(short.session_key)
        assert 490 <= found.life <= 500
        assert SessionStore().exists(alice.session_key)

    def test_again_changes_nothing(self, there, path, do):
        session = begun(SessionStore, a=1)
        do(sessions.export_to, path)
        changed = there(session.session_key)
        changed["a"] = 2
        changed.save()
        assert do(sessions.export_to, path) == sessions.Moved(found=1, known=1)
        assert there(session.session_key)["a"] == 2

    def test_never_brings_back_who_has_signed_out_there(self, there, path, do):
        session = begun(SessionStore, "7")
        do(sessions.export_to, path)
        there(session.session_key).delete()
        assert do(sessions.export_to, path) == sessions.Moved(found=1, known=1)
        assert not there().exists(session.session_key)

    def test_replaces_the_copy_that_stayed_there(self, there, path, do):
        session = begun(there, a=1)
        sessions.import_from(path)
        changed = SessionStore(session.session_key)
        changed["a"] = 2
        changed.save()
        assert do(sessions.export_to, path) == sessions.Moved(found=1, moved=1)
        assert there(session.session_key)["a"] == 2

    def test_leaves_a_copy_that_was_changed_there(self, there, path, do):
        session = begun(there, a=1)
        sessions.import_from(path)
        changed = there(session.session_key)
        changed["a"] = 3
        changed.save()
        assert do(sessions.export_to, path) == sessions.Moved(found=1, known=1)
        assert there(session.session_key)["a"] == 3

    def test_leaves_out_who_signs_out_meanwhile(self, there, path, monkeypatch):
        session = begun(SessionStore, "7")
        copy = moving.copy

        def signed_out_just_before(*arguments):
            SessionStore(session.session_key).delete()
            return copy(*arguments)

        monkeypatch.setattr(moving, "copy", signed_out_just_before)
        assert sessions.export_to(path) == sessions.Moved(found=1, ended=1)
        assert not there().exists(session.session_key)

    @pytest.fixture
    def meanwhile(self, there, path, monkeypatch):
        """Does something to a session that has come, just before it is copied back."""
        session = begun(there, a=1)
        sessions.import_from(path)
        copy = moving.copy

        def set_up(act):
            def after_the_look(*arguments):
                act(there(session.session_key))
                return copy(*arguments)

            monkeypatch.setattr(moving, "copy", after_the_look)
            return session.session_key

        return set_up

    def test_leaves_a_copy_that_is_changed_there_meanwhile(self, there, path, meanwhile):
        def click(session):
            session["a"] = 3
            session.save()

        session_key = meanwhile(click)
        assert sessions.export_to(path) == sessions.Moved(found=1, known=1)
        assert there(session_key)["a"] == 3

    def test_leaves_out_who_signs_out_there_meanwhile(self, there, path, meanwhile):
        session_key = meanwhile(lambda session: session.delete())
        assert sessions.export_to(path) == sessions.Moved(found=1, known=1)
        assert not there().exists(session_key)

    def test_leaves_out_what_cannot_be_read(self, there, path, store, behind):
        session = begun(SessionStore, a=1)
        behind.set(conf.store().keys.record(session.session_key), b"\x01nonsense", ex=60)
        assert sessions.export_to(path) == sessions.Moved(found=1, skipped=1)

    def test_and_importing_again_keeps_everybody(self, there, path):
        session = begun(SessionStore, "7")
        sessions.export_to(path)
        sessions.purge()
        assert sessions.import_from(path).moved == 1
        assert SessionStore(session.session_key)["_auth_user_id"] == "7"


class TestExportingToFiles:
    @pytest.fixture
    def name(self):
        return "file"

    def test_leaves_one_that_begins_there_meanwhile(self, there, path, store, configure, monkeypatch):
        configure(KEYS="plain")
        session = begun(SessionStore, a=1)
        copy = moving.copy

        def begun_just_before(*arguments):
            rival = there(session.session_key)
            rival._session_cache = {"a": 2}
            rival.save(must_create=True)
            return copy(*arguments)

        monkeypatch.setattr(moving, "copy", begun_just_before)
        assert sessions.export_to(path) == sessions.Moved(found=1, known=1)
        assert there(session.session_key)["a"] == 2


class TestReplacingInADatabase:
    @pytest.fixture(params=["db", "cached_db"])
    def name(self, request):
        return request.param

    def test_gives_way_to_a_write_between_the_look_and_its_own(self, there, path):
        session = begun(there, a=1)

        def click(data):
            rival = there(session.session_key)
            rival["a"] = 2
            rival.save()
            return data == {"a": 1}

        assert not engines.engine(path).replace(session.session_key, engines.Found({"a": 3}, 60), click)
        assert there(session.session_key)["a"] == 2

    def test_asks_nobody_about_a_session_that_is_over(self, there, path):
        session = begun(there, a=1)
        Session.objects.update(expire_date=timezone.now())
        replacement = engines.Found({"a": 3}, 60)
        assert engines.engine(path).replace(session.session_key, replacement, lambda data: False)
        assert there(session.session_key)["a"] == 3


class TestExportingToAnEngineOfSomebodyElse:
    def test_is_refused(self, store, configure):
        configure(KEYS="plain")
        session = begun(SessionStore, a=1)
        with pytest.raises(errors.SessionStoreMisconfigured, match="Nothing is known"):
            sessions.export_to("tests.memory_engine")
        other = engines.engine("tests.memory_engine")
        with pytest.raises(errors.SessionStoreMisconfigured, match="Nothing is known"):
            other.replace(session.session_key, engines.Found({}, 1), bool)


class TestExportingHashedKeys:
    def test_is_explained(self):
        with pytest.raises(errors.SessionStoreMisconfigured, match=r"django_redis_sessions\.leaving\.db"):
            sessions.export_to(DJANGO + "db")


class TestTheCommand:
    @pytest.fixture
    def name(self):
        return "db"

    def test_imports_and_reports(self, there, path):
        begun(there, a=1)
        assert json.loads(call("import", "--from", path, "--dry-run", "--json")) == {
            "found": 1, "moved": 1, "known": 0, "ended": 0, "skipped": 0, "too_large": 0, "dry_run": True
        }  # fmt: skip
        out = call("import", "--from", path)
        assert out.startswith("1 live session found.\n           1  copied\n")
        call_command("redis_sessions", "import", "--from", path, verbosity=0)
        assert "           1  would be copied\n" not in call("import", "--from", path, "--dry-run")

    def test_exports_and_reports(self, there, path, configure):
        configure(KEYS="plain")
        begun(SessionStore, a=1)
        assert "1  copied\n" in call("export", "--to", path, "--rate", "1000")
        assert json.loads(call("export", "--to", path, "--json"))["known"] == 1


class TestARecordThatHasCome:
    @pytest.mark.parametrize("name", ["db"])
    def test_leaves_a_mark_that_outlives_it(self, there, path, behind):
        session = begun(there, a=1)
        sessions.import_from(path)
        keys = conf.store().keys
        mark = keys.mark(keys.name(session.session_key))
        assert 0 <= behind.ttl(mark) - ttl(behind, session.session_key) - arrivals.MARK_GRACE <= 1
        header = records.header_of(behind.get(keys.record(session.session_key)))
        assert header.expires == header.touched + header.ttl
