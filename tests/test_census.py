from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions.census import LIFE_BOUNDS, LIFE_LABELS, Census, Sighting, matching, server_facts
from django_redis_sessions.records import Header


def seen(header=None, ttl=60, size=100, memory=200):
    return Sighting(b"p:r:x", header, ttl, size, memory)


class TestACensus:
    @given(sizes=st.lists(st.integers(1, 5000), min_size=1), share=st.floats(0.01, 1))
    def test_gives_the_size_that_a_share_of_sessions_does_not_exceed(self, sizes, share):
        census = Census()
        for size in sizes:
            census.add(seen(size=size))
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
        for ttl in (0, 3600, 3601, 86400, 86401, 1_209_600, 10**9):
            census.add(seen(ttl=ttl))
        assert census.lives == [2, 2, 1, 1, 0, 1]
        assert len(LIFE_LABELS) == len(LIFE_BOUNDS) + 1

    def test_counts_immortal_sessions_apart(self):
        census = Census()
        census.add(seen(ttl=-1))
        assert (census.without_ttl, sum(census.lives)) == (1, 0)


class TestASessionsIdleTime:
    def test_starts_over_when_its_life_is_extended(self):
        assert seen(Header(created=1000, touched=4000, ttl=600)).idle(now=4500) == 500
        assert seen(Header(created=1000, touched=4500, ttl=600)).idle(now=4500) == 0

    def test_of_an_unreadable_record_is_unknown_and_counts_as_zero(self):
        assert seen(None).idle(now=5000) == 0
        assert seen(None).age(now=5000) == 0


class TestConditions:
    def test_spare_what_cannot_be_read(self):
        assert not matching(now=9e9, older_than=1)(seen(None))
        assert matching(now=9e9)(seen(None))


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
        }

    def test_add_up_the_memory_of_all_masters(self):
        facts = server_facts(
            [{"used_memory": "3", "maxmemory": "10"}, {"used_memory": "4", "maxmemory": "10"}]
        )
        assert (facts["masters"], facts["used_memory"], facts["maxmemory"]) == (2, 7, 20)
