"""Django's session contract, row by row; ``do`` runs each test blocking and awaited."""

import json
import logging
import pickle
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.contrib.sessions.serializers import JSONSerializer
from django.core.management import call_command
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions.backend import SessionStore
from django_redis_sessions.errors import CorruptRecord, SessionStoreRefused
from django_redis_sessions.keys import digest
from django_redis_sessions.records import Codec, Header, header_of
from tests.test_operations import HOSTILE

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def saved(do):
    """A stored session with one key in it."""
    session = SessionStore()
    session["item"] = "value"
    do(session.save)
    return session


def reopened(session):
    return SessionStore(session.session_key)


class PickleSerializer:
    """What projects with old pickled data use, on their own responsibility."""

    def dumps(self, obj):
        return pickle.dumps(obj)

    def loads(self, data):
        return pickle.loads(data)  # noqa: S301 - that is what this class is about


class TestANewSession:
    def test_does_no_io_when_it_is_made(self, configure):
        configure(URL="unix:///nowhere/redis.sock")
        session = SessionStore("some-session-key")
        assert not hasattr(session, "_session_cache")
        assert not session.accessed
        assert not session.modified

    def test_without_a_key_is_loaded_without_io(self, configure, do):
        configure(URL="unix:///nowhere/redis.sock")
        assert do(SessionStore().load) == {}
        assert do(SessionStore().exists, None) is False
        assert do(SessionStore().exists, "") is False
        do(SessionStore().delete)
        do(SessionStore().flush)

    def test_is_stored_by_its_first_save_even_when_empty(self, do):
        session = SessionStore()
        do(session.save)
        assert len(session.session_key) == 32
        assert do(session.exists, session.session_key) is True

    def test_is_stored_by_a_save_that_must_create(self, do):
        session = SessionStore()
        do(session.save, must_create=True)
        assert do(session.exists, session.session_key) is True

    def test_is_stored_with_what_it_holds(self, do):
        session = SessionStore()
        session["item"] = 1
        do(session.create)
        assert session.modified
        assert session["item"] == 1
        assert do(reopened(session).load) == {"item": 1}

    def test_gets_another_key_with_every_create(self, do):
        session = SessionStore()
        do(session.create)
        first = session.session_key
        do(session.create)
        assert session.session_key != first

    def test_gives_up_when_every_key_collides(self, do, saved, monkeypatch):
        monkeypatch.setattr(SessionStore, "_new_session_key", lambda self: saved.session_key)
        with pytest.raises(SessionStoreRefused, match="No unused session key"):
            do(SessionStore().create)
        assert do(reopened(saved).load) == {"item": "value"}


class TestLoading:
    def test_gives_what_was_saved(self, do, saved):
        session = reopened(saved)
        assert do(session.get, "item") == "value"
        assert session.accessed
        assert not session.modified

    def test_goes_to_the_store_every_time_and_keeps_the_cache(self, do, saved):
        session = reopened(saved)
        session["local"] = 1
        assert do(session.load) == {"item": "value"}
        assert session["local"] == 1

    def test_of_an_unknown_key_takes_the_key_away_and_creates_nothing(self, do, behind, prefix):
        session = SessionStore("someunknownsessionkey")
        assert do(session.load) == {}
        assert session.session_key is None
        assert not list(behind.scan_iter(f"{prefix}:*"))

    def test_of_overlong_text_is_an_unknown_session(self, do):
        session = SessionStore()
        session._session_key = "abcdefghijklmnopqrstuvwxyz0123456789" * 20
        assert do(session.load) == {}
        assert session.session_key is None


