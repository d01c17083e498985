import hashlib
import random
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions import records
from django_redis_sessions.dictionaries import DICTIONARIES, NEWEST, Dictionary
from django_redis_sessions.errors import CorruptRecord
from django_redis_sessions.records import Codec, Header, header_of, owner_of, revision_of, tag
from tests.test_devices import COMMON_AGENTS

LOGIN = (
    b'{"_auth_user_id":"4211","_auth_user_backend":"django.contrib.auth.backends.ModelBackend",'
    b'"_auth_user_hash":"3b0c1f26f9a3d6c9a1f9a0c5f8fd6d21aa0f9a4c9f3f1d6e0a3c8b7f9e5d4c3b"}'
)
WITH_DEVICE = LOGIN[:-1] + (
    b',"_session_device":{"address":"203.0.113.7","agent":'
    b'"Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0"}}'
)
HEADER = Header(created=1_700_000_000, touched=1_700_000_100, ttl=1209600, user=b"ninebytes")

compressions = pytest.mark.parametrize("compression", ["dictionary", "zlib", None])


def sealed(payload=LOGIN, header=HEADER, **codec):
    return Codec(**codec).seal(payload, header, "")


def with_checksum(record):
    """``record`` was put together by hand and lacks its checksum, the four bytes from 24 on."""
    return record[:24] + zlib.crc32(record[24:], zlib.crc32(record[:16])).to_bytes(4) + record[24:]


def with_body(body, compression):
    """A record of nobody's with a body that no codec has made."""
    return with_checksum(struct.pack(">BBBBB6sIBII", 1, 0, compression, 0, 0, b"random", 1, 0, 2, 3) + body)


class TestARecord:
    @compressions
    def test_opens_to_what_was_sealed(self, compression):
        header, payload = Codec().open(sealed(compression=compression), "")
        assert payload == LOGIN
        assert (header.created, header.touched, header.ttl, header.user) == (
            HEADER.created, HEADER.touched, HEADER.ttl, HEADER.user)  # fmt: skip

    @compressions
    @given(payload=st.binary(max_size=20_000))
    def test_opens_under_any_settings(self, compression, payload):
        """Compression can change in a rolling deploy: the record says how to read it."""
        for reader in (Codec("dictionary"), Codec("zlib"), Codec(None)):
            assert reader.open(sealed(payload, compression=compression), "")[1] == payload

    def test_is_never_longer_than_its_payload_and_header(self):
        incompressible = bytes(range(256))
        assert len(sealed(incompressible)) == len(incompressible) + 28 + 9

    def test_of_a_login_is_small(self):
        assert len(sealed()) < 110 < len(sealed(compression="zlib")) < len(sealed(compression=None))

    @pytest.mark.parametrize("agent", COMMON_AGENTS.values(), ids=COMMON_AGENTS)
    def test_of_a_login_is_hardly_longer_with_its_device(self, agent):
        payload = LOGIN[:-1] + b',"_session_device":{"address":"203.0.113.7","agent":"%b"}}' % agent.encode()
        assert len(sealed(payload)) <= len(sealed()) + 26

    def test_has_a_revision_of_its_own(self):
        revisions = {revision_of(sealed()) for _ in range(100)}
        assert len(revisions) == 100
        assert all(len(revision) == 6 for revision in revisions)

    def test_tells_its_header_from_its_first_bytes(self):
        record = sealed()
        assert header_of(record[: records.LONGEST_HEADER]) == header_of(record) == Codec().open(record, "")[0]
        assert header_of(record).expires == HEADER.touched + HEADER.ttl
        assert revision_of(record) == header_of(record).revision

    def test_knows_whether_somebody_was_signed_in(self):
        assert not header_of(sealed()).is_anonymous
        assert header_of(sealed(header=Header(1, 2, 3))).is_anonymous


class TestTheHashOfASignIn:
    """Deflate cannot shorten what is random; half of the 64 digits can go all the same."""

    FIELD = b'"_auth_user_hash":"'
    DIGITS = bytes(range(100, 132)).hex().encode()

    def test_takes_thirty_two_bytes(self):
        with_hash, without = self.FIELD + self.DIGITS + b'"', self.FIELD + b'"'
        assert len(sealed(with_hash)) - len(sealed(without + b" " * 20)) <= 32

    @given(
        before=st.sampled_from([b"", b"{", FIELD, FIELD + b'"', FIELD + DIGITS, b"\xff" * 20]),
        digits=st.sampled_from(
            [DIGITS, DIGITS.upper(), DIGITS[:-1], DIGITS + b"0", b" " * 64, DIGITS[:62] + b"  ", b"\xff" * 64]
        ),
        after=st.one_of(st.just(FIELD + DIGITS + b'"}'), st.binary(max_size=60)),
    )
    @pytest.mark.parametrize("compression", ["dictionary", "zlib", None])
    def test_comes_back_whatever_is_around_it(self, before, digits, after, compression):
        payload = before + self.FIELD + digits + after
        assert Codec().open(sealed(payload, compression=compression), "")[1] == payload

    def test_that_belongs_nowhere_is_no_record(self):
        body = bytes(32) + zlib.compress(b"no such field in here", wbits=-15)
        with pytest.raises(CorruptRecord, match="belongs nowhere"):
            Codec().open(with_body(body, compression=2), "")

    def test_that_is_cut_off_is_no_record(self):
        body = bytes(5)
        with pytest.raises(CorruptRecord):
            Codec().open(with_body(body, compression=2), "")


