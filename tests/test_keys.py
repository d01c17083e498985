import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions import keys as module
from django_redis_sessions.keys import Keys, digest, is_plausible, user_marker
from django_redis_sessions.schemes import Hashed, Plain

SESSION_KEY = "k" * 32


class TestWhatCountsAsASessionKey:
    @pytest.mark.parametrize("session_key", [SESSION_KEY, "abcdefgh", "A-Z_a-z0-9", "x" * 128])
    def test_some_engine_could_have_made_it(self, session_key):
        assert is_plausible(session_key)

    @pytest.mark.parametrize(
        "session_key",
        [None, "", "short", "x" * 129, "x" * 4000, "with space", "{braces}{braces}", "********", "new\nline\n",
         "abcdefgh\n", "nul\0nul\0nul", "schlüssel-mit-ü", "a:b:c:d:e:f", "../../../etc", "१२३४५६७८९"],
    )  # fmt: skip
    def test_anything_else_is_an_unknown_session(self, session_key):
        assert not is_plausible(session_key)


class TestTheNameOfARecord:
    def test_gives_the_session_key_away_to_nobody(self):
        assert SESSION_KEY not in Keys("session").record(SESSION_KEY)

    def test_is_frozen(self):
        """Records written by any earlier version have to be found."""
        assert Keys("session").record(SESSION_KEY) == "session:r:XjGPjPnL4kmjCBK4yhMtaR3t"
        assert Keys("session", (Plain(),)).record(SESSION_KEY) == f"session:r:{SESSION_KEY}"

    def test_can_be_made_in_any_language(self):
        """The documentation says: the first 24 characters of the URL-safe base64 of SHA-256."""
        import base64
        import hashlib

        whole = base64.urlsafe_b64encode(hashlib.sha256(SESSION_KEY.encode()).digest()).decode()
        assert digest(SESSION_KEY) == whole[:24]

    @pytest.mark.parametrize("scheme", [Hashed(), Plain()])
    def test_leads_back_to_the_handle(self, scheme):
        keys = Keys("prefix:of:mine", (scheme,))
        assert keys.handle_of(keys.name_in(keys.record(SESSION_KEY).encode())) == digest(SESSION_KEY)


class TestThePatternOfAllRecords:
    def test_takes_a_prefix_by_the_letter(self):
        assert Keys("a*[b]?\\c^").records_pattern == r"a\*\[b\]\?\\c\^:r:*"

    @given(prefix=st.text("ab*?[]^\\-", min_size=1, max_size=6))
    def test_escapes_every_wildcard(self, prefix):
        pattern = Keys(prefix).records_pattern
        assert not re.search(r"(?<!\\)(\\\\)*[*?\[\]^]", pattern[:-1])


class TestTheChannel:
    def test_belongs_to_one_prefix_and_can_be_no_key(self):
        keys = Keys("prefix:of:mine")
        assert keys.channel == "prefix:of:mine:revocations"
        assert not keys.channel.startswith(keys.record(SESSION_KEY)[:-24])


class TestAUserMarker:
    def test_is_frozen_and_short(self):
        assert user_marker("1").hex() == "abc3a47b8ad18b855c"
        assert len(user_marker("x" * 300)) == 9

    def test_tells_users_apart(self):
        assert len({user_marker(str(number)) for number in range(1000)}) == 1000


class TestTheModulesTable:
    def test_names_every_kind_of_key(self):
        assert "``<prefix>:r:<digest" in module.__doc__
        assert Keys("<prefix>").record(SESSION_KEY).startswith("<prefix>:r:")
