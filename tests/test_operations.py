import os

import pytest

from django_redis_sessions import errors, operations
from django_redis_sessions.census import Census, matching
from django_redis_sessions.configuration import Settings
from django_redis_sessions.executors import run
from django_redis_sessions.keys import user_marker
from django_redis_sessions.operations import (
    Move,
    Outcome,
    create,
    cycle,
    cycle_between_slots,
    delete,
    exists,
    follow,
    purge,
    read,
    replace,
    save,
    survey,
    touch,
)
from django_redis_sessions.records import Codec, Header, header_of, revision_of
from django_redis_sessions.store import Store

KEY = "k" * 32


def record(payload=b"{}", **header):
    return Codec().seal(payload, Header(**{"created": 1000, "touched": 1000, "ttl": 60, **header}))


class TestCreatingARecord:
    def test_stores_it_with_a_ttl(self, perform, keys, behind):
        assert perform(create(keys, KEY, b"new", ttl=60)) is True
        assert perform(read(keys, KEY)) == b"new"
        assert 0 < behind.ttl(keys.record(KEY)) <= 60

    def test_refuses_a_taken_key(self, perform, keys):
        perform(create(keys, KEY, b"old", ttl=60))
        assert perform(create(keys, KEY, b"new", ttl=60)) is False
        assert perform(read(keys, KEY)) == b"old"


class TestReplacingARecord:
    def test_overwrites_it_and_restarts_its_life(self, perform, keys, behind):
        perform(create(keys, KEY, b"old", ttl=10))
        assert perform(replace(keys, KEY, b"new", Header(1, 1, 600))) is Outcome.DONE
        assert perform(read(keys, KEY)) == b"new"
        assert behind.ttl(keys.record(KEY)) > 10

    def test_refuses_a_session_that_was_deleted_meanwhile(self, perform, keys):
        perform(create(keys, KEY, b"old", ttl=60))
        perform(delete(keys, KEY))

        assert perform(replace(keys, KEY, b"new", Header(1, 1, 60))) is Outcome.GONE
        assert perform(read(keys, KEY)) is None


class TestSavingARecordThatWasRead:
    def test_replaces_it_and_restarts_its_life(self, perform, keys, behind):
        old, new = record(b"old"), record(b"new", ttl=600)
        perform(create(keys, KEY, old, ttl=10))
        assert perform(save(keys, KEY, revision_of(old), new, header_of(new))) is Outcome.DONE
        assert perform(read(keys, KEY)) == new
        assert behind.ttl(keys.record(KEY)) > 10

    def test_gives_the_record_that_somebody_else_has_written(self, perform, keys):
        old, theirs, mine = record(b"old"), record(b"theirs"), record(b"mine")
        perform(create(keys, KEY, theirs, ttl=60))
        assert perform(save(keys, KEY, revision_of(old), mine, header_of(mine))) == theirs
        assert perform(read(keys, KEY)) == theirs

    def test_refuses_a_session_that_was_deleted_meanwhile(self, perform, keys):
        old, new = record(b"old"), record(b"new")
        assert perform(save(keys, KEY, revision_of(old), new, header_of(new))) is Outcome.GONE
        assert perform(exists(keys, KEY)) is False

    def test_may_be_repeated_when_its_answer_was_lost(self, perform, keys):
        old, new = record(b"old"), record(b"new")
        perform(create(keys, KEY, old, ttl=60))
        for _ in range(2):
            assert perform(save(keys, KEY, revision_of(old), new, header_of(new))) is Outcome.DONE

    @pytest.mark.parametrize("garbage", [b"\x00", b"cut off", b"long enough to have a revision"])
    def test_replaces_what_could_not_be_read(self, perform, keys, garbage):
        perform(create(keys, KEY, garbage, ttl=60))
        new = record(b"new")
        assert perform(save(keys, KEY, revision_of(garbage), new, header_of(new))) is Outcome.DONE
        assert perform(read(keys, KEY)) == new

    def test_works_after_the_server_has_forgotten_its_scripts(self, perform, keys, behind):
        old, new = record(b"old"), record(b"new")
        perform(create(keys, KEY, old, ttl=60))
        behind.script_flush()
        assert perform(save(keys, KEY, revision_of(old), new, header_of(new))) is Outcome.DONE


