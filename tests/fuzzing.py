"""What may be asked of code that reads what others have written, with whatever bytes come?

Each target takes bytes, makes of them what its code reads, and lets nothing out but this package's own errors. The
tests try some dozens of inputs each time, ``python -m tools.fuzz`` as many as there is time for.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django_redis_sessions import announcements, devices, dictionaries, keys, masking, records
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.configuration import Settings, database_of, problems, settings_from, target_of
from django_redis_sessions.connections import Connections
from django_redis_sessions.errors import CorruptRecord, SessionStoreMisconfigured
from django_redis_sessions.footing import Place
from django_redis_sessions.keys import Keys
from django_redis_sessions.protection import KeyRing, can_encrypt
from django_redis_sessions.records import Codec, Header
from django_redis_sessions.schemes import HASHED, RANDOM, SCHEMES, Signed, digest, is_handle, schemes

LARGEST = 2**20
HEADER = Header(created=1_700_000_000, touched=1_700_000_100, ttl=1209600, user=b"ninebytes")
LOGIN = (
    b'{"_auth_user_id":"4211","_auth_user_backend":"django.contrib.auth.backends.ModelBackend",'
    b'"_auth_user_hash":"3b0c1f26f9a3d6c9a1f9a0c5f8fd6d21aa0f9a4c9f3f1d6e0a3c8b7f9e5d4c3b"}'
)
OWN = dictionaries.Dictionary(128, b'"own_words_of_the_project":' + LOGIN[:110])


@dataclass(frozen=True)
class Target:
    """``run`` is given bytes; ``seeds`` are some that are as they should be."""

    name: str
    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


# Inputs


def mutated(chance: random.Random, data: bytes, others: list[bytes] | tuple[bytes, ...]) -> bytes:
    """``data`` with a few changes: flipped, cut, doubled, spliced with another, with huge numbers in it."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(8):
            case 0 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                del changed[at:]
            case 2:
                del changed[at : at + chance.randrange(1, 9)]
            case 3:
                changed[at:at] = chance.choice(TOKENS)
            case 4:
                changed[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
            case 5:
                other = chance.choice(others)
                changed[at:] = other[chance.randrange(len(other) + 1) :]
            case 6:
                piece = bytes(changed[at : at + chance.randrange(1, 33)])
                changed[at:at] = piece * chance.choice((1, 2, 100))
            case _:
                changed[at:at] = chance.randbytes(chance.randrange(1, 9))
    return bytes(changed[:LARGEST])


TOKENS = (
    b"[", b"]", b"{", b"}", b'"', b"[" * 5000, b'{"":' * 5000, b"9" * 5000, b"1e999", b"-", b"NaN", b"null", b"\\ud800",
    b"://", b"@", b":", b"/", b"?", b"#", b"%", b"%00", b"[::1]", b"redis+sentinel", b"rediss", b"redis+cluster",
    b"unix", b"embedded", b",", b"0", b"65536", b"\xc2\xb2", b"\xe0\xa5\xa7", b"\0", b"\n", b"_auth_user_id",
    b"_session_device",
    b"_session_expiry", b"Mozilla/5.0 (", b"Firefox/", b"bot", b"event", b"handle", b"user", b"done",
    b"::ffff:", b"%eth0",
)  # fmt: skip


class Reading:
    """Python values in bytes: each byte decides what comes next, so a changed byte is a changed value."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def text(self) -> str:
        length = self.byte()
        self._at += length
        return self._data[self._at - length : self._at].decode("utf-8", "surrogateescape")

    def value(self, depth: int = 0) -> Any:
        kind = self.byte() % (12 if depth < 4 else 9)
        simple = (None, True, False, 0, -1, 1e308, float("nan"))
        if kind < len(simple):
            return simple[kind]
        if kind == 7:
            return self.text()
        if kind == 8:
            return int.from_bytes(self.text().encode("utf-8", "surrogateescape"), "big")
        some = [self.value(depth + 1) for _ in range(self.byte() % 5)]
        return {9: some, 10: tuple(some), 11: {str(at): each for at, each in enumerate(some)}}[kind]


# Targets


def sealed(payload: bytes = LOGIN, compression: Any = "dictionary") -> bytes:
    """A record as it should be."""
    return Codec(compression).seal(payload, HEADER, "")


def with_checksum(record: bytes) -> bytes:
    """``record`` as if it were meant: its checksum fits its content."""
    if len(record) < 28:
        return record
    start = OWN.checksum if record[3] == OWN.number else 0
    checksum = zlib.crc32(record[28:], zlib.crc32(record[:16], start))
    return record[:24] + checksum.to_bytes(4, "big") + record[28:]


CODEC = Codec("dictionary", (OWN,), largest_payload=4 * LARGEST)

HANDLE = "A" * 24
PAYLOADS = (LOGIN, LOGIN * 40, b"{}")
KEYS_OF_RECORDS = (bytes(range(32)), bytes(range(32, 64)))
#: What is written signed, and encrypted where there is a library for it.
RINGS = (
    KeyRing.of((), (b"secret", b"retired"), sign=True, generation=1),
    *([KeyRing.of(KEYS_OF_RECORDS, (b"secret",))] if can_encrypt() else ()),
)
PROTECTED = tuple(Codec("dictionary", (OWN,), ring, 4 * LARGEST) for ring in RINGS)


def read_protected(data: bytes) -> None:
    """A record for which keys are needed: what opens is what was sealed, whatever was changed."""
    for record in (data, with_checksum(data)):
        for codec in PROTECTED:
            with suppress(CorruptRecord):
                header, payload = codec.open(record, HANDLE)
                assert payload in PAYLOADS, "forged"
                # The life alone is not part of the seal.
                assert header.created == HEADER.created
                assert header.user == HEADER.user
                assert codec.open(codec.reseal(record, HANDLE), HANDLE)[1] == payload
            with suppress(CorruptRecord):
                codec.open(record, HANDLE[::-1].replace("A", "B"))
                raise AssertionError("it opens for another session")


def read_record(data: bytes) -> None:
    """A record, as it comes and with a checksum that fits."""
    for record in (data, with_checksum(data)):
        owner = records.owner_of(record)
        records.revision_of(record)
        try:
            header = records.header_of(record)
        except CorruptRecord:
            header = None
        assert owner == (None if header is None else header.user)
        try:
            opened, payload = CODEC.open(record, "")
        except CorruptRecord:
            continue
        assert opened == header
        assert len(payload) <= max(CODEC.largest_payload + 64, len(record))
        again = CODEC.seal(payload, opened._replace(user=opened.user[:32]), "")
        assert CODEC.open(again, "")[1] == payload


def read_body(data: bytes) -> None:
    """What is inside of a record, and all that is shown of it."""
    try:
        loaded = SessionStore()._loads(data, records.JSON)
    except CorruptRecord:
        return
    if isinstance(loaded, dict):
        devices.described(devices.device_in(loaded).user_agent)
        for name, shown in masking.entries(loaded.items()):
            assert len(name) + len(shown) < 2 * LARGEST


def read_key(data: bytes) -> None:
    """A cookie, and the names and addresses that are in Redis."""
    text = data.decode("utf-8", "replace")
    named = Keys()
    plausible = keys.is_plausible(text)
    keys.is_handle(text)
    if plausible:
        assert text.isascii()
        assert named.name_in(named.record(text).encode()) == named.name(text)
        assert keys.forwarded(text, keys.forwarding_address(text, text[::-1])) == text[::-1]
        assert "{" not in named.record(text)
    led_to = keys.forwarded("k" * 32, data)
    assert led_to is None or (led_to.isascii() and led_to.isprintable() and led_to)
    named.handle_of(named.name_in(data))
    for index in named.indexes_in([data, b"session:u:" + data]):
        assert named.index(named.user_in(index)) == index
    for name in keys.texts([data]):
        assert name.encode() == data


class Ticket:
    """A project's own scheme."""

    def __init__(self, secret: str | bytes) -> None:
        pass

    def new(self) -> str:
        return f"ticket.{HASHED.new()}"

    def name(self, session_key: str) -> str | None:
        return digest(session_key) if session_key.startswith("ticket.") else None


SECRETS = ("secret", "retired")
SCHEMES_TRIED = tuple(
    Keys("session", schemes(names, SECRETS))
    for names in (
        *((name,) for name in SCHEMES),
        ("signed", "hashed", "plain"),
        ("tests.fuzzing.Ticket", "signed"),
    )
) + tuple(
    Keys("session", schemes(names, SECRETS, "eu")) for names in (*((name,) for name in SCHEMES), SCHEMES)
)
#: Two keys that are signed, with the secret of today and with that of before.
SIGNED_KEYS = tuple(
    at * RANDOM + Signed(secret)._proof(at * RANDOM) for at, secret in zip("AB", SECRETS, strict=True)
)


def read_scheme(data: bytes) -> None:
    """A cookie, under each scheme and lists of them: whether it may be a session key, and what stands for it."""
    text = data.decode("utf-8", "surrogateescape")
    for named in SCHEMES_TRIED:
        names = named.names(text)
        assert named.accepts(text) is bool(names)
        assert is_handle(named.handle(text))
        named.lasting(text)
        for name in names:
            assert is_handle(name) or name == text
            assert is_handle(named.handle_of(name))
            assert named.name_in(named.record_named(name).encode()) == name
        for scheme in named.schemes:
            assert not isinstance(scheme, Signed) or scheme.name(text) is None or text in SIGNED_KEYS, (
                "forged"
            )


def read_url(data: bytes) -> None:
    """A URL that a project has written, or its environment."""
    url = data.decode("utf-8", "replace")
    found = problems({"URL": url})
    try:
        target = target_of(url)
        database_of(url, {})
    except SessionStoreMisconfigured:
        assert found, url
        return
    assert isinstance(target.address, str)
    if not found:
        Connections(settings_from({"URL": url}), "").close()


NAMES = (
    *(name.upper() for name in Settings.__slots__),
    "host",
    "port",
    "url",
    "password",
    "pool",
    "sentinel_list",
    "db",
    "x",
)


def read_settings(data: bytes) -> None:
    """A ``SESSION_REDIS``, ours or the other package's, of whatever types."""
    reading = Reading(data)
    given = {NAMES[reading.byte() % len(NAMES)]: reading.value() for _ in range(1 + reading.byte() % 4)}
    found = problems(given)
    try:
        settings = settings_from(given)
    except SessionStoreMisconfigured:
        assert found
    else:
        assert not found
        hash((settings.prefix, settings.keys, settings.max_size, settings.anonymous_budget))


def read_device(data: bytes) -> None:
    """Headers of a request, and what a session says of its device."""
    text = data.decode("latin-1")
    device = devices.Device(text, text)
    assert len(device.user_agent or "") <= devices.LONGEST_AGENT
    assert len(devices.described(text)) <= devices.LONGEST_AGENT
    for masked in (devices.masked(text), devices.network(text)):
        assert masked is None or devices.masked(masked) is not None
    devices.device_in({devices.KEY: Reading(data).value()})
    devices.Device(Reading(data).value(), Reading(data).value())


def read_announcement(data: bytes) -> None:
    """A message on the channel, which anybody with the right may publish."""
    found = announcements.decode(data)
    if found is not None:
        assert announcements.decode(announcements.encode(found)) == found


def read_place(data: bytes) -> None:
    """Where a walk goes on, as a person has typed it; and a dictionary file."""
    with suppress(ValueError):
        text = data.decode("utf-8", "replace")
        assert Place.parsed(str(Place.parsed(text))) == Place.parsed(text)
    with suppress(ValueError):
        assert dictionaries.parsed(data).dumped() == data


def bombs() -> Iterator[bytes]:
    """Records that are small, and large when they are inflated."""
    for size in (LARGEST // 16, 5 * LARGEST):
        body = zlib.compress(bytes(size), 9, -15)
        yield with_checksum(b"\x01\0\x01\0\0" + bytes(23) + body)
        yield with_checksum(b"\x01\0\x02\0\0" + bytes(23) + bytes(32) + body)


TARGETS = {
    target.name: target
    for target in (
        Target(
            "record",
            read_record,
            (
                sealed(),
                sealed(compression="zlib"),
                sealed(compression=None),
                sealed(LOGIN * 40),
                sealed(b"{}"),
                Codec(OWN).seal(LOGIN, HEADER, ""),
                *bombs(),
            ),
        ),
        Target(
            "body",
            read_body,
            (
                LOGIN,
                b"{}",
                b'{"a":[1,2.5,null,true,{"b":"\\u00e4"}],"_session_device":{"address":"::1","agent":"x"}}',
            ),
        ),
        Target(
            "key",
            read_key,
            (b"k" * 32, b"short", b"session:r:" + b"x" * 24, Keys().index(b"ninebytes").encode()),
        ),
        Target(
            "protected",
            read_protected,
            tuple(codec.seal(payload, HEADER, HANDLE) for codec in PROTECTED for payload in PAYLOADS),
        ),
        Target(
            "scheme",
            read_scheme,
            (
                b"k" * 32,
                b"x" * 24,
                b"ticket." + b"t" * 32,
                *(key.encode() for key in SIGNED_KEYS),
                "\ud800é\0".encode(errors="surrogatepass"),
            ),
        ),
        Target(
            "url",
            read_url,
            tuple(
                url.encode()
                for url in (
                    "redis://user:pass%40word@localhost:6379/0?db=3",
                    "rediss://[::1]:6380",
                    "unix:///run/redis.sock?db=1",
                    "redis+sentinel://u:p@a:26379,b:26379/mymaster/2",
                    "redis+cluster://a:7000,b:7001",
                    "embedded://",
                    "embedded:///var/tmp/x",
                )
            ),
        ),
        Target(
            "settings",
            read_settings,
            tuple(
                bytes([3, at, 7, 5]) + b"60/h," + bytes([at + 1, 9, 2, 8, 2, 1, 0, 8, 1, 60])
                for at in range(len(NAMES))
            ),
        ),
        Target(
            "device",
            read_device,
            (
                b"203.0.113.7",
                b"2001:db8::1%eth0",
                b"::ffff:203.0.113.7",
                b"Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0",
                b"Googlebot/2.1",
                b"curl/8.5",
            ),
        ),
        Target(
            "announcement",
            read_announcement,
            (
                announcements.revoked("h" * 24, "7", "logout"),
                announcements.rotated("h" * 24, "i" * 24, None),
                announcements.user_revoked("7"),
                announcements.all_revoked(),
                json.dumps([{}]).encode(),
            ),
        ),
        Target("place", read_place, (b"0123456789ab:done,ba9876543210:17", b"", OWN.dumped())),
    )
}
