"""What is said to Redis when a session comes from another engine; on a cluster too."""

import time
from dataclasses import replace

import pytest

from django_redis_sessions import arrivals, sessions
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.operations import Outcome
from tests.races import watch

pytestmark = [pytest.mark.usefixtures("store"), pytest.mark.operator]

KEY = "x" * 32


@pytest.fixture
def names(store):
    return store.keys


def arriving(session_key=KEY, life=500, **data):
    data = data or {"_auth_user_id": "7", "a": 1}
    return SessionStore().arrival(session_key, data, life, int(time.time()))


class TestAdopting:
    def test_stores_record_mark_and_entry(self, perform, names, behind):
        arrival = arriving()
        assert perform(arrivals.adopt(names, arrival)) is Outcome.DONE
        assert SessionStore(KEY)["a"] == 1
        assert behind.ttl(names.mark(names.name(KEY))) > behind.ttl(names.record(KEY)) > 490
        assert behind.get(names.mark(names.name(KEY))) == arrival.fingerprint
        assert len(sessions.of_user("7")) == 1

    def test_again_is_done_already(self, perform, names):
        arrival = arriving()
        perform(arrivals.adopt(names, arrival))
        assert perform(arrivals.adopt(names, arrival)) is Outcome.DONE

    def test_gives_what_is_here_and_marks_it(self, perform, names, behind):
        SessionStore(KEY).save(must_create=True)
        found = perform(arrivals.adopt(names, arriving()))
        assert found == behind.get(names.record(KEY))
        assert perform(arrivals.standing(names, KEY)) == ((names.name(KEY), found), True)

    def test_refuses_what_was_here(self, perform, names):
        perform(arrivals.adopt(names, arriving()))
        SessionStore(KEY).delete()
        assert perform(arrivals.adopt(names, arriving())) is Outcome.GONE
        assert perform(arrivals.standing(names, KEY)) == (None, True)
        assert sessions.of_user("7") == []

    def test_refuses_what_is_barred(self, perform, names):
        perform(arrivals.bar(names, KEY, 60))
        assert perform(arrivals.adopt(names, arriving())) is Outcome.GONE

    def test_takes_back_what_had_gone(self, perform, names):
        perform(arrivals.mark_gone(names, {KEY: 60}))
        assert perform(arrivals.adopt(names, arriving())) is Outcome.DONE

    def test_refuses_whose_sessions_were_revoked(self, perform, names, behind):
        sessions.revoke_user("7")
        assert perform(arrivals.adopt(names, arriving())) is Outcome.REVOKED
        assert (
            not behind.exists(names.record(KEY), names.mark(names.name(KEY)))
            if not names.are_spread
            else True
        )

    def test_of_several_tells_of_each(self, perform, names):
        sessions.revoke_user("8")
        others = [arriving("y" * 32, _auth_user_id="8"), arriving("z" * 32, a=1)]
        results = perform(arrivals.adopt_all(names, [arriving(), *others]))
        assert results == [Outcome.DONE, Outcome.REVOKED, Outcome.DONE]


class TestAdoptingForSeveralServers:
    """The names for several servers do on one as well."""

    @pytest.fixture
    def names(self, store):
        return replace(store.keys, are_spread=True)

    def test_takes_as_many_round_trips_for_fifty_as_for_one(
        self, perform, names, store, monkeypatch, known_scripts
    ):
        several = [arriving(f"{at:032}", _auth_user_id=str(at)) for at in range(50)]
        SessionStore(several[7].session_key).save(must_create=True)
        perform(arrivals.bar(names, several[8].session_key, 60))
        sessions.revoke_user("9")
        trips = []
        watch(monkeypatch, store, trips.append)
        results = perform(arrivals.adopt_all(names, several))
        assert len(trips) == 3  # index, records, and one that had ended out of the index again
        assert isinstance(results[7], bytes)
        assert results[8:10] == [Outcome.GONE, Outcome.REVOKED]
        assert set(results[:7] + results[10:]) == {Outcome.DONE}
        assert [len(sessions.of_user(str(at))) for at in (6, 8, 9, 10)] == [1, 0, 0, 1]


class TestWithdrawing:
    def test_ends_what_was_just_stored(self, perform, names):
        arrival = arriving()
        perform(arrivals.adopt(names, arrival))
        assert perform(arrivals.withdraw(names, [arrival])) == 1
        assert not SessionStore().exists(KEY)
        assert sessions.of_user("7") == []

    def test_leaves_what_was_saved_since(self, perform, names):
        arrival = arriving()
        perform(arrivals.adopt(names, arrival))
        session = SessionStore(KEY)
        session["a"] = 2
        session.save()
        assert perform(arrivals.withdraw(names, [arrival])) == 0
        assert SessionStore(KEY)["a"] == 2


class TestTheLife:
    def test_that_is_over_is_none(self):
        assert arriving(life=0) is None

    def test_that_is_endless_is_the_longest(self):
        assert arriving(life=float("inf")).ttl == 2**32 - 1

    def test_tells_when_the_session_was_last_written(self, settings):
        now = int(time.time())
        settings.SESSION_COOKIE_AGE = 1000
        from django_redis_sessions.records import header_of

        header = header_of(arriving(life=400).record)
        assert (header.touched, header.ttl) == (pytest.approx(now - 600, abs=30), pytest.approx(1000, abs=30))

    def test_keeps_to_the_limits_of_the_project(self, configure):
        configure(ANONYMOUS_TTL=60, ABSOLUTE_TTL=300)
        whole = 14 * 86_400
        assert arriving(life=whole, a=1).ttl == 60
        assert arriving(life=whole).ttl in (299, 300)
        assert arriving(life=whole - 301) is None


class TestAMark:
    def test_is_on_the_server_of_its_record(self, names, behind):
        if names.are_spread:
            from redis.cluster import key_slot

            assert key_slot(names.mark("n").encode()) == key_slot(names.record_named("n").encode())

    def test_is_found_by_its_pattern(self, perform, names, behind):
        perform(arrivals.adopt(names, arriving()))
        if not names.are_spread:
            assert [*behind.scan_iter(names.moving_patterns[0])] == [names.mark(names.name(KEY)).encode()]


class TestWhenOneCameLast:
    def test_is_remembered(self, perform, names):
        assert perform(arrivals.last(names)) is None
        perform(arrivals.note(names, 123))
        assert perform(arrivals.last(names)) == 123
