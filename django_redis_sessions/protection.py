"""What keeps a record from whoever can read Redis, and from whoever can write to it?

A record's body is sealed with one key of a ring, in one of two ways. *Encrypted* is AES-256-GCM under a key
of its own for each session, made from the ring's key and the session's digest, so that no two sessions
share a nonce. *Signed* is a keyed BLAKE2b: readable, but nobody without the key can make one.

Either way the seal holds for one place. Bound to it are the session's digest, the generation, everything
in the header but the life, and the checksum of the dictionary that the body was compressed with. So a record
that was copied over another one, edited, or sealed in an earlier generation does not open, and neither
does one that claims to need no key, unless the project says that it may::

    bound      generation (8), the dictionary's checksum (4), length of the digest (4), the digest,
               the record's bytes 0 to 15, the key's id (4), the user marker
    encrypted  6 random bytes, ciphertext, tag (16); the nonce is the revision and those 6 bytes
    signed     body, tag (16)

A key is named by its id, four bytes that are made from it and do not give it away. Keys are in no
``repr``, no error and no log.
"""

from __future__ import annotations

import hmac
import os
import re
import struct
from abc import ABC, abstractmethod
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

from django_redis_sessions.errors import CorruptRecord, SessionStoreMisconfigured

UNPROTECTED, ENCRYPTED, SIGNED = 0, 1, 2
#: What the header's byte for protection is called.
NAMES = {UNPROTECTED: "none", ENCRYPTED: "encrypted", SIGNED: "signed"}
#: Bytes of a key, of its id, and of what proves that nothing was changed.
KEY_LENGTH, ID_LENGTH, TAG_LENGTH = 32, 4, 16
#: Random bytes in front of an encrypted body; the revision makes them a nonce.
NONCE_LENGTH = 6
LARGEST_GENERATION = 2**63 - 1

MISSING = (
    "ENCRYPTION_KEYS needs the package cryptography, which is not installed: "
    "pip install 'django-redis-sessionstore[encryption]'."
)
CUT_OFF = "its body is cut off"
FOREIGN = "it was changed, or sealed for another session or generation"

_PLACE = struct.Struct(">QII")
_URL_SAFE = str.maketrans("-_", "+/")
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII).fullmatch
_BASE64 = re.compile(r"[0-9A-Za-z+/_-]{43}=", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class Key(ABC):
    """One key of a ring, and what it is called."""

    #: The header's byte for what it does.
    protection: ClassVar[int]

    secret: bytes = field(repr=False)
    id: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "id", blake2b(self.secret, digest_size=ID_LENGTH, person=b"rsessions.id").digest()
        )

    @abstractmethod
    def seal(self, body: bytes, bound: bytes, digest: str, revision: bytes) -> bytes:
        """What stands in the record for ``body``."""

    @abstractmethod
    def open(self, body: bytes, bound: bytes, digest: str, revision: bytes) -> bytes:
        """What ``seal()`` was given; ``CorruptRecord`` where anything differs."""


class EncryptionKey(Key):
    """Encrypts and decrypts; ``secret`` has 32 bytes."""

    __slots__ = ()
    protection = ENCRYPTED

    def seal(self, body: bytes, bound: bytes, digest: str, revision: bytes) -> bytes:
        start = os.urandom(NONCE_LENGTH)
        sealed: bytes = self._cipher(digest).encrypt(revision + start, body, bound)
        return start + sealed

    def open(self, body: bytes, bound: bytes, digest: str, revision: bytes) -> bytes:
        if len(body) < NONCE_LENGTH + TAG_LENGTH:
            raise CorruptRecord(CUT_OFF)
        start, sealed = body[:NONCE_LENGTH], body[NONCE_LENGTH:]
        try:
            opened: bytes = self._cipher(digest).decrypt(revision + start, sealed, bound)
        except _library()[1]:
            raise CorruptRecord(FOREIGN) from None
        return opened

    def _cipher(self, digest: str) -> Any:
        key = blake2b(digest.encode(), key=self.secret, digest_size=KEY_LENGTH, person=b"rsessions.aes")
        return _library()[0](key.digest())


class SigningKey(Key):
    """Signs and verifies."""

    __slots__ = ()
    protection = SIGNED

    @classmethod
    def of(cls, secret_key: bytes) -> SigningKey:
        """The one that is made from a text of any length."""
        return cls(blake2b(secret_key, digest_size=KEY_LENGTH, person=b"rsessions.secret").digest())

    def seal(self, body: bytes, bound: bytes, digest: str, revision: bytes) -> bytes:
        return body + self._tag(body, bound)

    def open(self, body: bytes, bound: bytes, digest: str, revision: bytes) -> bytes:
        if len(body) < TAG_LENGTH:
            raise CorruptRecord(CUT_OFF)
        opened, tag = body[:-TAG_LENGTH], body[-TAG_LENGTH:]
        if not hmac.compare_digest(tag, self._tag(opened, bound)):
            raise CorruptRecord(FOREIGN)
        return opened

    def _tag(self, body: bytes, bound: bytes) -> bytes:
        # The digest is in ``bound``, with its length, so it needs no key of its own.
        return blake2b(
            bound + body, key=self.secret, digest_size=TAG_LENGTH, person=b"rsessions.mac"
        ).digest()