class TestAHostileCookie:
    @pytest.mark.parametrize("cookie", HOSTILE)
    @pytest.mark.parametrize("scheme", ["hashed", "plain"])
    def test_is_an_unknown_session_and_costs_no_round_trip(self, do, configure, cookie, scheme):
        configure(KEYS=scheme, URL="unix:///nowhere/redis.sock")
        assert do(SessionStore(cookie).load) == {}
        assert do(SessionStore().exists, cookie) is False
        do(SessionStore().delete, cookie)
        do(SessionStore(cookie).flush)

    @pytest.mark.parametrize("scheme", ["hashed", "plain"])
    def test_cannot_name_a_key_of_somebody_else(self, do, configure, behind, prefix, scheme):
        configure(KEYS=scheme)
        behind.set(f"{prefix}:user:1", "index", ex=60)
        behind.set("victim-of-another-app", "x", ex=60)
        for cookie in (f"{prefix}:user:1", "user:1", "../user:1", "victim-of-another-app"):
            do(SessionStore(cookie).flush)
            do(SessionStore(cookie).delete)
        assert behind.delete(f"{prefix}:user:1", "victim-of-another-app") == 2

    def test_starts_a_new_session_when_the_view_writes(self, do):
        session = SessionStore("{'; FLUSHALL'}" * 10)
        session["item"] = 1
        do(session.save)
        assert len(session.session_key) == 32


class TestSaving:
    def test_an_existing_session_replaces_its_record(self, do, saved):
        session = reopened(saved)
        session["item"] = "other"
        do(session.save)
        assert do(reopened(saved).load) == {"item": "other"}

    def test_a_deleted_session_never_brings_it_back(self, do, saved):
        slow = reopened(saved)
        slow["item"] = "late"
        do(saved.delete)
        with pytest.raises(UpdateError):
            do(slow.save)
        assert do(slow.exists, slow.session_key) is False

    def test_an_unknown_session_that_was_never_loaded_is_refused(self, do):
        with pytest.raises(UpdateError):
            do(SessionStore("someunknownsessionkey").save)

    def test_an_unknown_session_that_was_loaded_makes_a_new_one(self, do):
        session = SessionStore("someunknownsessionkey")
        session["item"] = 1
        do(session.save)
        assert session.session_key != "someunknownsessionkey"
        assert do(reopened(session).load) == {"item": 1}

    def test_over_a_taken_key_is_refused(self, do, saved):
        rival = reopened(saved)
        with pytest.raises(CreateError):
            do(rival.save, must_create=True)
        assert do(reopened(saved).load) == {"item": "value"}

    def test_under_a_chosen_free_key_creates_it(self, do):
        session = SessionStore("chosen-by-an-import-00000000000")
        do(session.save, must_create=True)
        assert do(session.exists, "chosen-by-an-import-00000000000") is True

    def test_that_must_create_does_not_load(self, do, configure, saved):
        session = SessionStore("chosen-by-an-import-00000000000")
        session._get_session(no_load=True)["item"] = 2
        do(session.save, must_create=True)
        assert do(reopened(session).load) == {"item": 2}

    def test_keeps_nested_changes(self, do, saved):
        session = reopened(saved)
        session["cart"] = {"x": 1}
        do(session.save)
        again = reopened(saved)
        again["cart"]["x"] = 2
        again.modified = True
        do(again.save)
        assert do(reopened(saved).load)["cart"] == {"x": 2}

    def test_keeps_what_third_parties_write_past_the_setters(self, do, saved):
        session = reopened(saved)
        session._session["direct"] = 1
        do(session.save)
        assert do(reopened(saved).load)["direct"] == 1

    def test_forgets_removed_keys(self, do, saved):
        session = reopened(saved)
        del session["item"]
        do(session.save)
        assert do(reopened(saved).load) == {}

    def test_follows_the_rules_of_json(self, do, saved):
        saved["map"] = {1: (1, 2)}
        do(saved.save)
        assert do(reopened(saved).load)["map"] == {"1": [1, 2]}
        saved["bad"] = object()
        with pytest.raises(TypeError):
            do(saved.save)
        assert "bad" not in do(reopened(saved).load)


