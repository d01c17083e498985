"""What are the bytes kept for one session?

A record is one binary string: a header that says how to read the rest, then the body. ``>``
big-endian, times in whole seconds since 1970::

    0   version       1; any other first byte is not ours
    1   serializer    0 = Django's JSON, else a tag of the serializer's dotted path
    2   compression   0 = none, 1 = raw deflate, 2 = the same behind a sign-in's hash in 32 bytes
    3   dictionary    number of the preset dictionary, 0 = none; from 128 on a project's own
    4   protection    0 = none, 1 = the body is encrypted, 2 = it is signed
    5   revision      6 random bytes, new with every write: who holds them knows the exact content
    11  created       when this sign-in (or, for anonymous sessions, this session) began
    15  user length   0 = anonymous, 32 at most
    16  touched       when it was last written, extended or seen
    20  ttl           how long it was to live from then on
    24  checksum      CRC-32 of everything but itself and the life; if protected, the id of the key
    28  user marker   digest of the user's id (``keys.user_marker``)
    ..  body          what the serializer made, compressed if that is shorter

Two files may bear one number and hold different text, and inflating with the wrong one can give
wrong bytes without an error. So where the dictionary is a project's own, the checksum is continued
from that dictionary's (``zlib.crc32(content, checksum of the dictionary)``): a record opens with
the very text that it was written with or not at all, and is not a byte longer for it.

A body that is protected is compressed first; ``protection`` says what is done with it then, and needs no
checksum. The dictionary's checksum is bound to it in the same way.

``touched`` and ``ttl`` are the record's *life*: a touch overwrites these eight bytes in place and
leaves content, revision, checksum and seal as they are.

The header describes itself, so serializer, compression and dictionary can change in a rolling
deploy while every older record still opens. Nothing here trusts the bytes: whatever does not
fit raises ``CorruptRecord`` and inflating stops at a limit.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass, field
from typing import NamedTuple

from django_redis_sessions.dictionaries import DICTIONARIES, NEWEST, SMALLEST_NUMBER, Dictionary
from django_redis_sessions.errors import CorruptRecord
from django_redis_sessions.protection import ID_LENGTH, NAMES, NO_KEYS, UNPROTECTED, KeyRing

VERSION = 1
JSON = 0
#: No session inflates beyond this many bytes, unless a codec says otherwise; a record that claims to is not one.
LARGEST_PAYLOAD = 64 * 1024 * 1024
# Deflate makes nothing 1,033 times as long (https://zlib.net/zlib_tech.html).
_LARGEST_GROWTH = 1033

_CONTENT = struct.Struct(">BBBBB6sIB")
_LIFE = struct.Struct(">II")
_CHECKSUM = struct.Struct(">I")
_HEADER = struct.Struct(">BBBBB6sIBIII")
_CHECKSUM_OFFSET = _CONTENT.size + _LIFE.size
_HEADER_LENGTH = _CHECKSUM_OFFSET + _CHECKSUM.size
#: So many first bytes say how the rest is to be read.
KIND_LENGTH = 5
#: Where the life stands in a record: ``life()`` makes the bytes.
LIFE_OFFSET = _CONTENT.size
#: Where the revision stands in a record: offset and length in bytes.
REVISION_OFFSET, REVISION_LENGTH = 5, 6
#: Where the id of its key stands in a record that is protected: ``checksum`` gives its place to it.
KEY_ID_OFFSET = _CHECKSUM_OFFSET
_PROTECTION_OFFSET, _USER_LENGTH_OFFSET = 4, 15
_LONGEST_USER = 32
#: This many first bytes of a record hold any header whole.
LONGEST_HEADER = _HEADER_LENGTH + _LONGEST_USER

_STORED, _DEFLATED, _DEFLATED_WITHOUT_HASH = 0, 1, 2
_NEW_REVISION = b"\0" * REVISION_LENGTH
# What django.contrib.auth keeps of the password, in hexadecimal digits that deflate cannot shorten: the
# largest part of a short session.
_HASH_FIELD = b'"_auth_user_hash":"'
_HASH_DIGITS, _HASH_BYTES = 64, 32
# Shorter than this, a body cannot get shorter.
_SHORTEST_TO_COMPRESS = 16


class Header(NamedTuple):
    """All that a record says about its session without opening the body."""

    created: int
    touched: int
    ttl: int
    user: bytes = b""
    serializer: int = JSON
    revision: bytes = _NEW_REVISION
    compression: int = _STORED
    dictionary: int = 0
    protection: int = UNPROTECTED
    key_id: bytes = b""

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody was signed in when the record was written."""
        return not self.user

    @property
    def expires(self) -> int:
        """The second in which Redis forgets it."""
        return self.touched + self.ttl


def tag(dotted_path: str) -> int:
    """The header's byte for a serializer class: ``JSON`` for Django's own, else 1-255 from its dotted path."""
    return (
        JSON
        if dotted_path == "django.core.signing.JSONSerializer"
        else zlib.crc32(dotted_path.encode()) % 255 + 1
    )


