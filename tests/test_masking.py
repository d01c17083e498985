"""What may be shown of a session's data, by the names under which it is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from django_redis_sessions import masking
from django_redis_sessions.masking import MASK, entries, is_secret, masked

SECRET = [
    "password",
    "Password2",
    "new_password1",
    "_auth_user_hash",
    "csrfmiddlewaretoken",
    "_csrftoken",
    "accessToken",
    "oauth_token_secret",
    "api_key",
    "apiKey",
    "APIKey",
    "KEY",
    "key",
    "stripe-secret",
    "otp",
    "otp_code",
    "smsCode",
    "code2",
    "signature",
    "sig",
    "session_key",
    "sid",
    "nonce",
    "code_verifier",
    "Authorization",
    "pin",
]
HARMLESS = [
    "_auth_user_id",
    "_auth_user_backend",
    "cart",
    "keyboard",
    "monkey",
    "compass",
    "spinner",
    "encoder",
    "design",
    "_session_expiry",
    "language",
    "",
    7,
    None,
]


class TestAName:
    @pytest.mark.parametrize("name", SECRET)
    def test_that_sounds_like_a_secret_is_one(self, name):
        assert is_secret(name)
        assert masked("hunter2", name) == MASK

    @pytest.mark.parametrize("name", HARMLESS)
    def test_that_merely_looks_like_one_is_none(self, name):
        assert not is_secret(name)
        assert masked("hunter2", name) == "hunter2"


class TestASecret:
    @pytest.mark.parametrize(
        "data",
        [
            {"token": "hunter2"},
            {"social": {"google": {"access_token": "hunter2"}}},
            {"accounts": [{"name": "a", "password": "hunter2"}]},
            {"secret": {"parts": ["hunter2"]}},
            {"tokens": ["hunter2", "hunter2"]},
            {"pending": ({"otp": "hunter2"},)},
            {"form": json.dumps({"password": "hunter2"})},
            {"formset": json.dumps([{"step": {"password": "hunter2"}}])},
        ],
        ids=str,
    )
    def test_is_found_at_any_depth(self, data):
        shown = str(entries(data.items()))
        assert "hunter2" not in shown
        assert MASK in shown

    def test_is_replaced_and_not_changed(self):
        data = {"a": [{"token": "hunter2"}]}
        masked(data)
        assert data == {"a": [{"token": "hunter2"}]}

    def test_gives_away_neither_its_length_nor_its_kind(self):
        assert {masked(value, "token") for value in ("", "x" * 99, None, 7)} == {MASK}


class TestWhatIsShown:
    def test_is_sorted_by_name_and_reads_as_json(self):
        data = {"b": {"x": [1, None, True, 1.5]}, "a": "é", 3: "x"}
        assert [(name, json.loads(text)) for name, text in entries(data.items())] == [
            ("3", "x"),
            ("a", "é"),
            ("b", {"x": [1, None, True, 1.5]}),
        ]

    def test_is_cut_where_it_is_long(self):
        text = masked("x" * 1000)
        assert text.startswith("x" * masking.LONGEST_TEXT)
        assert text.endswith("+ 500")
        assert masked(list(range(250)))[-1] == "… + 150"
        assert len(masked({str(number): number for number in range(250)})) == masking.MOST_ENTRIES + 1
        ((name, _),) = entries({"n" * 1000: 1}.items())
        assert name.endswith("+ 500")

    def test_does_not_follow_nesting_for_ever(self):
        deep: list[object] = []
        for _ in range(500):
            deep = [deep]
        assert "…" in str(masked(deep))
        assert masked("[" * 60_000) == "[" * masking.LONGEST_TEXT + f"… + {60_000 - masking.LONGEST_TEXT}"

    def test_can_always_be_encoded(self):
        ((name, text),) = entries({"a\ud800": "\udfff"}.items())
        assert (name + text).encode()

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
            (Decimal("1.50"), "1.50"),
            (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
            (b"hunter2", "<bytes>"),
            (object(), "<object>"),
            ({3, 1}, [1, 3]),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_of_other_serializers_tells_no_more_than_its_kind(self, value, shown):
        assert masked(value) == shown
