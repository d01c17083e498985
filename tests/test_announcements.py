"""What is said when sessions end: written and read back, and nothing else is believed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions import announcements
from django_redis_sessions.announcements import (
    LONGEST_MESSAGE,
    LONGEST_REASON,
    LONGEST_USER_ID,
    AllRevoked,
    Revoked,
    Rotated,
    UserRevoked,
    decode,
)
from django_redis_sessions.keys import digest

OLD, NEW = digest("a" * 32), digest("b" * 32)


class TestTheWording:
    @pytest.mark.parametrize(
        ("message", "said"),
        [
            (
                announcements.revoked(OLD, "7", "logout"),
                {"event": "revoked", "handle": OLD, "user": "7", "reason": "logout"},
            ),
            (
                announcements.revoked(OLD, None, "revoked"),
                {"event": "revoked", "handle": OLD, "user": None, "reason": "revoked"},
            ),
            (
                announcements.rotated(OLD, NEW, "7"),
                {"event": "rotated", "handle": OLD, "to": NEW, "user": "7"},
            ),
            (announcements.user_revoked("7"), {"event": "user", "user": "7"}),
            (announcements.all_revoked(), {"event": "all"}),
        ],
    )
    def test_is_compact_json(self, message, said):
        assert json.loads(message) == said
        assert b" " not in message


class TestReadingBack:
    @given(st.text(max_size=LONGEST_USER_ID), st.text(max_size=LONGEST_REASON))
    def test_gives_what_was_written_whatever_users_are_called(self, user_id, reason):
        assert decode(announcements.revoked(OLD, user_id, reason)) == Revoked(OLD, user_id, reason)
        assert decode(announcements.rotated(OLD, NEW, user_id)) == Rotated(OLD, NEW, user_id)
        assert decode(announcements.user_revoked(user_id)) == UserRevoked(user_id)

    def test_knows_sessions_of_nobody(self):
        assert decode(announcements.revoked(OLD, None, "logout")) == Revoked(OLD, None, "logout")
        assert decode(announcements.rotated(OLD, NEW, None)) == Rotated(OLD, NEW, None)

    def test_knows_the_end_of_all(self):
        assert decode(announcements.all_revoked()) == AllRevoked()

    def test_has_room_for_the_longest_of_ours(self):
        assert decode(announcements.revoked(OLD, "\U0001f600" * LONGEST_USER_ID, "!" * LONGEST_REASON))

    def test_passes_over_what_a_later_version_adds(self):
        assert decode(b'{"event":"user","user":"7","by":"admin"}') == UserRevoked("7")


class TestAnythingElse:
    @pytest.mark.parametrize(
        "message",
        [
            b"",
            b"1",
            b"\xff\xfe",
            b"[" * 10_000,
            b"1" * 10_000,
            b'{"event":"all"}' + b" " * LONGEST_MESSAGE,
            b'{"event":["all"]}',
            b'{"event":"weather"}',
            b'{"event":"user"}',
            b'{"event":"user","user":7}',
            b'{"event":"user","user":null}',
            json.dumps({"event": "user", "user": "x" * (LONGEST_USER_ID + 1)}).encode(),
            announcements.revoked("short", "7", "logout"),
            announcements.revoked(OLD + "\n", "7", "logout"),
            announcements.revoked(OLD, "7", "x" * (LONGEST_REASON + 1)),
            announcements.rotated(OLD, "../../etc", "7"),
            json.dumps({"event": "revoked", "handle": OLD, "user": ["7"], "reason": "logout"}).encode(),
        ],
    )
    def test_is_no_announcement(self, message):
        assert decode(message) is None

    @given(st.binary(max_size=200))
    def test_never_raises(self, message):
        decode(message)