class TestDeleting:
    def test_ends_this_session_and_may_be_repeated(self, do, saved):
        do(saved.delete)
        do(saved.delete)
        assert do(saved.exists, saved.session_key) is False
        assert saved.session_key is not None

    def test_another_session_leaves_this_one_alone(self, do, saved):
        other = SessionStore()
        do(other.create)
        do(saved.delete, other.session_key)
        assert do(saved.exists, other.session_key) is False
        assert do(saved.exists, saved.session_key) is True

    def test_no_key_in_particular_is_no_text_at_all(self, do, saved):
        do(saved.delete, "")
        assert do(saved.exists, saved.session_key) is True

    def test_by_flush_forgets_everything_without_loading(self, do, saved):
        session = reopened(saved)
        do(session.flush)
        assert session.session_key is None
        assert session.modified
        assert session.accessed
        assert session.is_empty()
        assert do(session.exists, saved.session_key) is False


class TestCyclingTheKey:
    def test_keeps_the_data_in_order_and_ends_the_old_key(self, do, saved):
        saved.update({"b": 1, "a": 2})
        do(saved.save)
        session = reopened(saved)
        do(session.cycle_key)
        assert session.session_key != saved.session_key
        assert list(session.items()) == [("item", "value"), ("b", 1), ("a", 2)]
        assert do(session.exists, saved.session_key) is False
        assert do(reopened(session).load) == {"item": "value", "b": 1, "a": 2}
        assert session.modified

    def test_of_an_unsaved_session_stores_it(self, do):
        session = SessionStore()
        session["item"] = 1
        do(session.cycle_key)
        assert do(reopened(session).load) == {"item": 1}

    def test_of_an_unknown_session_starts_a_new_one(self, do):
        session = SessionStore("someunknownsessionkey")
        do(session.cycle_key)
        assert session.session_key not in (None, "someunknownsessionkey")


class TestExpiry:
    def ttl(self, behind, session, store):
        return behind.ttl(store.keys.record(session.session_key))

    @pytest.mark.parametrize(
        ("expiry", "ttl"),
        [
            (None, 1209600),
            (0, 1209600),
            (60, 60),
            (60.5, 61),
            (timedelta(hours=1), 3600),
            (10**12, 2**32 - 1),
        ],
    )
    def test_is_the_ttl_in_redis(self, do, behind, store, expiry, ttl):
        session = SessionStore()
        do(session.set_expiry, expiry)
        do(session.save)
        assert ttl - 10 <= self.ttl(behind, session, store) <= ttl

    def test_at_an_instant(self, do, behind, store):
        session = SessionStore()
        do(session.set_expiry, timezone.now() + timedelta(seconds=100))
        do(session.save)
        assert 97 <= self.ttl(behind, session, store) <= 100

    @pytest.mark.parametrize("expiry", [-1, -0.5, timedelta(seconds=-5), timedelta(milliseconds=1)])
    def test_in_the_past_ends_the_session_and_raises_nothing(self, do, saved, expiry):
        session = reopened(saved)
        do(session.set_expiry, expiry)
        do(session.save)
        assert session.session_key == saved.session_key
        assert do(session.exists, saved.session_key) is False

    def test_in_the_past_stores_no_new_session(self, do):
        session = SessionStore()
        do(session.set_expiry, -1)
        do(session.save)
        assert do(session.exists, session.session_key) is False

    def test_starts_over_with_every_save(self, do, behind, store, saved):
        behind.expire(store.keys.record(saved.session_key), 100)
        do(reopened(saved).load)
        assert self.ttl(behind, saved, store) <= 100
        do(saved.save)
        assert self.ttl(behind, saved, store) > 100

    def test_by_default_is_the_ttl_setting(self, do, behind, configure):
        store = configure(TTL=timedelta(minutes=30))
        session = SessionStore()
        do(session.save)
        assert session.get_session_cookie_age() == do(session.get_expiry_age) == 1800
        assert 1798 <= self.ttl(behind, session, store) <= 1800

    def test_of_its_own_beats_the_ttl_setting(self, do, behind, configure):
        store = configure(TTL=1800)
        session = SessionStore()
        do(session.set_expiry, 86400)
        do(session.save)
        assert self.ttl(behind, session, store) > 1800

    def test_can_be_overridden_in_a_subclass(self, do, behind, store):
        class Short(SessionStore):
            def get_session_cookie_age(self):
                return 10

        session = Short()
        do(session.save)
        assert self.ttl(behind, session, store) <= 10

    def test_survives_a_change_of_use_tz(self, do, settings):
        session = SessionStore()
        session["_session_expiry"] = datetime(2100, 1, 1).isoformat()
        assert do(session.get_expiry_age) > 0
        settings.USE_TZ = False
        session["_session_expiry"] = datetime(2100, 1, 1, tzinfo=UTC).isoformat()
        assert do(session.get_expiry_age) > 0

    def test_given_as_argument_loads_nothing(self, do, configure):
        configure(URL="unix:///nowhere/redis.sock")
        session = SessionStore("some-session-key")
        modified = timezone.now()
        assert do(session.get_expiry_age, modification=modified, expiry=modified + timedelta(seconds=9)) == 9
        assert do(session.get_expiry_date, modification=modified, expiry=9) == modified + timedelta(seconds=9)
        assert not session.accessed

    def test_needs_no_clearing(self, do, saved):
        do(saved.clear_expired)
        call_command("clearsessions")
        assert do(saved.exists, saved.session_key) is True


