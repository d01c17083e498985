import pytest
from redis.crc import key_slot

from django_redis_sessions import scripts
from django_redis_sessions.errors import SessionStoreUnavailable
from django_redis_sessions.keys import Keys, forwarding_address
from django_redis_sessions.operations import (
    Move,
    Outcome,
    create,
    cycle,
    cycle_between_slots,
    delete,
    exists,
    follow,
    on,
    read,
    replace,
    replicated,
    run_script,
    save,
    touch,
)
from django_redis_sessions.records import Codec, Header, header_of, revision_of
from tests.servers import load_scripts

KEY = "k" * 32


def record(payload=b"{}", **header):
    return Codec().seal(payload, Header(**{"created": 1000, "touched": 1000, "ttl": 60, **header}), "")


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
        try:
            assert perform(save(keys, KEY, revision_of(old), new, header_of(new))) is Outcome.DONE
        finally:
            load_scripts(behind)


class TestTouchingARecord:
    def test_extends_its_life_in_place(self, perform, keys, behind):
        old = record(b"old")
        perform(create(keys, KEY, old, ttl=10))
        assert perform(touch(keys, KEY, revision_of(old), Header(1, 5000, 600))) is Outcome.DONE
        header, payload = Codec().open(perform(read(keys, KEY)), "")
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
        perform(move_session(keys, Move(KEY, self.new, address_ttl=10), revision_of(old), moved, 600))
        assert perform(exists(keys, KEY)) is False
        assert perform(follow(keys, KEY)) == self.new
        assert self.new.encode() not in behind.get(keys.forwarding(KEY))
        assert 0 < behind.ttl(keys.forwarding(KEY)) <= 10

    def test_refuses_a_session_that_was_deleted_meanwhile(self, perform, keys, move_session):
        old, moved = record(b"old"), record(b"moved")
        move = Move(KEY, self.new, address_ttl=10)
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
        first, second = Move(KEY, self.new, address_ttl=10), Move(KEY, "late" * 8, address_ttl=10)
        perform(move_session(keys, first, revision_of(old), moved, 600))
        assert perform(move_session(keys, second, revision_of(old), record(), 600)) is Outcome.GONE
        assert perform(follow(keys, KEY)) == self.new

    def test_leads_whoever_has_the_old_name_to_the_new_one(self, perform, keys, behind, move_session):
        old, moved = record(b"old"), record(b"moved")
        perform(create(keys, KEY, old, ttl=60))
        perform(move_session(keys, Move(KEY, self.new), revision_of(old), moved, 600))
        trace = keys.moved(keys.name(KEY))
        assert behind.get(trace) == keys.name(self.new).encode()
        assert 10 < behind.ttl(trace) <= 60
        # Whoever comes too late changes nothing about that.
        assert (
            perform(move_session(keys, Move(KEY, "late" * 8), revision_of(old), moved, 600)) is Outcome.GONE
        )
        assert behind.get(trace) == keys.name(self.new).encode()

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


class TestAMoveBetweenServers:
    """Command by command, with a server that does not answer the last of them."""

    keys = Keys(are_spread=True)

    def stopped(self, move):
        """How the move went, and the last commands, which were lost."""
        moving = cycle_between_slots(self.keys, move, b"revisi", record(), 600)
        moving.send(None)
        for _ in range(2 if move.address_ttl else 1):
            moving.send(True)
        last = moving.send(1)
        with pytest.raises(StopIteration) as done:
            moving.throw(SessionStoreUnavailable("Gone."))
        return done.value.value, last

    def test_has_succeeded_though_its_address_could_not_be_kept_for_longer(self, caplog):
        move = Move(KEY, "n" * 32, address_ttl=600)
        outcome, last = self.stopped(move)
        assert outcome is Outcome.DONE
        assert last == [("SET", self.keys.forwarding(KEY), forwarding_address(KEY, "n" * 32), "EX", 600)]
        assert "is incomplete: Gone." in caplog.text
        assert KEY not in caplog.text

    def test_leaves_the_address_for_seconds_until_it_is_over(self):
        moving = cycle_between_slots(
            self.keys, Move(KEY, "n" * 32, address_ttl=600), b"revisi", record(), 600
        )
        moving.send(None)
        command = moving.send(True)
        assert command[0:2] == ("SET", self.keys.forwarding(KEY))
        assert command[3:] == ("NX", "EX", 10)


class TestLeavingAKeyBetweenSlots:
    def leaving(self, keys, new, revision):
        names = [keys.record(KEY), keys.moved(keys.name(KEY))]
        return run_script(scripts.LEAVE, names, revision, new, 60, keys.channel, b"")

    def test_may_be_repeated_when_its_answer_was_lost(self, perform, keys):
        old = record(b"old")
        perform(create(keys, KEY, old, ttl=60))
        for _ in range(2):
            assert perform(self.leaving(keys, "new name", revision_of(old))) == 1
        assert perform(self.leaving(keys, "another name", revision_of(old))) == 0

    def test_happens_on_one_server(self, keys):
        """The slot of a Redis key is that of what it has in braces, if it has any."""
        name = keys.name(KEY)
        for these in (keys, Keys("my:shop"), Keys("{shop}"), Keys("a{b}c{d}")):
            assert key_slot(these.moved(name).encode()) == key_slot(these.record_named(name).encode())


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
    @pytest.mark.parametrize(
        "wrapped",
        [
            lambda operation: operation,
            lambda operation: replicated(operation, 1, 50),
            lambda operation: on(None, operation),
        ],
        ids=["alone", "replicated", "on one of several servers"],
    )
    def test_is_an_unknown_session(self, keys, operation, answer, text, wrapped):
        with pytest.raises(StopIteration) as done:
            wrapped(operation(keys, text)).send(None)
        assert done.value.value is answer