class TestARecordThatNeedsAProjectsDictionary:
    OWN = Dictionary(128, b'"own_words_of_the_project":' + LOGIN[:110])
    #: Another text under the same number, with which deflate finds no fault.
    RIVAL = Dictionary(128, bytes(reversed(OWN.text)))

    @given(payload=st.binary(max_size=40_000))
    def test_opens_wherever_its_dictionary_is_known(self, payload):
        record = sealed(payload, compression=self.OWN)
        for reader in (Codec(self.OWN), Codec("zlib", (self.OWN,)), Codec(None, (self.OWN,))):
            assert reader.open(record, "")[1] == payload

    def test_names_it_and_is_no_longer_for_that(self):
        record = sealed(compression=self.OWN)
        assert header_of(record).dictionary == 128
        assert len(record) < len(sealed())

    def test_does_not_open_without_it(self):
        with pytest.raises(CorruptRecord, match="a preset dictionary this process does not have, number 128"):
            Codec().open(sealed(compression=self.OWN), "")

    def test_does_not_open_with_another_of_its_number(self):
        """Inflating would give a session that nobody has written."""
        payload = LOGIN.replace(b"_hash", b"_sign")
        record = sealed(payload, compression=self.OWN)
        wrong = zlib.decompressobj(-15, self.RIVAL.text).decompress(record[28 + 9 :])
        assert len(wrong) == len(payload)
        assert wrong != payload
        with pytest.raises(CorruptRecord, match="needs another preset dictionary with number 128"):
            Codec(self.RIVAL).open(record, "")

    @pytest.mark.parametrize("size", [1, 3000, 5000, 16384])
    def test_may_need_one_of_any_size(self, size):
        """The compressor's window holds dictionary and session, so the far end of the text is reached."""
        noise = random.Random(size).randbytes(size)
        codec = Codec(Dictionary(255, noise))
        for length in (200, 4000, 9000, 30_000):
            payload = noise[:200] + bytes(length)
            record = codec.seal(payload, HEADER, "")
            assert codec.open(record, "")[1] == payload
            assert size < 3000 or len(record) < 28 + 9 + 100

    def test_is_damaged_by_any_change(self):
        record = bytearray(sealed(compression=self.OWN))
        for position in (*range(16), *range(24, len(record))):
            record[position] ^= 1
            with pytest.raises(CorruptRecord):
                Codec(self.OWN).open(bytes(record), "")
            record[position] ^= 1

    def test_is_frozen(self):
        record = bytes.fromhex(
            "0100018000a1b2c3d4e5f66553f100096553f16400127500d71bd786313233343536373839bdcdc115c0200804d1"
            "5e52018812290717b70b7b8f55e436ef5fe6df9b40d99c91568e48bd25189c2cafa69972a12368d4f22d6998eb65"
            "ec511db69ef301"
        )
        header, payload = Codec(None, (self.OWN,)).open(record, "")
        assert payload == LOGIN
        assert (header.compression, header.dictionary) == (1, 128)

    def test_that_did_not_get_shorter_needs_none(self):
        record = sealed(bytes(range(256)), compression=self.OWN)
        assert header_of(record).dictionary == 0
        assert Codec().open(record, "")[1] == bytes(range(256))


class TestTheFormat:
    """What was written by an earlier version has to open for ever: these bytes are never edited."""

    def test_of_version_1_is_frozen(self):
        record = bytes.fromhex(
            "0100010100a1b2c3d4e5f66553f100096553f16400127500802e5a99313233343536373839b5cdb91580300c04d15ea8"
            "40872dac727478bba0779c1393cd9be47fa121fc93a549c5108387b695079fa29a58686be1083a639443c16d9b426be5"
            "0ddfb347695ecf0b"
        )
        header, payload = Codec().open(record, "")
        assert payload == LOGIN
        assert header == Header(
            created=1_700_000_000, touched=1_700_000_100, ttl=1209600, user=b"123456789",
            revision=bytes.fromhex("a1b2c3d4e5f6"), compression=1, dictionary=1)  # fmt: skip

    def test_of_version_1_with_the_second_dictionary_is_frozen(self):
        record = bytes.fromhex(
            "0100020200a1b2c3d4e5f66553f100096553f16400127500315cc6233132333435363738393b0c1f26f9a3d6c9a1f9a0c5"
            "f8fd6d21aa0f9a4c9f3f1d6e0a3c8b7f9e5d4c3bc374888991e100b9c5c8c018d88c363434d63327baf708edfc99e1ed"
            "fc9981dae6b500"
        )
        header, payload = Codec().open(record, "")
        assert payload == WITH_DEVICE
        assert (header.compression, header.dictionary) == (2, 2)

    def test_places_the_revision_where_scripts_look_for_it(self):
        assert (records.REVISION_OFFSET, records.REVISION_LENGTH) == (5, 6)

    def test_lets_a_touch_overwrite_the_life_in_place(self):
        record = bytearray(sealed())
        record[records.LIFE_OFFSET : records.LIFE_OFFSET + 8] = records.life(1_800_000_000, 77)
        header, payload = Codec().open(bytes(record), "")
        assert (header.touched, header.ttl, payload) == (1_800_000_000, 77, LOGIN)
        assert header.revision == revision_of(bytes(record))

    @pytest.mark.parametrize(
        ("number", "sha256"),
        [
            (1, "0b27b54c4a9b5f7f7b6695d6635384afa49f1067b8df17ae94a867ec4c79b57d"),
            (2, "86ec764958aa7ee9236a279fef522de1006adc86a82c6c03aa1bb0aac8bf999f"),
        ],
    )
    def test_pins_every_published_dictionary(self, number, sha256):
        assert hashlib.sha256(DICTIONARIES[number]).hexdigest() == sha256

    def test_publishes_no_unpinned_dictionary(self):
        assert set(DICTIONARIES) == {1, 2}
        assert NEWEST in DICTIONARIES

    def test_gives_each_serializer_a_tag(self):
        assert tag("django.core.signing.JSONSerializer") == records.JSON == 0
        assert tag("project.MessagePack") == tag("project.MessagePack") != 0
        assert all(1 <= tag(f"a.B{number}") <= 255 for number in range(1000))