class TestTouchingARecord:
    def test_extends_its_life_in_place(self, perform, keys, behind):
        old = record(b"old")
        perform(create(keys, KEY, old, ttl=10))
        assert perform(touch(keys, KEY, revision_of(old), Header(1, 5000, 600))) is Outcome.DONE
        header, payload = Codec().open(perform(read(keys, KEY)))
        assert (header.touched, header.ttl, header.created, payload) == (5000, 600, 1000, b"old")
        assert behind.ttl(keys.record(KEY)) > 10

    def test_leaves_a_life_that_somebody_else_has_given_it(self, perform, keys, behind):
        """A long life must not be put on a session that was shortened meanwhile."""
        theirs = record(b"theirs")
        perform(create(keys, KEY, theirs, ttl=10))
        assert perform(touch(keys, KEY, revision_of(record()), Header(1, 5000, 600))) is Outcome.DONE
        assert perform(read(keys, KEY)) == theirs
        assert behind.ttl(keys.record(KEY)) <= 10

    def test_refuses_a_session_that_was_deleted_meanwhile(self, perform, keys):
        assert perform(touch(keys, KEY, revision_of(record()), Header(1, 5000, 600))) is Outcome.GONE
        assert perform(exists(keys, KEY)) is False


@pytest.mark.parametrize(
    "move_session", [pytest.param(cycle, marks=pytest.mark.one_slot), cycle_between_slots]
)
class TestMovingASession:
    new = "n" * 32

    def test_ends_the_old_key(self, perform, keys, behind, move_session):
        old, moved = record(b"old"), record(b"moved")
        perform(create(keys, KEY, old, ttl=60))
        assert perform(move_session(keys, Move(KEY, self.new), revision_of(old), moved, 600)) is Outcome.DONE
        assert perform(exists(keys, KEY)) is False
        assert perform(read(keys, self.new)) == moved
        assert perform(follow(keys, KEY)) is None
        assert behind.ttl(keys.record(self.new)) > 60

    def test_can_leave_an_address_that_only_the_old_key_opens(self, perform, keys, behind, move_session):
        old, moved = record(b"old"), record(b"moved")
        perform(create(keys, KEY, old, ttl=60))
        perform(move_session(keys, Move(KEY, self.new, leaves_address=True), revision_of(old), moved, 600))
        assert perform(exists(keys, KEY)) is False
        assert perform(follow(keys, KEY)) == self.new
        assert self.new.encode() not in behind.get(keys.forwarding(KEY))
        assert 0 < behind.ttl(keys.forwarding(KEY)) <= 10

    def test_refuses_a_session_that_was_deleted_meanwhile(self, perform, keys, move_session):
        old, moved = record(b"old"), record(b"moved")
        move = Move(KEY, self.new, leaves_address=True)
        assert perform(move_session(keys, move, revision_of(old), moved, 600)) is Outcome.GONE
        assert perform(exists(keys, self.new)) is False
        assert perform(follow(keys, KEY)) is None

    def test_gives_the_record_that_somebody_else_has_written(self, perform, keys, move_session):
        old, theirs, moved = record(b"old"), record(b"theirs"), record(b"moved")
        perform(create(keys, KEY, theirs, ttl=60))
        assert perform(move_session(keys, Move(KEY, self.new), revision_of(old), moved, 600)) == theirs
        assert perform(read(keys, KEY)) == theirs
        assert perform(exists(keys, self.new)) is False

    def test_leaves_the_address_that_somebody_faster_has_left(self, perform, keys, move_session):
        old, moved = record(b"old"), record(b"moved")
        perform(create(keys, KEY, old, ttl=60))
        first, second = Move(KEY, self.new, leaves_address=True), Move(KEY, "late" * 8, leaves_address=True)
        perform(move_session(keys, first, revision_of(old), moved, 600))
        assert perform(move_session(keys, second, revision_of(old), record(), 600)) is Outcome.GONE
        assert perform(follow(keys, KEY)) == self.new

    def test_refuses_a_taken_key(self, perform, keys, move_session):
        old, taken = record(b"old"), record(b"taken")
        perform(create(keys, KEY, old, ttl=60))
        perform(create(keys, self.new, taken, ttl=60))
        move = Move(KEY, self.new)
        assert perform(move_session(keys, move, revision_of(old), record(), 600)) is Outcome.TAKEN
        assert perform(read(keys, KEY)) == old
        assert perform(read(keys, self.new)) == taken

    def test_of_any_revision_needs_no_reading(self, perform, keys, move_session):
        perform(create(keys, KEY, record(b"old"), ttl=60))
        assert perform(move_session(keys, Move(KEY, self.new), b"", record(b"moved"), 600)) is Outcome.DONE
        assert perform(exists(keys, KEY)) is False

    def test_of_a_session_that_is_not_there_is_refused_unread_too(self, perform, keys, move_session):
        assert perform(move_session(keys, Move(KEY, self.new), b"", record(), 600)) is Outcome.GONE
        assert perform(exists(keys, self.new)) is False


@pytest.mark.one_slot
class TestMovingInOneScript:
    def test_may_be_repeated_when_its_answer_was_lost(self, perform, keys):
        old, moved = record(b"old"), record(b"moved")
        perform(create(keys, KEY, old, ttl=60))
        for _ in range(2):
            assert perform(cycle(keys, Move(KEY, "n" * 32), revision_of(old), moved, 600)) is Outcome.DONE
        assert perform(read(keys, "n" * 32)) == moved


