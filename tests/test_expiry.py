from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.contrib.sessions.backends.base import SessionBase
from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions.expiry import LONGEST_TTL, Lifetimes, comparable, idle_life, ttl_for


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


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=ZONES)


class TestTheIdleLife:
    now = datetime(2026, 11, 29, 12, 0, 0, 250_000, tzinfo=UTC)

    def django_says(self, expiry, now):
        session = SessionBase()
        session.get_session_cookie_age = lambda: 1_209_600
        return session.get_expiry_age(expiry=expiry, modification=now)

    @pytest.mark.parametrize("expiry", [None, 0, 0.0, "", 300, 1.5, -1, -0.5, 10**12])
    def test_is_the_number_that_django_says(self, expiry):
        assert idle_life(expiry, 1_209_600, self.now) == self.django_says(expiry, self.now)

    @given(expiry=INSTANTS, now=INSTANTS)
    def test_until_an_instant_is_what_django_says(self, expiry, now):
        assert idle_life(expiry, 1_209_600, now) == self.django_says(expiry, now)
        assert idle_life(expiry.isoformat(), 1_209_600, now) == self.django_says(expiry.isoformat(), now)

    def test_until_a_naive_instant_is_what_a_site_without_time_zones_says(self, settings):
        """Django sets the time zone of its process to its own; here it is the machine's that counts."""
        settings.USE_TZ = False
        # In January no place changes its clocks.
        now = datetime(2026, 1, 15, 12)
        naive = now + timedelta(hours=3)
        life = idle_life(naive.isoformat(), 1_209_600, now.astimezone(UTC))
        assert life == self.django_says(naive.isoformat(), now) == 10_800

    def test_of_text_that_is_no_instant_is_an_error(self):
        with pytest.raises(ValueError, match="Invalid isoformat"):
            idle_life("tomorrow", 1_209_600, self.now)


class TestTheLimitsOfALife:
    def test_shorten_it(self):
        limits = Lifetimes(anonymous_ttl=100, absolute_ttl=1000, probation_ttl=10)
        assert limits.ttl(500, created=0, now=0, is_anonymous=False) == 500
        assert limits.ttl(500, created=0, now=900, is_anonymous=False) == 100
        assert limits.ttl(500, created=0, now=1000, is_anonymous=False) is None
        assert limits.ttl(500, created=0, now=0, is_anonymous=True) == 100
        assert limits.ttl(50, created=0, now=0, is_anonymous=True) == 50
        assert limits.ttl(500, created=0, now=0, is_anonymous=True, is_new=True) == 10
        assert limits.ttl(500, created=0, now=0, is_anonymous=False, is_new=True) == 500

    def test_never_lengthen_it(self):
        assert Lifetimes(anonymous_ttl=900).ttl(5, created=0, now=0, is_anonymous=True) == 5

    @given(
        idle=st.floats(-10, 10**7),
        absolute=st.none() | st.integers(1, 10**6),
        anonymous=st.none() | st.integers(1, 10**6),
        probation=st.none() | st.integers(1, 10**6),
        created=st.integers(0, 10**6),
        later=st.integers(0, 10**7),
        is_anonymous=st.booleans(),
        is_new=st.booleans(),
    )
    def test_hold_for_any_settings_and_clock(
        self, idle, absolute, anonymous, probation, created, later, is_anonymous, is_new
    ):
        now = created + later
        limits = Lifetimes(absolute_ttl=absolute, anonymous_ttl=anonymous, probation_ttl=probation)
        ttl = limits.ttl(idle, created=created, now=now, is_anonymous=is_anonymous, is_new=is_new)
        assert (ttl is None) == (idle <= 0 or limits.is_over(created, now))
        if ttl is not None:
            assert 0 < ttl <= LONGEST_TTL
            assert ttl <= idle + 1
            assert absolute is None or now + ttl <= created + absolute


class TestReading:
    def extends(self, limits, *, touched=0, given=1000, possible=1000, now, is_anonymous=False):
        return limits.extends_on_read(
            touched=touched, given=given, possible=possible, now=now, is_anonymous=is_anonymous
        )

    def test_extends_no_life_by_default(self):
        assert not self.extends(Lifetimes(), now=999)

    def test_extends_it_every_other_second_at_most(self):
        assert not self.extends(Lifetimes(rolling=0.0), now=0)
        assert not self.extends(Lifetimes(rolling=0.0), now=1)
        assert self.extends(Lifetimes(rolling=0.0), now=2)

    def test_extends_it_when_enough_of_it_has_gone(self):
        assert not self.extends(Lifetimes(rolling=0.5), now=500)
        assert self.extends(Lifetimes(rolling=0.5), now=501)

    def test_does_not_extend_a_fixed_end(self):
        assert not self.extends(Lifetimes(rolling=0.0), now=400, possible=600)

    def test_ends_probation(self):
        limits = Lifetimes(probation_ttl=60)
        assert self.extends(limits, given=60, now=0, is_anonymous=True)
        assert not self.extends(limits, given=1000, now=0, is_anonymous=True)
        assert not self.extends(limits, given=60, now=0, is_anonymous=False)
        assert not self.extends(limits, given=50, possible=50, now=0, is_anonymous=True)
