"""A session's way from one deployment to another, command by command; two prefixes stand for two deployments."""

from dataclasses import replace

import pytest

from django_redis_sessions import operations
from django_redis_sessions.errors import SessionStoreUnavailable
from django_redis_sessions.keys import Keys, user_marker
from django_redis_sessions.operations import (
    FORWARDING_TTL,
    Entry,
    Move,
    Outcome,
    create,
    delete,
    exists,
    follow,
    read,
    say,
)
from django_redis_sessions.records import header_of, revision_of
from django_redis_sessions.relocations import There, has_left, relocate, whereabouts
from tests.test_operations import KEY, record

NEW = "n" * 32
USER = user_marker("7")


@pytest.fixture(params=["one server", "several"])
def here(request, prefix):
    """The names of the deployment that the session leaves; those for several servers work on one as well."""
    return Keys(prefix, are_spread=request.param == "several")


@pytest.fixture
def there(prefix):
    return There(Keys(f"{prefix}:there"), lambda operation: operation)


@pytest.fixture
def entry():
    return Entry(user=USER, user_id="7", score=2_000, now=1_000, began_us=1)


def moving(here, there, old, entry=None, *, address_ttl=600, new=NEW):
    return relocate(
        here, there, Move(KEY, new, address_ttl, entry=entry), revision_of(old), record(b"moved"), 600
    )


@pytest.mark.unix  # nobody but an operator may write under two prefixes
class TestARelocation:
    @pytest.fixture
    def old(self, perform, here):
        old = record(b"old")
        perform(create(here, KEY, old, ttl=60))
        return old

    def test_takes_the_record_and_leaves_an_address(self, perform, here, there, old, behind):
        assert perform(moving(here, there, old)) is Outcome.DONE
        assert header_of(perform(read(there.keys, NEW))) is not None
        assert perform(exists(here, KEY)) is False
        assert perform(follow(here, KEY)) == NEW
        assert 10 < behind.ttl(here.forwarding(KEY)) <= 600

    def test_leaves_no_address_when_none_is_wanted(self, perform, here, there, old):
        assert perform(moving(here, there, old, address_ttl=0)) is Outcome.DONE
        assert perform(follow(here, KEY)) is None

    def test_says_where_whoever_knows_the_old_name_finds_it(self, perform, here, there, old):
        perform(moving(here, there, old))
        assert perform(whereabouts(here, here.name(KEY))) == there.keys.name(NEW)
        assert perform(whereabouts(there.keys, "x" * 24)) is None

    def test_takes_its_place_in_the_index_along(self, perform, here, there, old, entry, behind):
        behind.zadd(here.index(USER), {here.name(KEY): 2_000})
        behind.expire(here.index(USER), 60)
        assert perform(moving(here, there, old, entry)) is Outcome.DONE
        assert behind.zscore(there.keys.index(USER), there.keys.name(NEW)) == 2_000
        assert behind.zscore(here.index(USER), here.name(KEY)) is None

    def test_gives_the_record_that_somebody_else_has_written(self, perform, here, there, entry, behind):
        theirs = record(b"theirs")
        perform(create(here, KEY, theirs, ttl=60))
        assert perform(moving(here, there, record(), entry)) == theirs
        assert perform(read(here, KEY)) == theirs
        assert perform(exists(there.keys, NEW)) is False
        assert perform(follow(here, KEY)) is None
        assert behind.zscore(there.keys.index(USER), there.keys.name(NEW)) is None

    def test_refuses_a_session_that_was_ended(self, perform, here, there):
        assert perform(moving(here, there, record())) is Outcome.GONE
        assert perform(exists(there.keys, NEW)) is False

    def test_is_refused_to_a_user_whose_sessions_were_revoked_there(
        self, perform, here, there, old, entry, behind
    ):
        behind.zadd(there.keys.index(USER), {"!": 5})
        behind.expire(there.keys.index(USER), 60)
        assert perform(moving(here, there, old, entry)) is Outcome.REVOKED
        assert perform(read(here, KEY)) == old
        assert perform(exists(there.keys, NEW)) is False
        assert perform(follow(here, KEY)) is None

    @pytest.mark.parametrize(
        ("at_an_end", "outcome"),
        [
            ({}, Outcome.REVOKED),
            ({"!!": 4}, Outcome.REVOKED),
            ({"!!": 5}, Outcome.DONE),
            ({"!!": 1_764_000_000_123_456}, Outcome.DONE),
        ],
        ids=["none", "an earlier one", "the same", "a later one"],
    )
    def test_follows_a_revocation_that_has_kept_the_session_here(
        self, perform, here, there, old, entry, behind, at_an_end, outcome
    ):
        """One that is under way may still come to it; then it ends there what it has not found here."""
        behind.zadd(here.index(USER), {"!": 1_764_000_000_123_456, here.name(KEY): 2_000, **at_an_end})
        behind.zadd(there.keys.index(USER), {"!": 5})
        for index in (here.index(USER), there.keys.index(USER)):
            behind.expire(index, 60)
        assert perform(moving(here, there, old, entry)) is outcome

    def test_is_refused_when_the_index_here_does_not_know_the_session(
        self, perform, here, there, old, entry, behind
    ):
        behind.zadd(here.index(USER), {"!": 5, "!!": 5})
        behind.zadd(there.keys.index(USER), {"!": 5})
        for index in (here.index(USER), there.keys.index(USER)):
            behind.expire(index, 60)
        assert perform(moving(here, there, old, entry)) is Outcome.REVOKED

    def test_tries_another_key_when_an_answer_was_lost(self, perform, here, there, old):
        perform(create(there.keys, NEW, record(b"of the same call"), ttl=60))
        assert perform(moving(here, there, old)) is Outcome.TAKEN
        assert perform(exists(there.keys, NEW)) is False
        assert perform(moving(here, there, old)) is Outcome.DONE