class TestDeletingARecord:
    def test_may_be_repeated(self, perform, keys):
        perform(create(keys, KEY, b"old", ttl=60))
        assert perform(delete(keys, KEY)) is True
        assert perform(delete(keys, KEY)) is False


HOSTILE = [
    None,
    "",
    "short",
    "x" * 4000,
    "*" * 32,
    "{a}{b}{c}",
    "nul\0" * 8,
    "ü" * 32,
    "a:b:c:d:e",
    "k" * 31 + "\n",
]


class TestTextThatIsNoSessionKey:
    """Answered without a word to Redis: the operations end before they yield a command."""

    @pytest.mark.parametrize("text", HOSTILE)
    @pytest.mark.parametrize(
        ("operation", "answer"),
        [
            (read, None),
            (exists, False),
            (delete, False),
            (lambda keys, text: create(keys, text or "", b"", 60), False),
            (lambda keys, text: replace(keys, text or "", b"", Header(1, 1, 60)), Outcome.GONE),
            (follow, None),
        ],
        ids=["read", "exists", "delete", "create", "replace", "follow"],
    )
    def test_is_an_unknown_session(self, keys, operation, answer, text):
        with pytest.raises(StopIteration) as done:
            operation(keys, text).send(None)
        assert done.value.value is answer


@pytest.mark.one_slot
class TestSurveyingTheSessions:
    def test_counts_every_session_of_its_prefix_alone(self, perform, keys, behind):
        for number in range(7):
            perform(create(keys, f"anonymous-{number}", record(), ttl=60))
        perform(create(keys, "of-a-user", record(user=user_marker("1")), ttl=86400 * 20))
        behind.set(f"{keys.prefix}:r:unreadable", b"not a record", ex=60)
        behind.set(f"{keys.prefix}:other", b"x", ex=60)
        behind.hset(f"{keys.prefix}:r:a-hash", "a", "b")
        behind.expire(f"{keys.prefix}:r:a-hash", 60)

        census = perform(survey(keys, Census()))

        assert (census.sessions, census.anonymous, census.logged_in, census.unreadable) == (9, 7, 1, 1)
        assert census.memory > census.size_at(1.0) > 0
        assert census.lives == [8, 0, 0, 0, 1, 0]

    def test_goes_through_all_pages(self, perform, keys, monkeypatch):
        monkeypatch.setattr(operations, "PAGE", 10)
        for number in range(200):
            perform(create(keys, f"session-{number}", record(), ttl=60))
        seen = []
        census = perform(survey(keys, Census(), progress=lambda progress: seen.append(progress)))
        assert census.sessions == 200
        assert len(seen) > 10
        assert seen[-1].seen == 200
        assert all(0 < progress.share <= 1 for progress in seen)

    def test_knows_the_size_of_records_that_a_glimpse_does_not_hold(self, perform, keys):
        small, large = record(), record(os.urandom(5000))
        perform(create(keys, "the-small-one", small, ttl=60))
        perform(create(keys, "the-large-one", large, ttl=60))
        census = perform(survey(keys, Census()))
        assert (census.size_at(0.5), census.size_at(1.0)) == (len(small), len(large))
        assert census.measured == 2
        assert census.memory > len(small) + len(large)

    @pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "replaced"])
    def test_overlooks_what_ceases_to_be_a_session_meanwhile(self, keys, is_gone):
        """Played by hand: one key goes between the SCAN and the look, another between two looks."""
        walking = survey(keys, Census())
        walking.send(None)
        assert walking.send([3])[0][0] == "SCAN"
        names = [b"first", b"second", b"third"]
        looks = walking.send([[b"0", names]])
        assert [command[0] for command in looks] == ["GETRANGE"] * 3 + ["TTL"] * 3 + ["MEMORY"] * 3
        start = record(os.urandom(5000))[: operations.GLIMPSE]
        other = errors.SessionStoreRefused("WRONGTYPE")
        missing = (b"", -2) if is_gone else (other, 60)
        again = walking.send([missing[0], start, record(), missing[1], 60, 60, None, 7000, 200])
        assert again == [("STRLEN", b"second")]
        with pytest.raises(StopIteration) as done:
            walking.send([0 if is_gone else other])
        census = done.value.value
        assert (census.sessions, census.size_at(1.0), census.is_complete) == (2, operations.GLIMPSE, True)

    def test_measures_every_one_at_first_and_then_some(self, perform, keys, behind, monkeypatch):
        monkeypatch.setattr(operations, "PAGE", 10)
        monkeypatch.setattr(operations, "MEASURED_AT_LEAST", 30)
        for number in range(200):
            perform(create(keys, f"session-{number}", record(), ttl=60))
        census = perform(survey(keys, Census()))
        assert 30 <= census.measured < 150
        exactly = sum(behind.memory_usage(name) for name in behind.scan_iter(f"{keys.prefix}:*"))
        assert census.memory == pytest.approx(exactly, rel=0.1)

    def test_stops_after_a_sample(self, perform, keys, monkeypatch):
        monkeypatch.setattr(operations, "PAGE", 10)
        for number in range(200):
            perform(create(keys, f"session-{number}", record(), ttl=60))
        census = perform(survey(keys, Census(), limit=20))
        assert 20 <= census.sessions < 100
        assert not census.is_complete

    def test_is_complete_if_the_sample_is_everybody(self, perform, keys):
        perform(create(keys, KEY, record(), ttl=60))
        assert perform(survey(keys, Census(), limit=1)).is_complete