class TestTheRecord:
    def test_tells_whose_it_is_and_since_when(self, do, store, behind, saved, monkeypatch):
        monkeypatch.setattr("django_redis_sessions.held.time", lambda: 2_000_000_000.9)
        session = reopened(saved)
        session["_auth_user_id"] = "7"
        do(session.save)
        signed_in = header_of(behind.get(store.keys.record(saved.session_key)))
        assert (signed_in.created, signed_in.touched, signed_in.is_anonymous) == (
            2_000_000_000,
            2_000_000_000,
            False,
        )

        monkeypatch.setattr("django_redis_sessions.held.time", lambda: 2_000_000_050)
        session = reopened(saved)
        session["more"] = 1
        do(session.cycle_key)
        later = header_of(behind.get(store.keys.record(session.session_key)))
        assert (later.created, later.touched, later.user) == (2_000_000_000, 2_000_000_050, signed_in.user)

    @pytest.mark.parametrize("scheme", ["hashed", "plain"])
    def test_is_under_the_key_the_scheme_says(self, do, configure, behind, prefix, scheme):
        configure(KEYS=scheme)
        session = SessionStore()
        do(session.save)
        name = digest(session.session_key) if scheme == "hashed" else session.session_key
        assert behind.exists(f"{prefix}:r:{name}")

    @pytest.mark.parametrize("compression", ["dictionary", "zlib", None])
    def test_written_under_other_settings_still_opens(self, do, configure, compression):
        configure(COMPRESSION=compression)
        session = SessionStore()
        session["text"] = "many words " * 50
        do(session.save)
        configure()
        assert do(reopened(session).load)["text"] == "many words " * 50


class TestTheSerializer:
    def test_of_the_project_is_honoured(self, do, settings):
        settings.SESSION_SERIALIZER = "tests.test_backend.PickleSerializer"
        session = SessionStore()
        session["set"] = {1, 2}
        do(session.save)
        assert do(reopened(session).load) == {"set": {1, 2}}

    def test_may_change_away_from_json(self, do, settings, saved):
        settings.SESSION_SERIALIZER = "tests.test_backend.PickleSerializer"
        assert do(reopened(saved).load) == {"item": "value"}

    def test_never_unpickles_what_the_project_does_not_ask_for(self, do, settings, caplog):
        settings.SESSION_SERIALIZER = "tests.test_backend.PickleSerializer"
        session = SessionStore()
        session["item"] = 1
        do(session.save)
        settings.SESSION_SERIALIZER = "django.contrib.sessions.serializers.JSONSerializer"
        assert do(reopened(session).load) == {}
        assert "SESSION_SERIALIZER does not name" in caplog.text


