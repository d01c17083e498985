"""Concurrent requests, told one command at a time: a rival acts before the n-th, for every n.

``do`` runs each race blocking and awaited. The rival is always another request with its own store.
"""

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from django_redis_sessions import operations
from django_redis_sessions import stored as stored_module
from django_redis_sessions.backend import SessionConflict, SessionEnded, SessionStore
from django_redis_sessions.errors import SessionStoreRefused
from django_redis_sessions.keys import user_marker
from django_redis_sessions.records import header_of
from tests.wire import Wire

pytestmark = pytest.mark.usefixtures("store")

LOGIN = {"_auth_user_id": "1", "_auth_user_backend": "backend", "_auth_user_hash": "hash"}
COMMANDS = range(1, 6)


@pytest.fixture
def stored(do):
    """Stores data as a session and gives its key."""

    def store_session(**data):
        session = SessionStore()
        session.update(data)
        session.save()
        return session.session_key

    return store_session


def content(session_key):
    return dict(SessionStore(session_key).items())


def rival_sets(session_key, **data):
    def act():
        session = SessionStore(session_key)
        session.update(data)
        session.save()

    return act


class TestTwoRequestsThatChangeDifferentKeys:
    @pytest.mark.parametrize("before", COMMANDS)
    def test_both_win(self, do, stored, interrupt, before):
        key = stored(a=0, b=0, gone=1)
        with interrupt(by=rival_sets(key, b=1, c=1), before=before) as race:
            session = SessionStore(key)
            do(session.get, "a")
            session["a"] = 1
            del session["gone"]
            do(session.save)
        assert content(key) == {"a": 1, "b": 0, **({"b": 1, "c": 1} if race.happened else {})}
        assert race.happened == (before <= 2)

    @pytest.mark.parametrize("before", COMMANDS)
    def test_both_win_for_nested_changes_without_a_setter(self, do, stored, interrupt, before):
        key = stored(cart={"x": 1}, seen=[])
        with interrupt(by=rival_sets(key, seen=[7]), before=before) as race:
            session = SessionStore(key)
            do(session.get, "cart")["x"] = 2
            session._session["direct"] = True
            do(session.save)
        assert content(key) == {"cart": {"x": 2}, "seen": [7] if race.happened else [], "direct": True}

    def test_see_the_others_change_after_saving(self, do, stored, interrupt):
        key = stored(a=0)
        session = SessionStore(key)
        do(session.get, "a")
        session["a"] = 1
        with interrupt(by=rival_sets(key, b=1), before=1):
            do(session.save)
        assert dict(session.items()) == {"a": 1, "b": 1}
        session["a"] = 2
        do(session.save)
        assert content(key) == {"a": 2, "b": 1}

    def test_keep_objects_that_the_view_holds_on_to(self, do, stored, interrupt):
        key = stored(cart={"x": 1})
        session = SessionStore(key)
        cart = do(session.get, "cart")
        cart["x"] = 2
        with interrupt(by=rival_sets(key, b=1), before=1):
            do(session.save)
        cart["x"] = 3
        do(session.save)
        assert content(key) == {"cart": {"x": 3}, "b": 1}

    def test_are_not_confused_by_a_look_at_the_store(self, do, stored):
        """load() returns what is stored, and must not pass it off as what this request started from."""
        key = stored(a=0, b=0)
        session = SessionStore(key)
        do(session.get, "a")
        session["a"] = 1
        rival_sets(key, b=1)()
        assert do(session.load) == {"a": 0, "b": 1}
        do(session.save)
        assert content(key) == {"a": 1, "b": 1}

    def test_keep_keys_that_json_turns_into_text(self, do, stored, interrupt):
        key = stored(a=0)
        session = SessionStore(key)
        do(session.get, "a")
        session[7] = "seven"
        with interrupt(by=rival_sets(key, b=1), before=1):
            do(session.save)
        assert content(key) == {"a": 0, "b": 1, "7": "seven"}


class TestARequestThatFacesManyRivals:
    def test_wins_in_the_end(self, do, stored, interrupt):
        key = stored(a=0)
        session = SessionStore(key)
        do(session.get, "a")
        session["a"] = 1

        def another(number):
            def act():
                if number < 5:
                    with interrupt(by=another(number + 1), before=2):
                        rival_sets(key, **{f"rival{number}": 1})()
                else:
                    rival_sets(key, **{f"rival{number}": 1})()

            return act

        with interrupt(by=another(1), before=1):
            do(session.save)
        assert content(key) == {"a": 1, **{f"rival{number}": 1 for number in range(1, 6)}}

    def test_gives_up_when_they_never_stop(self, do, stored, monkeypatch):
        key = stored(a=0)
        session = SessionStore(key)
        do(session.get, "a")
        session["a"] = 1

        def always_too_late(keys, session_key, *_):
            return operations.read(keys, session_key)

        monkeypatch.setattr(operations, "save", always_too_late)
        monkeypatch.setattr(stored_module, "_LONGEST_PAUSE", 0)
        with pytest.raises(SessionStoreRefused, match="100 times in a row"):
            do(session.save)
        assert content(key) == {"a": 0}