@pytest.mark.unix
class TestAServerThatForbidsQuestions:
    def test_is_surveyed_without_their_answers(self, server, behind, keys):
        behind.execute_command(
            "ACL", "SETUSER", "narrow", "on", ">pw", "+@all", "-dbsize", "-memory", "-info", "~*"
        )
        client = Store.of(Settings(url=f"unix://narrow:pw@{server.socket}")).connections.client()
        run(client, create(keys, KEY, record(), ttl=60))
        assert run(client, operations.server_info()) == {}
        census = run(client, survey(keys, Census()))
        assert (census.sessions, census.memory) == (1, 0)
        behind.execute_command("ACL", "SETUSER", "narrow", "+info")
        assert "dbsize" not in run(client, operations.server_info())
        behind.execute_command("ACL", "DELUSER", "narrow")


@pytest.mark.one_slot
class TestPurging:
    @pytest.fixture(autouse=True)
    def sessions(self, perform, keys):
        perform(create(keys, "anonymous-old", record(created=1000, touched=1000, ttl=1000), ttl=300))
        perform(create(keys, "anonymous-new", record(created=1900, touched=1900, ttl=1000), ttl=900))
        perform(create(keys, "user-1-old", record(created=1000, user=user_marker("1")), ttl=60))
        perform(create(keys, "user-2-new", record(created=1990, touched=1990, user=user_marker("2")), ttl=60))

    def left(self, perform, keys):
        everyone = ("anonymous-old", "anonymous-new", "user-1-old", "user-2-new")
        return [name for name in everyone if perform(exists(keys, name))]

    @pytest.mark.parametrize(
        ("conditions", "left"),
        [
            ({}, []),
            ({"anonymous": True}, ["user-1-old", "user-2-new"]),
            ({"user": user_marker("1")}, ["anonymous-old", "anonymous-new", "user-2-new"]),
            ({"older_than": 500}, ["anonymous-new", "user-2-new"]),
            ({"idle": 500}, ["anonymous-new", "user-2-new"]),
            ({"anonymous": True, "older_than": 500}, ["anonymous-new", "user-1-old", "user-2-new"]),
        ],
    )
    def test_ends_those_that_meet_all_conditions(self, perform, keys, conditions, left):
        ended = perform(purge(keys, matching(now=2000, **conditions)))
        assert self.left(perform, keys) == left
        assert ended == 4 - len(left)

    @pytest.mark.parametrize("one_by_one", [False, True])
    def test_ends_each_once_whatever_the_pages(self, perform, keys, behind, monkeypatch, one_by_one):
        monkeypatch.setattr(operations, "PAGE", 10)
        monkeypatch.setattr(operations, "BUNDLE", 3)
        for number in range(96):
            perform(create(keys, f"session-{number}", record(), ttl=60))
        seen = []
        options = {"one_by_one": one_by_one, "progress": seen.append}
        assert perform(purge(keys, matching(now=2000, user=user_marker("1")), **options)) == 1
        assert seen[-1].seen >= 99
        assert perform(purge(keys, matching(now=2000), **options)) == 99
        assert (seen[-1].ended, seen[-1].share) == (99, 1.0)
        assert list(behind.scan_iter(f"{keys.prefix}:*")) == []

    def test_does_not_look_at_sessions_when_all_are_to_go(self, keys):
        purging = purge(keys, matching(now=2000))
        purging.send(None)
        assert purging.send([2])[0][0] == "SCAN"
        ending = purging.send([[b"7", [b"first", b"second"]]])
        assert [command[0] for command in ending] == ["SCAN", "UNLINK"]
        assert ending[1] == ("UNLINK", b"first", b"second")

    def test_ends_none_in_a_dry_run(self, perform, keys):
        assert perform(purge(keys, matching(now=2000), dry_run=True)) == 4
        assert len(self.left(perform, keys)) == 4
