from datetime import UTC, datetime, timedelta, timezone

import pytest

from django_redis_sessions.expiry import LONGEST_TTL, comparable, ttl_for


class TestTheTtlOfARecord:
    @pytest.mark.parametrize(
        ("expiry_age", "ttl"),
        [
            (1, 1),
            (1.5, 2),
            (0.001, 1),
            (1209600, 1209600),
            (10**12, LONGEST_TTL),
            (float("inf"), LONGEST_TTL),
        ],
    )
    def test_is_whole_seconds_rounded_up_and_capped(self, expiry_age, ttl):
        assert ttl_for(expiry_age) == ttl

    @pytest.mark.parametrize("expiry_age", [0, -1, -0.5, float("-inf"), float("nan")])
    def test_is_none_when_time_is_up(self, expiry_age):
        assert ttl_for(expiry_age) is None


class TestAnInstantOfTheOtherKind:
    berlin = timezone(timedelta(hours=1))

    def aware(self, naive):
        return naive.replace(tzinfo=self.berlin)

    def test_naive_text_is_read_in_the_current_zone(self):
        modified = datetime(2026, 11, 21, 12, tzinfo=UTC)
        expiry = comparable("2026-11-21T14:00:00", modified, self.aware)
        assert expiry - modified == timedelta(hours=1)

    def test_aware_instants_become_naive_for_a_naive_clock(self):
        modified = datetime(2026, 11, 21, 12)
        expiry = comparable(datetime(2026, 11, 21, 13, tzinfo=UTC), modified, self.aware)
        assert expiry.tzinfo is None

    @pytest.mark.parametrize("expiry", [None, 0, 60, 1.5, -1])
    def test_numbers_pass_through(self, expiry):
        assert comparable(expiry, datetime(2026, 1, 1), self.aware) is expiry

    def test_instants_of_the_same_kind_pass_through(self):
        modified = datetime(2026, 11, 21, 12, tzinfo=UTC)
        assert comparable("2026-11-21T14:00:00+00:00", modified, self.aware).hour == 14
