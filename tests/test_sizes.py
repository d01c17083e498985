"""A session that is too large is refused before anything is written, and one that is large is told of."""

import logging
import time
import tracemalloc
import zlib

import pytest
from django.http import HttpResponse

from django_redis_sessions import conf, records, sessions, sizes
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.errors import CorruptRecord, SessionStoreError, SessionTooLarge
from django_redis_sessions.keys import digest
from django_redis_sessions.middleware import SessionMiddleware
from django_redis_sessions.records import Codec, Header
from django_redis_sessions.sizes import Sizes

LIMIT = 4096
SECRET = "a value that nobody shall read in a log "
HEADER = Header(created=1_700_000_000, touched=1_700_000_100, ttl=1209600)


def noise(size):
    """Text that hardly compresses."""
    return "".join(digest(str(number)) for number in range(size // 24 + 1))[:size]


@pytest.fixture
def small(configure):
    return configure(MAX_SIZE=LIMIT)


@pytest.fixture
def session(small, do):
    """A stored session, opened anew."""
    session = SessionStore()
    session["a"] = 1
    do(session.save)
    session = SessionStore(session.session_key)
    do(session.get, "a")
    return session


def stored(session):
    return dict(SessionStore(session.session_key).items())


class TestASessionThatIsTooLarge:
    def test_is_not_written_and_leaves_what_is_stored(self, session, do):
        session.update({"a": 2, "basket": noise(9000), "words": noise(2000)})
        with pytest.raises(SessionTooLarge) as refused:
            do(session.save)
        assert stored(session) == {"a": 1}
        assert session["a"] == 2
        assert refused.value.handle == digest(session.session_key)
        assert refused.value.limit == LIMIT < refused.value.size
        assert [name for name, _ in refused.value.largest] == ["basket", "words", "a"]

    def test_names_keys_and_sizes_and_no_value(self, session, do):
        session.update({"basket": SECRET * 3 + noise(9000), "n" * 500: 1})
        with pytest.raises(SessionTooLarge) as refused:
            do(session.save)
        text = str(refused.value)
        assert digest(session.session_key) in text
        assert f"'basket' {len(SECRET) * 3 + 9002:,}" in text
        assert "4,096" in text
        assert SECRET not in text
        assert session.session_key not in text
        assert "n" * 61 not in text

    def test_is_an_error_of_this_package_and_no_outage(self, session, do):
        session["basket"] = noise(9000)
        with pytest.raises(SessionStoreError):
            do(session.save)
        assert session.outage is None
        del session["basket"]
        do(session.save)

    @pytest.mark.parametrize("method", ["create", "save"])
    def test_does_not_begin(self, small, do, behind, prefix, method):
        session = SessionStore()
        session["basket"] = noise(9000)
        with pytest.raises(SessionTooLarge, match="A new session would take") as refused:
            do(getattr(session, method))
        assert refused.value.handle is None
        assert session.session_key is None
        assert list(behind.scan_iter(f"{prefix}:*")) == []

    def test_does_not_move_to_another_key(self, session, do):
        key = session.session_key
        session["basket"] = noise(9000)
        with pytest.raises(SessionTooLarge):
            do(session.cycle_key)
        assert session.session_key == key
        assert stored(session) == {"a": 1}

    def test_is_not_what_a_function_makes_of_it(self, session, do):
        with pytest.raises(SessionTooLarge):
            do(session.mutate, "a", lambda value: noise(9000))
        assert stored(session) == {"a": 1}
        assert do(session.increment, "a") == 2

    def test_is_none_that_two_requests_make_together(self, session, do):
        rival = SessionStore(session.session_key)
        rival["theirs"] = noise(3500)
        rival.save()
        session["mine"] = noise(3500)[::-1]
        with pytest.raises(SessionTooLarge):
            do(session.save)
        assert set(stored(session)) == {"a", "theirs"}

    def test_may_be_any_without_a_limit(self, configure, do):
        configure(MAX_SIZE=None)
        session = SessionStore()
        session["basket"] = noise(2_000_000)
        do(session.save)
        assert stored(session) == dict(session.items())

    def test_is_measured_as_it_is_stored(self, session, do):
        session["basket"] = "tea " * 10_000
        do(session.save)
        assert stored(session)["basket"] == "tea " * 10_000

    def test_that_was_stored_before_is_read_and_can_become_smaller(self, configure, do):
        configure()
        session = SessionStore()
        session["basket"] = noise(9000)
        session.save()
        configure(MAX_SIZE=LIMIT)
        session = SessionStore(session.session_key)
        assert do(session.get, "basket") == noise(9000)
        do(session.save)
        session["a"] = 1
        with pytest.raises(SessionTooLarge):
            do(session.save)
        del session["basket"]
        do(session.save)
        assert stored(session) == {"a": 1}

    @pytest.fixture
    def too_large(self, configure):
        """The key of a session of before the limit, of somebody who is signed in."""
        configure(MAX_SIZE=None)
        session = SessionStore()
        session.update({"_auth_user_id": "7", "basket": noise(9000)})
        session.save()
        return session.session_key

    @pytest.mark.parametrize(
        "given", [{"KEYS": ["signed", "hashed"]}, {"KEYS": ["plain", "hashed"]}, {}], ids=str
    )
    def test_that_was_stored_before_is_no_hindrance_to_pages_that_change_nothing(
        self, too_large, configure, given, rf, settings
    ):
        """Though what we do for ourselves is a save: moving to another key, the device, an extended life."""
        configure(MAX_SIZE=LIMIT, **given)
        settings.SESSION_SAVE_EVERY_REQUEST = True
        request = rf.get("/", headers={"User-Agent": "Mozilla/5.0 Firefox/146.0"})
        request.COOKIES["sessionid"] = too_large
        seen = []
        SessionMiddleware(lambda request: (seen.append(request.session["_auth_user_id"]), HttpResponse())[1])(
            request
        )
        assert seen == ["7"]

    def test_that_was_stored_before_is_seen(self, too_large, configure, rf, monkeypatch):
        configure(MAX_SIZE=LIMIT)
        now = time.time() + 3600
        monkeypatch.setattr("django_redis_sessions.held.time", lambda: now)
        monkeypatch.setattr("django_redis_sessions.seen.time", lambda: now)
        request = rf.get("/", headers={"User-Agent": "Mozilla/5.0 Firefox/146.0"})
        request.COOKIES["sessionid"] = too_large
        SessionMiddleware(lambda request: HttpResponse(request.session["_auth_user_id"]))(request)
        (info,) = sessions.of_user("7")
        assert abs(info.last_seen.timestamp() - now) < 2

    def test_that_was_stored_before_gets_another_key_and_can_be_signed_out(self, too_large, configure, do):
        configure(MAX_SIZE=LIMIT)
        session = SessionStore(too_large)
        do(session.get, "basket")
        do(session.cycle_key)
        assert session.session_key != too_large
        assert stored(session)["basket"] == noise(9000)
        do(session.flush)
        assert sessions.of_user("7") == []

    def test_goes_up_through_the_middleware(self, small, rf, session, way, runner):
        request = rf.get("/")
        request.COOKIES["sessionid"] = session.session_key

        def view(request):
            request.session["basket"] = noise(9000)
            return HttpResponse()

        async def aview(request):
            return view(request)

        async def awaited():
            return await SessionMiddleware(aview)(request)

        with pytest.raises(SessionTooLarge):
            runner.run(awaited()) if way == "awaited" else SessionMiddleware(view)(request)
        assert stored(session) == {"a": 1}


class TestALargeSession:
    @pytest.fixture(autouse=True)
    def listen(self, caplog):
        caplog.set_level(logging.WARNING, "django_redis_sessions")

    def test_is_told_of_once(self, session, do, caplog):
        for number in range(3):
            session.update({"basket": noise(LIMIT // 2), "n": number})
            do(session.save)
        (line,) = caplog.records
        assert line.session_handle == digest(session.session_key)
        assert LIMIT / 4 < line.session_size < LIMIT
        assert "'basket' 2,050, 'a' 1, 'n' 1" in line.getMessage()
        assert noise(100) not in line.getMessage()

    def test_is_told_of_when_it_begins(self, small, do, caplog):
        for _ in range(2):
            session = SessionStore()
            session["basket"] = noise(LIMIT // 2)
            do(session.save)
        assert "that is being made" in caplog.text
        assert len(caplog.records) == 1

    def test_of_less_than_a_quarter_is_none(self, session, do, caplog):
        session["basket"] = noise(LIMIT // 5)
        do(session.save)
        assert caplog.records == []

    def test_is_forgotten_when_many_others_were_told_of(self):
        allowed = Sizes(LIMIT)
        for number in range(sizes._MOST_TOLD + 1):
            assert allowed.is_new(str(number))
        assert len(allowed._told) == sizes._MOST_TOLD
        assert not allowed.is_new("1")
        assert allowed.is_new("0")


class TestASmallSession:
    def test_costs_one_comparison(self, session, do, monkeypatch):
        """Nothing but the length of what was serialized is looked at."""
        monkeypatch.setattr(SessionStore, "_weighed", None)
        session["b"] = "usual"
        do(session.save)


class TestABomb:
    """What is small as stored and large in memory."""

    @staticmethod
    def record(megabytes):
        """A record that anybody may write who can write to Redis; a block of deflate, again and again."""
        deflating = zlib.compressobj(9, zlib.DEFLATED, -15)
        block = deflating.compress(bytes(2**20)) + deflating.flush(zlib.Z_FULL_FLUSH)
        content = b"\x01\x00\x01\x00\x00" + b"revisi" + bytes(5)
        body = block * megabytes + deflating.flush()
        checksum = zlib.crc32(body, zlib.crc32(content))
        return content + records.life(1_700_000_000, 1209600) + checksum.to_bytes(4, "big") + body

    @pytest.mark.parametrize(("megabytes", "limit"), [(1024, 16), (5, 4)])
    def test_takes_no_more_memory_than_a_session_may(self, megabytes, limit):
        bomb = self.record(megabytes)
        assert len(bomb) < megabytes * 1100
        codec = Codec(largest_payload=limit * 2**20)
        tracemalloc.start()
        try:
            with pytest.raises(CorruptRecord, match="inflates beyond every limit"):
                codec.open(bomb, "")
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 2 * limit * 2**20 + 2 * len(bomb) + 2**20

    def test_of_a_thousand_bytes_cannot_be_large(self):
        """Deflate makes nothing 1,033 times as long, so this opens, and is a megabyte."""
        assert len(Codec(largest_payload=4 * 2**20).open(self.record(1), "")[1]) == 2**20

    def test_under_a_session_is_an_empty_session(self, small, behind, do):
        session = SessionStore()
        session["a"] = 1
        session.save()
        name = conf.store().keys.record(session.session_key)
        behind.set(name, self.record(1024), ex=60)
        session = SessionStore(session.session_key)
        assert do(session.get, "a") is None

    def test_with_a_header_that_promises_more_is_cut(self):
        record = b"\x01" + bytes(14) + b"\xff" + bytes(12)
        tracemalloc.start()
        try:
            for rest in (b"", bytes(20 * 2**20)):
                with pytest.raises(CorruptRecord, match="header is cut off"):
                    records.header_of(record + rest)
                assert records.owner_of(record + rest) is None
            before = bytes(20 * 2**20)
            tracemalloc.reset_peak()
            start, _ = tracemalloc.get_traced_memory()
            with pytest.raises(CorruptRecord):
                records.header_of(before)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most - start < 100_000


class TestWhatIsStored:
    """Would be read again: what a load would take for a bomb is refused by the save."""

    @pytest.mark.parametrize(
        ("max_size", "payload"),
        [(None, 64 * 2**20), (1024, 4 * 2**20), (1_048_576, 16 * 2**20), (512 * 2**20, 8 * 2**30)],
    )
    def test_inflates_to_a_part_of_what_it_may_take(self, max_size, payload):
        assert Sizes.of(max_size).largest_payload == payload

    def test_would_open_again(self, session, do):
        most = conf.store().sizes.largest_payload
        session["basket"] = "x" * (most - 1000)
        with pytest.raises(SessionTooLarge, match="as stored"):
            do(session.save)  # deflate makes it a thousandth, which is still more than 4,096
        session["basket"] = "x" * (most + 1)
        with pytest.raises(SessionTooLarge, match="before compression"):
            do(session.save)

    def test_at_the_very_limit_opens_again(self):
        """The codec refuses nothing that it may be given."""
        codec = Codec(largest_payload=4 * 2**20)
        for payload in (b" " * (4 * 2**20), b"{" + b" " * (4 * 2**20 - 1)):
            assert codec.open(codec.seal(payload, HEADER, ""), "")[1] == payload