@dataclass(frozen=True, slots=True)
class KeyRing:
    """What new records are sealed with, and which records are opened.

    Those that any of its keys has sealed, as far as ``accepts_signed`` and ``accepts_unprotected`` go.
    """

    encrypting: tuple[EncryptionKey, ...] = ()
    signing: tuple[SigningKey, ...] = ()
    #: None: new records are not protected.
    writing: Key | None = None
    accepts_signed: bool = True
    accepts_unprotected: bool = True
    generation: int = 0

    _known: dict[tuple[int, bytes], Key] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", {(key.protection, key.id): key for key in self})

    @classmethod
    def of(
        cls,
        encryption_keys: Sequence[bytes | None] = (),
        secret_keys: Sequence[bytes] = (),
        *,
        sign: bool = False,
        generation: int = 0,
        accept_unprotected: bool = False,
    ) -> KeyRing:
        """What the settings of these names amount to; ``SessionStoreMisconfigured`` if it cannot be had.

        Where nothing is protected, signed records are accepted all the same, for a site that turns signing
        on or off one process after the other.
        """
        encrypting = tuple(EncryptionKey(key) for key in encryption_keys if key is not None)
        signing = tuple(map(SigningKey.of, secret_keys))
        if encrypting and not can_encrypt():
            raise SessionStoreMisconfigured(MISSING)
        if sign and not signing:
            raise SessionStoreMisconfigured("SIGN needs a SECRET_KEY, from which its keys are made.")
        writing: Key | None = signing[0] if sign else None
        if encryption_keys and encryption_keys[0] is not None:
            writing = encrypting[0]
        accepts_unprotected = accept_unprotected or writing is None
        return cls(encrypting, signing, writing, sign or accepts_unprotected, accepts_unprotected, generation)

    def __iter__(self) -> Iterator[Key]:
        """Every key, the newest of each kind first."""
        yield from self.encrypting
        yield from self.signing

    @property
    def written(self) -> tuple[int, bytes]:
        """The protection of new records, and the id of the key for it, empty if there is none."""
        return (UNPROTECTED, b"") if self.writing is None else (self.writing.protection, self.writing.id)

    def why_refused(self, protection: int, key_id: bytes) -> str | None:
        """Why no record that says so of itself is opened, as a phrase; None if one may be."""
        if protection == UNPROTECTED:
            return None if self.accepts_unprotected else "it is not protected, and has to be"
        if protection == SIGNED and not self.accepts_signed:
            return "it is signed, and has to be encrypted"
        if (protection, key_id) in self._known:
            return None
        return f"it is {NAMES[protection]} with a key that this process does not have"

    def key(self, protection: int, key_id: bytes) -> Key | None:
        """The key for such a record, None if it needs none; ``CorruptRecord`` if it is not to be opened."""
        if protection == UNPROTECTED and self.accepts_unprotected:
            return None
        refused = self.why_refused(protection, key_id)
        if refused is not None:
            raise CorruptRecord(refused)
        return self._known.get((protection, key_id))

    def bound(self, digest: str, head: bytes, start: int) -> bytes:
        """What a seal holds for; ``start`` is the checksum of the dictionary."""
        place = digest.encode()
        return _PLACE.pack(self.generation, start, len(place)) + place + head


#: Protects nothing, and opens what is not protected.
NO_KEYS = KeyRing()


def described(protection: int, key_id: bytes) -> str:
    """What a record says of its protection, for people: ``"encrypted, key 1f00ab42"``."""
    name = NAMES.get(protection, str(protection))
    return f"{name}, key {key_id.hex()}" if key_id else name


def can_encrypt() -> bool:
    """Whether there is a library to encrypt with."""
    return find_spec("cryptography") is not None


def key_from(value: object) -> bytes:
    """The key that a setting names; ``ValueError``, without the value, if it names none."""
    if isinstance(value, bytes):
        key = value
    elif not isinstance(value, str):
        raise ValueError("is neither bytes nor text")
    elif _HEXADECIMAL(value):
        key = bytes.fromhex(value)
    elif _BASE64(value):
        key = b64decode(value.translate(_URL_SAFE))
    else:
        raise ValueError("is neither 64 hexadecimal digits nor 44 characters of base64")
    if len(key) != KEY_LENGTH:
        raise ValueError(f"has {len(key)} bytes, but must have {KEY_LENGTH}")
    return key


@cache
def _library() -> tuple[Any, type[Exception]]:
    """The cipher, and what it raises; imported when the first record needs it."""
    cipher = import_module("cryptography.hazmat.primitives.ciphers.aead").AESGCM
    refused: type[Exception] = import_module("cryptography.exceptions").InvalidTag
    return cipher, refused
