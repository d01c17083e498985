"""``benchmarks.scale``: what it fills a server with are sessions, and what it measures can be measured."""

import random

import pytest

from benchmarks import scale, scale_operations
from benchmarks.scale_filling import fill, session_key, typical_data, typical_records
from benchmarks.scale_peers import NoRedisCli, find_redis_cli, seconds_of
from django_redis_sessions import sessions
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.records import Codec

pytestmark = pytest.mark.unix


@pytest.fixture
def filled(server, store):
    """A server with 200 sessions made of 40 records."""
    records = typical_records(40)
    fill(server.socket, store.keys, records, range(200))
    return records


class TestTheSessionsThatAServerIsFilledWith:
    def test_open_with_the_codec(self):
        for record, ttl in typical_records(40):
            header, payload = Codec().open(record, "")
            assert header.is_anonymous == (b"_auth_user_id" not in payload)
            assert 0 < ttl <= header.ttl

    def test_are_anonymous_to_a_quarter(self):
        dice = random.Random(3)
        strangers = sum("_auth_user_id" not in typical_data(dice) for _ in range(2000))
        assert 400 < strangers < 600

    def test_load_as_any_other(self, filled):
        for number in range(0, 200, 7):
            session = SessionStore(session_key(number))
            assert session.load()
            assert session.session_key == session_key(number)
            assert Codec().open(filled[number % 40][0], "")[1] == session._dumps(session._get_session())

    def test_are_all_there_and_live(self, filled):
        census = sessions.statistics().census
        assert (census.sessions, census.unreadable, census.without_ttl) == (200, 0, 0)
        assert sessions.purge() == 200

    def test_are_missed_when_the_server_does_not_take_them(self, server, store):
        with pytest.raises(RuntimeError, match="0 new sessions and not 5"):
            fill(server.socket, store.keys, [(b"a record", -1)], range(5))


class TestMeasuring:
    def test_leaves_as_many_sessions_as_there_were(self, filled, server, settings):
        rounds = scale_operations.measured({200: settings.SESSION_REDIS}, rounds=2, repetitions=2)
        assert {name: len(times) for name, times in rounds[200].items()} == dict.fromkeys(
            scale_operations.OPERATIONS, 2
        )
        assert sessions.statistics().census.sessions == 200

    def test_says_why_redis_cli_is_left_out(self):
        with pytest.raises(NoRedisCli, match="there is no /nowhere/redis-cli"):
            find_redis_cli("/nowhere/redis-cli")

    def test_does_not_time_what_fails(self):
        with pytest.raises(RuntimeError, match="false failed"):
            seconds_of(["true"], ["false"])

    def test_prints_tables(self):
        row = {"used_memory": 10**6, "bytes_per_session": 250.0}
        times = {"microseconds": dict.fromkeys(scale_operations.OPERATIONS, 100.0)}
        ratios = {"ratio": dict.fromkeys(scale_operations.OPERATIONS, 1.0)}
        table = scale.flatness_table({"sizes": [{"sessions": 10, **row, **times, **ratios}]})
        assert "| `load` | 100 µs, 1.00 × |" in table
