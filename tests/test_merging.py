"""Three-way merging, as rules about any three sessions."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from django_redis_sessions.merging import UNIT, USER_ID, AnotherUsersSession, merge


def encoded(value):
    return json.dumps(value).encode()


def merged(baseline, mine, theirs):
    return merge(baseline, mine, theirs, encoded)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2),
    max_leaves=4,
)
data = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), values, max_size=4)
users = st.sampled_from([None, "1", "2"])


@st.composite
def sessions(draw, user=None):
    """Any session, of any user or nobody."""
    found = draw(data)
    if user is None:
        user = draw(users)
    if user is not None and user != "nobody":
        # The hash changes with the password, beside the other keys of the unit.
        password = draw(st.integers(0, 2))
        found |= {
            USER_ID: user,
            "_auth_user_backend": f"backend-{user}",
            "_auth_user_hash": f"hash-{user}-{password}",
        }
    if draw(st.booleans()):
        found["_session_expiry"] = draw(st.integers(0, 3))
    return found


def of_one_user():
    """Baseline, mine and theirs, all of the same user."""
    return st.sampled_from(["nobody", "1"]).flatmap(lambda user: st.tuples(*[sessions(user)] * 3))


def is_same(left, right, key):
    return (key in left) == (key in right) and (key not in left or encoded(left[key]) == encoded(right[key]))


class TestChangesToDifferentKeys:
    @given(of_one_user())
    def test_all_survive(self, three):
        baseline, mine, theirs = three
        result = merged(baseline, mine, theirs)
        for key in {*baseline, *mine, *theirs} - UNIT:
            if is_same(baseline, mine, key):
                assert is_same(result, theirs, key)
            else:
                assert is_same(result, mine, key)

    def test_include_removals(self):
        assert merged({"a": 1, "b": 1}, {"b": 1}, {"a": 1}) == {}

    def test_include_nested_ones(self):
        baseline = {"cart": {"x": 1}, "seen": [1]}
        assert merged(baseline, {"cart": {"x": 2}, "seen": [1]}, {"cart": {"x": 1}, "seen": [1, 2]}) == {
            "cart": {"x": 2},
            "seen": [1, 2],
        }

    def test_tell_what_python_thinks_equal(self):
        assert merged({"a": 1}, {"a": True}, {"a": 1}) == {"a": True}
        assert merged({"a": 1}, {"a": True}, {"a": 1})["a"] is True


class TestChangesToTheSameKey:
    def test_are_won_by_who_saves_last_and_never_mixed(self):
        assert merged({"a": [1]}, {"a": [1, 2]}, {"a": [1, 3]}) == {"a": [1, 2]}

    def test_are_won_by_a_removal_that_comes_last(self):
        assert merged({"a": 1}, {}, {"a": 2}) == {}


class TestMerging:
    @given(of_one_user())
    def test_may_be_repeated(self, three):
        """A save whose answer was lost is tried again on what it has stored itself."""
        baseline, mine, theirs = three
        result = merged(baseline, mine, theirs)
        assert merged(baseline, mine, result) == result
        assert merged(result, result, result) == result

    @given(of_one_user())
    def test_with_nobody_else_is_saving(self, three):
        baseline, mine, _ = three
        assert merged(baseline, mine, baseline) == mine

    @given(of_one_user())
    def test_with_nothing_to_say_keeps_theirs_in_its_order(self, three):
        baseline, _, theirs = three
        result = merged(baseline, baseline, theirs)
        assert list(result.items()) == list(theirs.items())

    @given(sessions(), sessions(), sessions())
    def test_takes_no_key_from_nowhere(self, baseline, mine, theirs):
        try:
            result = merged(baseline, mine, theirs)
        except AnotherUsersSession:
            return
        for key in result:
            assert is_same(result, mine, key) or is_same(result, theirs, key)


class TestTheKeysOfASignIn:
    @given(sessions(), sessions(), sessions())
    def test_move_as_a_unit(self, baseline, mine, theirs):
        try:
            result = merged(baseline, mine, theirs)
        except AnotherUsersSession:
            return
        unit = {key: value for key, value in result.items() if key in UNIT}
        assert unit in (
            {key: value for key, value in mine.items() if key in UNIT},
            {key: value for key, value in theirs.items() if key in UNIT},
        )


class TestASessionOfAnotherUser:
    @given(sessions(), sessions(), sessions())
    def test_is_never_merged_into(self, baseline, mine, theirs):
        assume(theirs.get(USER_ID) not in (baseline.get(USER_ID), mine.get(USER_ID)))
        with pytest.raises(AnotherUsersSession):
            merged(baseline, mine, theirs)

    @given(sessions("1"), sessions(), sessions("1"))
    def test_leaves_nothing_behind_when_mine_moved_on(self, baseline, mine, theirs):
        assume(mine.get(USER_ID) != "1")
        assert merged(baseline, mine, theirs) == mine

    @given(sessions("nobody"), sessions("1"), sessions("nobody"))
    def test_keeps_what_its_visitor_did_before_signing_in(self, baseline, mine, theirs):
        result = merged(baseline, mine, theirs)
        assert result[USER_ID] == "1"
        for key in {*theirs} - UNIT:
            assert is_same(result, theirs, key) or not is_same(baseline, mine, key)