class TestTheConflictPolicy:
    def test_of_overwriting_is_what_stock_django_does(self, do, configure, stored, interrupt):
        configure(CONFLICT="overwrite")
        key = stored(a=0, b=0)
        with interrupt(by=rival_sets(key, b=1), before=2):
            session = SessionStore(key)
            do(session.get, "a")
            session["a"] = 1
            do(session.save)
        assert content(key) == {"a": 1, "b": 0}

    def test_of_strictness_raises_and_writes_nothing(self, do, configure, stored, interrupt):
        configure(CONFLICT="strict")
        key = stored(a=0, b=0)
        with interrupt(by=rival_sets(key, b=1), before=2):
            session = SessionStore(key)
            do(session.get, "a")
            session["a"] = 1
            with pytest.raises(SessionConflict) as caught:
                do(session.save)
        assert content(key) == {"a": 0, "b": 1}
        assert isinstance(caught.value, UpdateError)
        assert isinstance(caught.value, SessionInterrupted)

    def test_can_differ_for_one_session(self, do, stored, interrupt):
        key = stored(a=0)
        session = SessionStore(key)
        session.on_conflict = "strict"
        do(session.get, "a")
        session["a"] = 1
        with interrupt(by=rival_sets(key, b=1), before=1), pytest.raises(SessionConflict):
            do(session.save)

    def test_must_be_one_that_exists(self, do, stored):
        session = SessionStore(stored(a=0))
        session["a"] = 1
        session.on_conflict = "merg"
        with pytest.raises(ValueError, match="must be one of 'merge'"):
            do(session.save)


class TestALogout:
    def ends(self, key):
        return SessionStore(key).delete

    @pytest.mark.parametrize("before", COMMANDS)
    def test_is_never_undone_by_a_slower_save(self, do, stored, interrupt, before):
        key = stored(a=0, **LOGIN)
        with interrupt(by=self.ends(key), before=before) as race:
            session = SessionStore(key)
            do(session.get, "a")
            session["a"] = 1
            if race.happened:
                do(session.save)  # nothing was found: a new, anonymous session
            elif before == 2:
                with pytest.raises(SessionEnded):
                    do(session.save)
            else:
                do(session.save)
        assert SessionStore().exists(key) == (not race.happened)
        if before == 1:
            assert "_auth_user_id" not in session

    @pytest.mark.parametrize("before", COMMANDS)
    def test_is_never_undone_by_a_slower_touch(self, do, stored, interrupt, before):
        key = stored(a=0, **LOGIN)
        session = SessionStore(key)
        do(session.get, "a")
        with interrupt(by=self.ends(key), before=before) as race:
            if before == 1:
                with pytest.raises(UpdateError):
                    do(session.save)
            else:
                do(session.save)
        assert SessionStore().exists(key) == (not race.happened)

    # On a cluster the fourth command only tidies up: the rotation is over by then.
    @pytest.mark.parametrize("before", range(1, 4))
    def test_is_never_undone_by_a_slower_rotation(self, do, stored, interrupt, before, behind, prefix):
        key = stored(a=0, **LOGIN)
        session = SessionStore(key)
        do(session.get, "a")
        ended = None
        with interrupt(by=self.ends(key), before=before) as race:
            try:
                do(session.cycle_key)
            except SessionEnded as error:
                ended = error
        assert race.happened or before > 1
        assert race.happened == (ended is not None)
        if ended:
            assert isinstance(ended, UpdateError)
            assert isinstance(ended, SessionInterrupted)
        left = len(list(behind.scan_iter(f"{prefix}:r:*")))
        assert left == (0 if race.happened else 1)

    @pytest.mark.parametrize("before", COMMANDS)
    def test_is_never_undone_by_a_slower_mutation(self, do, stored, interrupt, before):
        key = stored(n=0, **LOGIN)
        session = SessionStore(key)
        do(session.get, "n")
        with interrupt(by=self.ends(key), before=before) as race:
            if before == 1:
                with pytest.raises(SessionEnded):
                    do(session.increment, "n")
            else:
                do(session.increment, "n")
        assert SessionStore().exists(key) == (not race.happened)

    def test_in_place_is_not_undone_by_what_went_on_for_the_user(self, do, stored, interrupt):
        key = stored(a=0, **LOGIN)
        session = SessionStore(key)
        do(session.get, "a")
        session.clear()
        with interrupt(by=rival_sets(key, a=1, secret="of the user"), before=1):
            do(session.save)
        assert content(key) == {}


