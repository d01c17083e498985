import os
from dataclasses import replace

import pytest

from django_redis_sessions import errors, walks
from django_redis_sessions.census import Census, matching
from django_redis_sessions.configuration import Settings
from django_redis_sessions.executors import run
from django_redis_sessions.keys import user_marker
from django_redis_sessions.operations import create, exists
from django_redis_sessions.records import Codec, Header
from django_redis_sessions.store import Store
from django_redis_sessions.walks import purge, survey

pytestmark = pytest.mark.operator

KEY = "k" * 32


def record(payload=b"{}", **header):
    return Codec().seal(payload, Header(**{"created": 1000, "touched": 1000, "ttl": 60, **header}), "")


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
        monkeypatch.setattr(walks, "PAGE", 10)
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
        start = record(os.urandom(5000))[: walks.GLIMPSE]
        other = errors.SessionStoreRefused("WRONGTYPE")
        missing = (b"", -2) if is_gone else (other, 60)
        again = walking.send([missing[0], start, record(), missing[1], 60, 60, None, 7000, 200])
        assert again == [("STRLEN", b"second")]
        with pytest.raises(StopIteration) as done:
            walking.send([0 if is_gone else other])
        census = done.value.value
        assert (census.sessions, census.size_at(1.0), census.is_complete) == (2, walks.GLIMPSE, True)

    def test_measures_every_one_at_first_and_then_some(self, perform, keys, behind, monkeypatch):
        monkeypatch.setattr(walks, "PAGE", 10)
        monkeypatch.setattr(walks, "MEASURED_AT_LEAST", 30)
        for number in range(200):
            perform(create(keys, f"session-{number}", record(), ttl=60))
        census = perform(survey(keys, Census()))
        assert 30 <= census.measured < 150
        exactly = sum(behind.memory_usage(name) for name in behind.scan_iter(f"{keys.prefix}:*"))
        assert census.memory == pytest.approx(exactly, rel=0.1)

    def test_stops_after_a_sample(self, perform, keys, monkeypatch):
        monkeypatch.setattr(walks, "PAGE", 10)
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
        assert run(client, walks.server_info()) == {}
        census = run(client, survey(keys, Census()))
        assert (census.sessions, census.memory) == (1, 0)
        behind.execute_command("ACL", "SETUSER", "narrow", "+info")
        assert "dbsize" not in run(client, walks.server_info())
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

    @pytest.mark.parametrize("are_spread", [False, True])
    def test_ends_each_once_whatever_the_pages(self, perform, keys, behind, monkeypatch, are_spread):
        keys = replace(keys, are_spread=are_spread)
        monkeypatch.setattr(walks, "PAGE", 10)
        monkeypatch.setattr(walks, "BUNDLE", 3)
        for number in range(96):
            perform(create(keys, f"session-{number}", record(), ttl=60))
        seen = []
        options = {"progress": seen.append}
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