GOOD = Codec().seal(json.dumps({"item": 1}).encode(), Header(1, 2, 3), "")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class TestDjangosJsonSerializer:
    """Its work is done here without it, for speed: what a session becomes must not differ."""

    @given(data=st.dictionaries(st.text(), JSON_VALUES, max_size=5))
    def test_would_write_the_same_bytes_and_read_the_same_data(self, data):
        session = SessionStore()
        payload = session._dumps(data)
        assert payload == JSONSerializer().dumps(data)
        assert session._loads(payload, 0) == JSONSerializer().loads(payload) == data

    @pytest.mark.parametrize("data", [{"key": {1, 2}}, {("no", "text"): 1}, {"key": object()}])
    def test_would_refuse_the_same_data(self, data):
        with pytest.raises(TypeError) as ours:
            SessionStore()._dumps(data)
        with pytest.raises(TypeError) as djangos:
            JSONSerializer().dumps(data)
        assert str(ours.value) == str(djangos.value)

    @pytest.mark.parametrize("payload", [b' {"a": 1}\n', b'{"a":1} x', b"", b"nonsense", b'{"a":NaN}'])
    def test_would_read_or_refuse_the_same_bytes(self, payload):
        try:
            expected = repr(JSONSerializer().loads(payload))
        except ValueError:
            with pytest.raises(CorruptRecord):
                SessionStore()._loads(payload, 0)
        else:
            assert repr(SessionStore()._loads(payload, 0)) == expected


class TestAnUnreadableRecord:
    @pytest.mark.parametrize(
        "stored",
        [
            b"",
            b"\x00",
            GOOD[:-1],
            GOOD[:20],
            GOOD[:30] + bytes([GOOD[30] ^ 1]) + GOOD[31:],
            b"\x63" + GOOD[1:],
            Codec().seal(b"[1, 2]", Header(1, 2, 3), ""),
            Codec().seal(b"{not json", Header(1, 2, 3), ""),
            Codec().seal(b"[" * 100_000, Header(1, 2, 3), ""),
        ],
        ids=["empty", "nul", "cut", "cut-header", "flipped", "future", "no-dict", "no-json", "nested"],
    )
    def test_is_an_empty_session_and_one_warning(self, do, store, behind, saved, caplog, stored):
        name = store.keys.record(saved.session_key)
        behind.set(name, stored, ex=60)
        session = reopened(saved)
        with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
            assert do(session.load) == {}
        (logged,) = [found for found in caplog.records if found.name == "django.security.SuspiciousSession"]
        assert "Session data corrupted" in logged.getMessage()
        assert saved.session_key not in logged.getMessage()
        assert digest(saved.session_key) in logged.getMessage()
        assert session.session_key == saved.session_key
        assert behind.get(name) == stored

    def test_is_replaced_by_the_next_save(self, do, store, behind, saved):
        behind.set(store.keys.record(saved.session_key), b"garbage", ex=60)
        session = reopened(saved)
        session["item"] = 2
        do(session.save)
        assert do(reopened(saved).load) == {"item": 2}


class TestSmallPromises:
    def test_the_deleted_test_cookie_is_saved(self, do):
        """Django's adelete_test_cookie() forgets to say that something changed."""
        session = SessionStore()
        do(session.set_test_cookie)
        session.modified = False
        do(session.delete_test_cookie)
        assert session.modified

    def test_signed_text_moves_between_engines(self):
        from django.contrib.sessions.backends.db import SessionStore as DatabaseStore

        assert SessionStore().decode(DatabaseStore().encode({"item": 1})) == {"item": 1}

    def test_truth_is_what_django_says(self):
        assert not hasattr(SessionStore, "__len__")
        assert not hasattr(SessionStore, "__iter__")

    def test_one_object_serves_both_worlds(self, saved, runner):
        """An async view loads, stock middleware saves in a worker thread."""
        session = reopened(saved)
        assert runner.run(session.aget("item")) == "value"
        session["item"] = "sync"
        session.save()
        assert runner.run(reopened(saved).aload()) == {"item": "sync"}
