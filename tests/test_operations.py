import pytest

from django_redis_sessions import operations
from django_redis_sessions.census import Census, matching
from django_redis_sessions.configuration import Settings
from django_redis_sessions.executors import run
from django_redis_sessions.keys import user_marker
from django_redis_sessions.operations import (
    create,
    create_under_new_key,
    delete,
    exists,
    purge,
    read,
    replace,
    survey,
)
from django_redis_sessions.records import Codec, Header
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

    def test_stores_nothing_when_its_life_is_over(self, perform, keys):
        assert perform(create(keys, KEY, b"new", ttl=None)) is True
        assert perform(exists(keys, KEY)) is False

    def test_refuses_a_taken_key_also_when_its_life_is_over(self, perform, keys):
        perform(create(keys, KEY, b"old", ttl=60))
        assert perform(create(keys, KEY, b"new", ttl=None)) is False
        assert perform(read(keys, KEY)) == b"old"


class TestCreatingUnderANewKey:
    def test_tries_again_after_a_collision(self, perform, keys):
        perform(create(keys, "taken" * 5, b"old", ttl=60))
        offered = iter(["taken" * 5, "free-" * 5])
        assert perform(create_under_new_key(keys, lambda: next(offered), b"new", ttl=60)) == "free-" * 5

    def test_gives_up_when_every_key_is_taken(self, perform, keys):
        perform(create(keys, KEY, b"old", ttl=60))
        assert perform(create_under_new_key(keys, lambda: KEY, b"new", ttl=60)) is None
        assert perform(read(keys, KEY)) == b"old"


class TestReplacingARecord:
    def test_overwrites_it_and_restarts_its_life(self, perform, keys, behind):
        perform(create(keys, KEY, b"old", ttl=10))
        assert perform(replace(keys, KEY, b"new", ttl=600)) is True
        assert perform(read(keys, KEY)) == b"new"
        assert behind.ttl(keys.record(KEY)) > 10

    def test_refuses_a_session_that_was_deleted_meanwhile(self, perform, keys):
        perform(create(keys, KEY, b"old", ttl=60))
        perform(delete(keys, KEY))

        assert perform(replace(keys, KEY, b"new", ttl=60)) is False
        assert perform(read(keys, KEY)) is None

    def test_ends_the_session_when_its_life_is_over(self, perform, keys):
        perform(create(keys, KEY, b"old", ttl=60))
        assert perform(replace(keys, KEY, b"new", ttl=None)) is True
        assert perform(exists(keys, KEY)) is False
        assert perform(replace(keys, KEY, b"new", ttl=None)) is False


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
            (lambda keys, text: replace(keys, text or "", b"", 60), False),
            (lambda keys, text: replace(keys, text or "", b"", None), False),
        ],
        ids=["read", "exists", "delete", "create", "replace", "end"],
    )
    def test_is_an_unknown_session(self, keys, operation, answer, text):
        with pytest.raises(StopIteration) as done:
            operation(keys, text).send(None)
        assert done.value.value is answer


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

    def test_stops_after_a_sample(self, perform, keys, monkeypatch):
        monkeypatch.setattr(operations, "PAGE", 10)
        for number in range(200):
            perform(create(keys, f"session-{number}", record(), ttl=60))
        assert 20 <= perform(survey(keys, Census(), limit=20)).sessions < 100


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

    def test_ends_none_in_a_dry_run(self, perform, keys):
        assert perform(purge(keys, matching(now=2000), dry_run=True)) == 4
        assert len(self.left(perform, keys)) == 4