def life(touched: int, ttl: int) -> bytes:
    """The eight bytes that a touch puts at ``LIFE_OFFSET``."""
    return _LIFE.pack(touched, ttl)


def header_of(record: bytes) -> Header:
    """The header at the front of ``record``, which may be cut off behind it.

    Raises ``CorruptRecord`` when these are not a record's first bytes or a newer version's.
    """
    return _parsed(record)[0]


def _parsed(record: bytes) -> tuple[Header, int]:
    """The header and the checksum."""
    if not record or record[0] != VERSION:
        raise CorruptRecord("it has an unknown format" if record else "it is empty")
    if len(record) < _HEADER_LENGTH:
        raise CorruptRecord("its header is cut off")
    (
        _,
        serializer,
        compression,
        dictionary,
        protection,
        revision,
        created,
        length,
        touched,
        ttl,
        checksum,
    ) = _HEADER.unpack_from(record)
    if protection not in NAMES:
        raise CorruptRecord("it is protected in a way this version does not know")
    user = record[_HEADER_LENGTH : _HEADER_LENGTH + length]
    if length > _LONGEST_USER or len(user) < length:
        raise CorruptRecord("its header is cut off")
    key_id = record[KEY_ID_OFFSET : KEY_ID_OFFSET + ID_LENGTH] if protection else b""
    found = Header(
        created, touched, ttl, user, serializer, revision, compression, dictionary, protection, key_id
    )
    return found, checksum


def owner_of(record: bytes) -> bytes | None:
    """The user marker at the front of ``record``, empty if anonymous; None where ``header_of()`` raises.

    For those who count millions: it takes a fifth of the time.
    """
    if len(record) < _HEADER_LENGTH or record[0] != VERSION or record[_PROTECTION_OFFSET] not in NAMES:
        return None
    length = record[_USER_LENGTH_OFFSET]
    user = record[_HEADER_LENGTH : _HEADER_LENGTH + length]
    return user if len(user) == length <= _LONGEST_USER else None


def revision_of(record: bytes) -> bytes:
    """The revision inside ``record``, without reading anything else."""
    return record[REVISION_OFFSET : REVISION_OFFSET + REVISION_LENGTH]


@dataclass(frozen=True, slots=True)
class Codec:
    """Seals payloads into records and opens them again, each for the session with one digest.

    ``compression`` is ``"dictionary"``, ``"zlib"``, a dictionary of the project's or None, and only
    concerns new records. Records that need one of the ``dictionaries`` open as well. The ``ring`` says how
    new records are protected, and which open. What inflates beyond ``largest_payload`` bytes is no record.
    """

    compression: str | Dictionary | None = "dictionary"
    dictionaries: tuple[Dictionary, ...] = ()
    ring: KeyRing = NO_KEYS
    largest_payload: int = LARGEST_PAYLOAD

    # {number: (text, what the checksum begins with)} of all that records may need.
    _known: dict[int, tuple[bytes, int]] = field(init=False, repr=False, compare=False)
    _written: _Writing | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        own = self.dictionaries
        written = None
        if isinstance(self.compression, Dictionary):
            own = (*own, self.compression)
            written = _Writing.of(self.compression)
        elif self.compression is not None:
            written = _BUILT_IN[self.compression]
        object.__setattr__(self, "_written", written)
        object.__setattr__(self, "_known", _KNOWN | {each.number: (each.text, each.checksum) for each in own})

    def seal(self, payload: bytes, header: Header, digest: str) -> bytes:
        """The record of ``payload``, under a revision of its own."""
        return self._sealed(payload, header, digest, os.urandom(REVISION_LENGTH))

    def open(self, record: bytes, digest: str) -> tuple[Header, bytes]:
        """The header and the payload of a stored record; ``CorruptRecord`` for anything else."""
        header, checksum = _parsed(record)
        key = self.ring.key(header.protection, header.key_id)
        try:
            text, start = self._known[header.dictionary]
        except KeyError:
            raise CorruptRecord(
                f"it needs a preset dictionary this process does not have, number {header.dictionary}"
            ) from None
        body = record[_HEADER_LENGTH + len(header.user) :]
        if key is not None:
            bound = self.ring.bound(digest, record[:LIFE_OFFSET] + header.key_id + header.user, start)
            body = key.open(body, bound, digest, header.revision)
        elif zlib.crc32(record[_HEADER_LENGTH:], zlib.crc32(record[:LIFE_OFFSET], start)) != checksum:
            raise CorruptRecord(
                "it is cut off or damaged"
                if header.dictionary < SMALLEST_NUMBER
                else f"it is damaged, or needs another preset dictionary with number {header.dictionary}"
            )
        if header.compression == _STORED:
            return header, body
        if header.compression == _DEFLATED:
            return header, _inflated(body, text, self.largest_payload)
        if header.compression == _DEFLATED_WITHOUT_HASH:
            rest = _inflated(body[_HASH_BYTES:], text, self.largest_payload)
            return header, _with_hash(rest, body[:_HASH_BYTES])
        raise CorruptRecord("it is compressed in a way this version does not know")

    def reseal(self, record: bytes, digest: str) -> bytes:
        """The same session as it is written now, with the life and the revision that it has.

        Who holds the revision knows the exact content, which stays what it is.
        """
        header, payload = self.open(record, digest)
        return self._sealed(payload, header, digest, header.revision)

    def is_current(self, header: Header) -> bool:
        """Whether a record is protected as new ones are."""
        return (header.protection, header.key_id) == self.ring.written

    def _sealed(self, payload: bytes, header: Header, digest: str, revision: bytes) -> bytes:
        body, compression, dictionary, start = self._compressed(payload)
        key = self.ring.writing
        content = _CONTENT.pack(
            VERSION,
            header.serializer,
            compression,
            dictionary,
            UNPROTECTED if key is None else key.protection,
            revision,
            header.created,
            len(header.user),
        )
        if key is None:
            checksum = _CHECKSUM.pack(zlib.crc32(header.user + body, zlib.crc32(content, start)))
        else:
            checksum = key.id
            body = key.seal(
                body, self.ring.bound(digest, content + key.id + header.user, start), digest, revision
            )
        return content + life(header.touched, header.ttl) + checksum + header.user + body

    def _compressed(self, payload: bytes) -> tuple[bytes, int, int, int]:
        writing = self._written
        if writing is None or len(payload) < _SHORTEST_TO_COMPRESS:
            return payload, _STORED, 0, 0
        deflating = writing.primed.copy() if len(payload) <= writing.small else _deflater(writing.text, 15, 8)
        rest, digest = _without_hash(payload)
        body = digest + deflating.compress(rest) + deflating.flush()
        if len(body) < len(payload):
            return body, _DEFLATED_WITHOUT_HASH if digest else _DEFLATED, writing.number, writing.start
        return payload, _STORED, 0, 0


