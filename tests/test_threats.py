"""What the page "Security" says is left where nothing but the default settings is in the way: it is so, no worse."""

import json
import zlib

import pytest

from django_redis_sessions import conf, keys, records
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.records import Codec, Header, header_of
from tests.fuzzing import with_checksum

pytestmark = pytest.mark.usefixtures("store")

VICTIM = {
    "_auth_user_id": "7",
    "_auth_user_backend": "backend",
    "_auth_user_hash": "of the victim",
    "cart": "tea",
}


def begun(**data):
    session = SessionStore()
    session.update(data)
    session.save()
    return session.session_key


def record_of(session_key):
    return conf.store().keys.record(session_key)


def content(session_key):
    return dict(SessionStore(session_key).items())


class TestWhoCanReadRedis:
    def test_finds_no_session_key(self, behind, prefix):
        session_key = begun(**VICTIM)
        for name in behind.scan_iter(f"{prefix}:*"):
            assert session_key.encode() not in name
            assert behind.type(name) == b"zset" or session_key.encode() not in behind.get(name)

    def test_reads_what_sessions_hold_without_a_secret(self, behind):
        record = behind.get(record_of(begun(**VICTIM)))
        assert json.loads(Codec().open(record, "")[1]) == VICTIM

    def test_reads_who_has_sessions(self, behind, store):
        session_key = begun(**VICTIM)
        assert behind.zrange(store.keys.index(keys.user_marker("7")), 0, 0) == [b"=7"]
        assert header_of(behind.get(record_of(session_key))).user == keys.user_marker("7")


class TestTheLengthOfARecord:
    def test_tells_how_much_is_in_it_and_how_well_that_compresses(self):
        header = Header(1, 2, 3)
        lengths = [len(Codec().seal(text, header, "")) for text in (b"x" * 500, bytes(range(250)) * 2, b"")]
        assert lengths[0] < lengths[1]
        guess, wrong = (
            len(Codec().seal(b"secret=k7Fq2; guess=" + text, header, "")) for text in (b"k7Fq2;", b"Zp9Lx;")
        )
        assert guess < wrong


class TestACopiedRecord:
    def test_makes_its_thief_the_victim(self, behind):
        thief, victim = begun(a=1), begun(**VICTIM)
        behind.set(record_of(thief), behind.get(record_of(victim)), ex=60)
        assert content(thief) == VICTIM


class TestAnEditedRecord:
    def test_is_discarded_unless_its_checksum_was_made_to_fit(self, behind):
        session_key = begun(a=1)
        body = b'{"_auth_user_id":"1"}'
        content_of = b"\x01\0\0\0\0" + b"revisi" + bytes(5)
        record = content_of + records.life(1, 60) + zlib.crc32(b"anything").to_bytes(4, "big") + body
        behind.set(record_of(session_key), record, ex=60)
        assert content(session_key) == {}
        behind.set(record_of(session_key), with_checksum(record), ex=60)
        assert content(session_key) == {"_auth_user_id": "1"}


class TestAnOlderRecord:
    def test_that_is_put_back_brings_back_what_was_signed_out(self, behind):
        session_key = begun(**VICTIM)
        backup = behind.get(record_of(session_key))
        SessionStore(session_key).flush()
        assert content(session_key) == {}
        behind.set(record_of(session_key), backup, ex=60)
        assert content(session_key) == VICTIM


class TestADeletedRecord:
    def test_ends_the_session_and_nothing_brings_it_back(self, behind):
        session_key = begun(**VICTIM)
        session = SessionStore(session_key)
        session["more"] = 1
        behind.unlink(record_of(session_key))
        assert content(session_key) == {}
