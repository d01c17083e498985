import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions.census import LIFE_BOUNDS, LIFE_LABELS, Census, everything, matching, server_facts
from django_redis_sessions.records import Codec, Header


def record(**header):
    return Codec().seal(b"{}", Header(**header), "")


def census_of(sizes, memory=lambda size: None):
    """A census of one session for each size, and what the server says that it takes."""
    census = Census()
    census.count([b""] * len(sizes), [60] * len(sizes))
    for size in sizes:
        census.weigh(size, memory(size))
    return census


class TestACensus:
    @given(sizes=st.lists(st.integers(1, 5000), min_size=1), share=st.floats(0.01, 1))
    def test_gives_the_size_that_a_share_of_sessions_does_not_exceed(self, sizes, share):
        census = census_of(sizes)
        limit = census.size_at(share)
        assert limit in sizes
        assert sum(size <= limit for size in sizes) >= share * len(sizes)
        assert sum(size < limit for size in sizes) < share * len(sizes)

    def test_of_nothing_is_all_zeros(self):
        summary = Census().summary()
        assert summary["size"] == {"p50": 0, "p95": 0, "max": 0}
        assert sum(summary["time_to_live"].values()) == 0

    def test_puts_lives_between_their_bounds(self):
        census = Census()
        census.count([b""] * 7, [0, 3600, 3601, 86400, 86401, 1_209_600, 10**9])
        assert census.lives == [2, 2, 1, 1, 0, 1]
        assert len(LIFE_LABELS) == len(LIFE_BOUNDS) + 1

    def test_counts_immortal_sessions_apart(self):
        census = Census()
        census.count([b""], [-1])
        assert (census.without_ttl, sum(census.lives)) == (1, 0)

    def test_tells_the_signed_in_from_the_anonymous_and_the_unreadable(self):
        census = Census()
        census.count([b"", b"marker", None, b""], [60] * 4)
        assert (census.sessions, census.anonymous, census.logged_in, census.unreadable) == (4, 2, 1, 1)


class TestTheMemoryOfSessions:
    @given(sizes=st.lists(st.integers(1, 5000), min_size=1))
    def test_is_exact_when_each_was_measured(self, sizes):
        census = census_of(sizes, memory=lambda size: size * 5 // 4 + 90)
        assert census.memory == sum(size * 5 // 4 + 90 for size in sizes)

    @given(sizes=st.lists(st.integers(1, 5000), min_size=1))
    def test_follows_from_a_single_one_where_all_take_the_same_beyond_their_size(self, sizes):
        census = census_of(sizes[1:])
        census.count([b""], [60])
        census.weigh(sizes[0], sizes[0] + 90)
        assert census.measured == 1
        assert census.memory == sum(size + 90 for size in sizes)

    def test_is_nothing_where_the_server_does_not_say(self):
        assert census_of([100, 200]).memory == 0


class TestASessionsIdleTime:
    @pytest.mark.parametrize(("touched", "idle"), [(4000, 500), (4500, 0), (9999, 0)])
    def test_starts_over_when_its_life_is_extended(self, touched, idle):
        start = record(created=1000, touched=touched, ttl=600)
        assert matching(now=4500, idle=idle)(start)
        assert not matching(now=4500, idle=idle + 1)(start)


class TestConditions:
    def test_spare_what_cannot_be_read(self):
        for condition in ({"anonymous": True}, {"older_than": 0}, {"idle": 0}, {"user": b"marker"}):
            assert not matching(now=9e9, **condition)(b"no record")

    def test_that_are_none_are_met_by_everything(self):
        assert matching(now=9e9) is everything
        assert everything(b"no record")


class TestTheFactsAboutAServer:
    def test_name_valkey_by_its_own_version(self):
        """Valkey reports redis_version 7.2.4 whatever it is."""
        facts = server_facts([{"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2"}])
        assert (facts["server"], facts["version"]) == ("valkey", "9.1.2")

    def test_are_unknown_where_info_is_forbidden(self):
        assert server_facts([{}]) == {
            "server": "redis",
            "version": "unknown",
            "masters": 1,
            "used_memory": 0,
            "maxmemory": 0,
            "eviction_policy": "unknown",
            "commands": 0,
            "evicted": 0,
            "expired": 0,
            "replication": {"replicas": 0, "online": 0, "lag": None},
            "persistence": {"aof": None, "ok": None, "last_save": None, "changes_since_save": 0},
        }

    def test_add_up_the_memory_of_all_masters(self):
        facts = server_facts(
            [{"used_memory": "3", "maxmemory": "10"}, {"used_memory": "4", "maxmemory": "10"}]
        )
        assert (facts["masters"], facts["used_memory"], facts["maxmemory"]) == (2, 7, 20)