class TestARotation:
    @pytest.mark.parametrize("before", COMMANDS)
    def test_takes_along_what_others_saved_meanwhile(self, do, stored, interrupt, before):
        key = stored(a=0)
        with interrupt(by=rival_sets(key, b=1), before=before) as race:
            session = SessionStore(key)
            session["a"] = 1
            if before <= 2:
                do(session.cycle_key)
        if before <= 2:
            assert race.happened
            assert not SessionStore().exists(key)
            assert content(session.session_key) == {"a": 1, "b": 1}

    def test_of_an_anonymous_cart_that_vanished_starts_anew(self, do, stored, interrupt):
        """There is nothing to revive: a sign-in goes on with a new record."""
        key = stored(cart=1)
        session = SessionStore(key)
        do(session.get, "cart")
        with interrupt(by=SessionStore(key).delete, before=1):
            do(session.cycle_key)
        assert session.session_key != key
        assert content(session.session_key) == {"cart": 1}

    def test_beside_a_slower_save_refuses_the_save(self, do, stored):
        key = stored(a=0)
        slow = SessionStore(key)
        do(slow.get, "a")
        SessionStore(key).cycle_key()
        slow["a"] = 1
        with pytest.raises(SessionEnded):
            do(slow.save)


class TestARecordOfAnotherUser:
    def test_is_never_merged_into(self, do, stored, interrupt):
        key = stored(a=0, **LOGIN)
        session = SessionStore(key)
        do(session.get, "a")
        session["a"] = 1
        with interrupt(by=rival_sets(key, _auth_user_id="2"), before=1), pytest.raises(SessionEnded):
            do(session.save)
        assert content(key)["_auth_user_id"] == "2"
        assert content(key)["a"] == 0

    def test_has_the_marker_of_its_user(self, stored, behind, store):
        key = stored(**LOGIN)
        assert header_of(behind.get(store.keys.record(key))).user == user_marker("1")


class TestMutating:
    @pytest.mark.parametrize("before", COMMANDS)
    def test_is_exact_whoever_is_faster(self, do, stored, interrupt, before):
        key = stored(n=10)
        session = SessionStore(key)
        with interrupt(by=lambda: SessionStore(key).increment("n", 5), before=before) as race:
            total = do(session.increment, "n")
        assert content(key)["n"] == 11 + 5 * race.happened
        assert session["n"] == total == (16 if race.happened else 11)

    def test_brings_in_what_others_saved_and_keeps_what_is_not_saved_yet(self, do, stored, interrupt):
        key = stored(n=0, b=0)
        session = SessionStore(key)
        do(session.get, "n")
        session["mine"] = 1
        with interrupt(by=rival_sets(key, b=1), before=1):
            assert do(session.mutate, "n", lambda n: n + 1) == 1
        assert content(key) == {"n": 1, "b": 1}
        do(session.save)
        assert content(key) == {"n": 1, "b": 1, "mine": 1}

    def test_is_exact_under_every_policy(self, do, configure, stored, interrupt):
        for policy in ("overwrite", "strict"):
            configure(CONFLICT=policy)
            key = stored(n=0)
            session = SessionStore(key)
            do(session.get, "n")
            with interrupt(by=lambda key=key: SessionStore(key).increment("n"), before=1):
                assert do(session.increment, "n") == 2

    def test_starts_from_the_default(self, do, stored):
        session = SessionStore(stored(a=0))
        assert do(session.mutate, "list", lambda found: [*found, 1], []) == [1]
        assert do(session.increment, "n", 2.5) == 2.5

    def test_of_a_session_that_is_not_stored_changes_memory_alone(self, do):
        session = SessionStore()
        assert do(session.increment, "n") == 1
        assert session.modified
        assert session.session_key is None

    def test_of_a_cleared_session_finds_what_is_stored(self, do, stored):
        key = stored(n=1, a=1)
        session = SessionStore(key)
        session.clear()
        assert do(session.increment, "n") == 2
        assert content(key) == {"n": 2, "a": 1}

    def test_of_a_cleared_session_that_is_gone_is_refused(self, do):
        session = SessionStore("someunknownsessionkey")
        session.clear()
        with pytest.raises(SessionEnded):
            do(session.increment, "n")


class TestAnUnchangedSave:
    @pytest.mark.unix
    def test_sends_no_payload(self, do, configure, server, stored, tmp_path):
        with Wire(server.socket, tmp_path) as wire:
            configure(URL=wire.url, COMPRESSION=None)
            key = stored(text="payload" * 100)
            session = SessionStore(key)
            do(session.get, "text")
            do(session.save)
            wire.reset()
            session.modified = True
            do(session.save)
            assert b"payload" not in wire.sent
            assert wire.round_trips == 1

    def test_extends_the_life(self, do, stored, behind, store):
        key = stored(a=0)
        behind.expire(store.keys.record(key), 10)
        session = SessionStore(key)
        do(session.get, "a")
        do(session.save)
        assert behind.ttl(store.keys.record(key)) > 10

    def test_leaves_what_somebody_else_saved(self, do, stored, interrupt):
        key = stored(a=0)
        session = SessionStore(key)
        do(session.get, "a")
        with interrupt(by=rival_sets(key, a=1), before=1):
            do(session.save)
        assert content(key) == {"a": 1}

    def test_notices_a_nested_change_without_a_setter(self, do, stored):
        key = stored(cart={"x": 1})
        session = SessionStore(key)
        do(session.get, "cart")["x"] = 2
        do(session.save)
        assert content(key) == {"cart": {"x": 2}}