@pytest.mark.unix  # nobody but an operator may write under two prefixes
class TestTwoRelocationsFromSeveralServers:
    """The address is laid before the record goes, and one of the two lays it."""

    @pytest.fixture
    def here(self, prefix):
        return Keys(prefix, are_spread=True)

    @pytest.fixture
    def old(self, perform, here):
        old = record(b"old")
        perform(create(here, KEY, old, ttl=60))
        return old

    def test_one_waits_while_the_other_is_under_way(self, perform, here, there, old, behind):
        behind.set(here.forwarding(KEY), b"of the other", ex=FORWARDING_TTL)
        assert perform(moving(here, there, old)) is Outcome.TAKEN
        assert perform(read(here, KEY)) == old
        assert perform(exists(there.keys, NEW)) is False
        assert behind.get(here.forwarding(KEY)) == b"of the other"

    def test_the_second_finds_what_the_first_has_left(self, perform, here, there, old):
        perform(moving(here, there, old))
        assert perform(moving(here, there, old, new="late" * 8)) is Outcome.GONE
        assert perform(follow(here, KEY)) == NEW
        assert perform(exists(there.keys, "late" * 8)) is False

    def test_the_slower_leaves_the_address_of_the_faster(self, perform, here, there, old, behind):
        """It was so slow that its own address was gone when the other came."""
        late = self.begun(perform, here, there, old)
        behind.unlink(here.forwarding(KEY))
        perform(moving(here, there, old))
        assert perform(late) is Outcome.GONE
        assert perform(follow(here, KEY)) == NEW

    def begun(self, perform, here, there, old):
        """A move whose record and address are there; the rest of it."""
        operation = moving(here, there, old, new="late" * 8)
        step = operation.send(None)
        for _ in range(2):
            step = operation.send(perform(say(step)))
        return resumed(operation, step)

    def test_an_address_alone_is_no_proof_that_the_session_has_left(self, perform, here, there, old):
        """Who ends a session between the two steps has ended it: nobody may follow the address to its copy."""
        self.begun(perform, here, there, old)
        perform(delete(here, KEY))
        assert perform(follow(here, KEY)) == "late" * 8
        assert perform(has_left(here, KEY, there.keys.name("late" * 8))) is False

    def test_a_move_that_has_come_to_its_end_is(self, perform, here, there, old, behind):
        perform(moving(here, there, old))
        assert perform(has_left(here, KEY, there.keys.name(NEW))) is True
        assert perform(has_left(here, KEY, there.keys.name("late" * 8))) is False
        assert behind.ttl(here.moved(here.name(KEY))) > 60

    def test_is_done_although_the_address_cannot_be_prolonged(self, perform, here, there, old, caplog):
        failing = SessionStoreUnavailable("Redis is away.")

        def prolonged(step):
            if step[0] == "SET" and "NX" not in step:
                return operations.failed(failing)
            return say(step)

        assert perform(operations.driven(moving(here, there, old), prolonged)) is Outcome.DONE
        assert "another region will be gone in a moment" in caplog.text
        assert perform(follow(here, KEY)) == NEW


def resumed(operation, step):
    """The rest of an operation that has got as far as this step."""
    try:
        while True:
            step = operation.send((yield step))
    except StopIteration as done:
        return done.value


class TestAMovesNames:
    def test_are_those_of_both_ends(self):
        here, there = Keys("a"), replace(Keys("b"), are_spread=True)
        assert Move(KEY, NEW).names(here, there) == (here.name(KEY), there.name(NEW))