@dataclass(frozen=True, slots=True)
class _Writing:
    """What new records are compressed with: a dictionary, and a compressor that has read it."""

    number: int
    text: bytes
    # What the checksum begins with.
    start: int
    # Copying a compressor that has read its dictionary takes half the time of making one.
    primed: zlib._Compress
    # What its window sees whole; beyond it the larger window pays for its slower start.
    small: int

    @classmethod
    def of(cls, dictionary: Dictionary) -> _Writing:
        """For a project's own dictionary: a window that holds it and a usual session."""
        bits = next(bits for bits in (13, 14, 15) if len(dictionary.text) + _USUAL <= 1 << bits)
        primed = _deflater(dictionary.text, bits, bits - 8)
        small = (1 << bits) - len(dictionary.text)
        return cls(dictionary.number, dictionary.text, dictionary.checksum, primed, small)


# How much of a window a session should find left by the dictionary.
_USUAL = 4096
# What a window of 8 kB sees together with what the built-in dictionary holds of common sessions; by then
# its devices have gone out of sight, and have been used.
_SMALL = 8192 - 2906


def _deflater(text: bytes, window_bits: int, memory_level: int) -> zlib._Compress:
    return zlib.compressobj(6, zlib.DEFLATED, -window_bits, memory_level, zlib.Z_DEFAULT_STRATEGY, text)


_KNOWN = {number: (text, 0) for number, text in ((0, b""), *DICTIONARIES.items())}
_BUILT_IN = {
    name: _Writing(number, text, 0, _deflater(text, 13, 5), _SMALL)
    for name, number, text in (("zlib", 0, b""), ("dictionary", NEWEST, DICTIONARIES[NEWEST]))
}


def _without_hash(payload: bytes) -> tuple[bytes, bytes]:
    """``payload`` without the digits of its first sign-in hash, and that hash; the hash is empty if it has none."""
    start = payload.find(_HASH_FIELD) + len(_HASH_FIELD)
    digits = payload[start : start + _HASH_DIGITS]
    try:
        digest = bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return payload, b""
    # Nothing else that can be read as hexadecimal would be the same again.
    if start < len(_HASH_FIELD) or digest.hex().encode() != digits or len(digest) != _HASH_BYTES:
        return payload, b""
    return payload[:start] + payload[start + _HASH_DIGITS :], digest


def _with_hash(rest: bytes, digest: bytes) -> bytes:
    """What ``_without_hash()`` was given: its first field of that name is the first of ``rest``, too."""
    found = rest.find(_HASH_FIELD)
    if found < 0 or len(digest) < _HASH_BYTES:
        raise CorruptRecord("its sign-in hash belongs nowhere")
    start = found + len(_HASH_FIELD)
    return rest[:start] + digest.hex().encode() + rest[start:]


def _inflated(body: bytes, dictionary: bytes, limit: int) -> bytes:
    inflating = zlib.decompressobj(-15, dictionary)
    try:
        # Without a limit it is a third faster, so what cannot reach it has none.
        is_short = len(body) * _LARGEST_GROWTH < limit
        payload = inflating.decompress(body) if is_short else inflating.decompress(body, limit)
    except zlib.error as error:
        raise CorruptRecord("its body does not inflate") from error
    if inflating.unconsumed_tail:
        raise CorruptRecord("its body inflates beyond every limit")
    if not inflating.eof:
        raise CorruptRecord("its body does not end")
    return payload
