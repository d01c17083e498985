import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions import training
from django_redis_sessions.dictionaries import DICTIONARIES, NEWEST
from django_redis_sessions.errors import TooFewSessions
from django_redis_sessions.keys import user_marker
from django_redis_sessions.records import Codec, Header
from django_redis_sessions.training import Gain, Sample, shared_fragments, threshold, worthwhile_fragments


def payload(**data):
    return json.dumps(data, separators=(",", ":")).encode()


def record(data, user=None):
    return Codec().seal(data, Header(1, 2, 3, user_marker(str(user)) if user else b""), "")


def sample_of(*records):
    sample = Sample(Codec())
    for each in records:
        sample.add(each, "")
    return sample


def texts(payloads_of_people, least, size=4096):
    chosen = worthwhile_fragments(shared_fragments(payloads_of_people, least), size)
    return [fragment.text for fragment in chosen]


def shop(number, seed=5):
    """What a shop might store for one visitor."""
    chance = random.Random(f"{seed}/{number}")
    return payload(
        basket_of_the_visitor={"lines": [{"article": chance.randrange(9), "gift_wrapping": False}] * 2},
        preferred_delivery=chance.choice(["parcel locker", "courier"]),
        token=f"{chance.getrandbits(128):032x}",
    )


class TestAFragment:
    @given(
        people=st.lists(
            st.lists(st.text(alphabet='ab1":,{}\xff', max_size=30), min_size=1, max_size=3), max_size=12
        ),
        least=st.integers(1, 4),
        size=st.integers(1, 60),
    )
    def test_stands_whole_in_the_sessions_of_enough_people(self, people, least, size):
        payloads = [[each.encode("latin-1") for each in own] for own in people]
        found = shared_fragments(payloads, least)
        assert all(shared.people >= least for shared in found)
        chosen = worthwhile_fragments(found, size)
        for fragment in chosen:
            having = sum(any(fragment.text in each for each in own) for own in payloads)
            assert having >= fragment.people >= least
        assert sum(len(fragment.text) for fragment in chosen) <= size

    def test_is_joined_from_all_that_is_shared(self):
        people = [[payload(favourite_colour="green", nickname=f"n{number}")] for number in range(10)]
        assert texts(people, 10) == [b'{"favourite_colour":"green","nickname":"']

    def test_never_holds_what_belongs_to_few(self):
        secret = "4929 1234 5678 9012"
        people = [[payload(card_number=secret if number < 9 else f"{number}")] for number in range(50)]
        joined = b"".join(texts(people, 10))
        assert b"card_number" in joined
        assert not any(part.encode() in joined for part in secret.split())

    def test_of_one_person_counts_once_however_many_the_sessions(self):
        sessions = [payload(own_street="Rue de la Paix")] * 100
        assert texts([sessions, [payload(other=1)]], 2) == []

    def test_that_is_part_of_another_is_left_out(self):
        people = [[b'{"first_name":"'], [b'{"first_name":"'], [b'"first_name"'], [b'"first_name"']]
        assert texts(people, 2) == [b'{"first_name":"']

    def test_that_is_used_most_stands_last(self):
        people = [[payload(used_by_everybody=number)] for number in range(20)]
        people += [[payload(used_by_everybody=number, rarely_used=number)] for number in range(20, 30)]
        assert b"everybody" in texts(people, 10)[-1]

    def test_is_the_same_in_each_process(self):
        people = [[shop(number)] for number in range(60)]
        assert texts(people, 10) == texts([list(reversed(own)) for own in reversed(people)], 10)

    def test_may_come_from_any_serializer(self):
        people = [
            [b"\x80\x05\x95\x1b}\x94\x8c\x0ctheir_basket\x94K" + bytes([number])] for number in range(9)
        ]
        assert b"their" in b"".join(texts(people, 9))


class TestHowManyPeopleHaveToShareIt:
    @pytest.mark.parametrize(("people", "least"), [(80, 10), (1000, 10), (1001, 11), (4000, 40)])
    def test_is_ten_or_one_of_a_hundred(self, people, least):
        assert threshold(people) == least


@pytest.fixture(scope="module")
def trained():
    """From 400 people, of whom half are known and twenty of these have two sessions."""
    people = [record(shop(number), user=number if number % 2 else None) for number in range(400)]
    return sample_of(b"\x80 no record", *people, *people[1:40:2]).trained(130, 2048)


class TestATraining:
    def test_makes_a_dictionary_of_the_size_and_number_it_was_told(self, trained):
        assert trained.dictionary.number == 130
        assert len(trained.dictionary.text) <= 2048

    def test_tells_what_it_was_made_from(self, trained):
        found = trained.as_dict()
        assert (found["sessions"], found["people"], found["unreadable"]) == (420, 400, 1)
        assert found["threshold"] == 10
        assert found["fragments"] == len(trained.fragments) > 3
        assert {"stored", "zlib", "built_in", "trained"} == set(found["bytes_per_record"])

    def test_measures_on_people_it_has_not_seen(self, trained):
        gain = trained.gain
        assert gain.records == pytest.approx(420 / 5, abs=10)
        assert gain.trained < gain.built_in < gain.zlib
        assert gain.stored == gain.built_in
        assert gain.saved > 0.3

    def test_fills_what_is_left_with_the_packages_own_dictionary(self, trained):
        own = b"".join(fragment.text for fragment in trained.fragments)
        assert trained.dictionary.text.endswith(own)
        assert DICTIONARIES[NEWEST].endswith(trained.dictionary.text.removesuffix(own))
        assert len(trained.dictionary.text) == 2048

    def test_keeps_every_random_token_out(self, trained):
        tokens = {re.search(rb'"token":"(\w+)"', shop(number))[1] for number in range(400)}
        assert not any(token[:8] in trained.dictionary.text for token in tokens)

    def test_wants_a_hundred_sessions(self):
        with pytest.raises(TooFewSessions, match="at least 100 sessions are needed, and 99 could be read"):
            sample_of(*(record(shop(number)) for number in range(99))).trained(128, 4096)

    def test_says_how_many_it_could_not_open(self):
        with pytest.raises(
            TooFewSessions, match=r"1 could be read of 3 that were found; `redis_sessions doctor`"
        ):
            sample_of(record(shop(1)), b"anything", b"").trained(128, 4096)

    def test_wants_people_who_share_something(self):
        one_person = [record(shop(number), user=1) for number in range(100)]
        with pytest.raises(TooFewSessions, match="no 10 people share a text"):
            sample_of(*one_person).trained(128, 4096)

    def test_says_when_it_does_not_pay_off(self):
        assert not Gain(records=100, stored=1000, zlib=2000, built_in=1000, trained=951).is_worthwhile
        assert Gain(records=100, stored=1000, zlib=2000, built_in=1000, trained=949).is_worthwhile
        assert not Gain(records=100, stored=2000, zlib=500, built_in=1000, trained=600).is_worthwhile
        assert Gain(records=0, stored=0, zlib=0, built_in=0, trained=0).saved == 0


class TestASample:
    def test_has_an_end(self, monkeypatch):
        monkeypatch.setattr(training, "LARGEST_SAMPLE", 3 * len(shop(1)))
        sample = Sample(Codec())
        assert [sample.add(record(shop(1)), "") for _ in range(3)] == [True, True, False]
        assert sample.is_full