class TestBytesThatAreNoRecord:
    @pytest.mark.parametrize(
        ("stored", "reason"),
        [
            (b"", "empty"),
            (b"\x02" + sealed()[1:], "unknown format"),
            (b"\x80\x05}q\x00.", "unknown format"),
            (b"eyJhIjoxfQ:1abc:signature", "unknown format"),
            (sealed()[:10], "header is cut off"),
            (sealed()[:28], "header is cut off"),
            (sealed()[:-5], "cut off or damaged"),
            (sealed()[:4] + b"\x03" + sealed()[5:], "protected in a way"),
            (with_checksum(b"\x01\x00\x09" + sealed()[3:24] + HEADER.user), "compressed in a way"),
            (with_checksum(b"\x01\x00\x01\xc8" + sealed()[4:24] + HEADER.user), "preset dictionary"),
            (with_checksum(b"\x01\x00\x01\x00\x00" + sealed()[5:24] + HEADER.user + b"\x03"), "does not end"),
            (sealed()[:15] + b"\xff" + b"x" * 300, "header is cut off"),
        ],
        ids=lambda value: value if isinstance(value, str) else "bytes",
    )
    def test_are_refused_with_the_reason(self, stored, reason):
        with pytest.raises(CorruptRecord, match=reason):
            Codec().open(stored, "")

    @given(stored=st.binary(max_size=300))
    def test_never_raise_anything_else(self, stored):
        for prefix in (b"", b"\x01", b"\x01\x00\x01\x01\x00"):
            try:
                Codec().open(prefix + stored, "")
            except CorruptRecord:
                pass

    @given(position=st.integers(min_value=0), flip=st.integers(1, 255))
    def test_with_one_damaged_byte_are_refused_or_live_otherwise(self, position, flip):
        record = bytearray(sealed())
        position %= len(record)
        record[position] ^= flip
        if 16 <= position < 24:
            assert Codec().open(bytes(record), "")[1] == LOGIN
        else:
            with pytest.raises(CorruptRecord):
                Codec().open(bytes(record), "")

    @given(body=st.binary(max_size=300), compression=st.integers(0, 2), dictionary=st.integers(0, 2))
    def test_with_a_fitting_checksum_never_raise_anything_else(self, body, compression, dictionary):
        try:
            Codec().open(with_checksum(bytes([1, 0, compression, dictionary, 0]) + sealed()[5:24] + body), "")
        except CorruptRecord:
            pass

    def test_stop_inflating_at_a_limit(self):
        bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = bomb.compress(b"0" * 10_000_000) + bomb.flush()
        record = with_checksum(b"\x01\x00\x01\x00\x00" + sealed()[5:24] + HEADER.user + body)
        with pytest.raises(CorruptRecord, match="beyond every limit"):
            Codec(largest_payload=100_000).open(record, "")
        assert Codec().open(record, "")[1] == b"0" * 10_000_000


class TestTheHeader:
    @given(
        record=st.binary(max_size=80)
        | st.binary(min_size=12, max_size=80).map(lambda tail: sealed()[:5] + tail)
    )
    def test_names_the_owner_where_it_can_be_read_and_nobody_elsewhere(self, record):
        try:
            owner = header_of(record).user
        except CorruptRecord:
            owner = None
        assert owner_of(record) == owner

    def test_holds_times_until_2106_and_lives_of_136_years(self):
        header = Header(created=2**32 - 1, touched=2**32 - 1, ttl=2**32 - 1)
        assert header_of(sealed(header=header)).expires == 2 * (2**32 - 1)

    def test_cannot_hold_what_would_read_back_differently(self):
        with pytest.raises(struct.error):
            sealed(header=Header(created=2**32, touched=0, ttl=0))
