"""What is a session key, and what stands for it in Redis?

``SESSION_REDIS["KEYS"]`` names one scheme or several. The first makes new session keys; all of them
say of the text in a cookie whether it may be one of theirs, and by which name its session goes in Redis.

- ``"hashed"``: 32 random letters and digits; Redis has their digest.
- ``"plain"``: the same; Redis has the session key itself.
- ``"signed"``: 21 random characters and 19 that prove who has made them. A cookie without them is
  an unknown session, and nobody has to be asked. Redis has the digest of all 40.
- a dotted path: a project's own class with the two methods of ``Scheme``. It is called with SECRET_KEY, and
  once more for each of SECRET_KEY_FALLBACKS, whose session keys are honoured and replaced.

Where there are several regions, the name of the one that a session lives in stands in front of each of these, and a
dot, which is in no session key that Django or this package makes; without a name it lives in the first.

A name is a *handle*, 24 characters that let nobody in, or, of plain keys alone, the session key. So that
the two cannot be taken for each other, no plain key has 24 characters: whoever reads a handle in a
log shall not sign in by it.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from hmac import compare_digest
from importlib import import_module
from secrets import randbelow, token_urlsafe
from typing import Any, Protocol

from django_redis_sessions.errors import SessionStoreMisconfigured

#: How ``SESSION_REDIS["KEYS"]`` may be spelt, beside a dotted path.
SCHEMES = ("hashed", "plain", "signed")

_PLAUSIBLE = re.compile(r"[0-9A-Za-z_-]{8,128}", re.ASCII).fullmatch
_HANDLE = re.compile(r"[0-9A-Za-z_-]{24}", re.ASCII).fullmatch
# What base64.urlsafe_b64encode() does, with fewer calls: every load needs a digest.
_URL_SAFE = bytes.maketrans(b"+/", b"-_")

# As Django's engines make them, so that what leaves for one of them fits there.
_LETTERS, _LENGTH = "abcdefghijklmnopqrstuvwxyz0123456789", 32

#: Characters of a signed key that are random, 126 bits, and that prove it, 114 bits. Other
#: applications keep session keys in columns of 40 characters.
RANDOM, PROOF = 21, 19
_SALT = b"django_redis_sessions.schemes.signed"
#: What stands between the name of a region and the rest of a session key.
TAG_END = "."


class Scheme(Protocol):
    """How session keys are made and told from other text. Neither method may ask anybody."""

    def new(self) -> str:
        """A session key that nobody can guess, fit for a cookie."""

    def name(self, session_key: str) -> str | None:
        """What stands for the session in Redis; None if this cannot be a session key, whatever text it is."""


def is_plausible(session_key: str | None) -> bool:
    """Whether some engine could have made this session key: 8 to 128 letters, digits, ``-`` and ``_``.

    What a cookie says is anybody's text. Anything else is an unknown session and costs no round trip.
    """
    return session_key is not None and _PLAUSIBLE(session_key) is not None


def is_handle(text: object) -> bool:
    """Whether ``text`` has the form of a session's public handle."""
    return isinstance(text, str) and _HANDLE(text) is not None


def digest(session_key: str) -> str:
    """24 characters that stand for ``session_key`` and do not give it away."""
    # Whatever a cookie says has a handle, half a character too.
    short = sha256(session_key.encode(errors="surrogatepass")).digest()[:18]
    return b2a_base64(short, newline=False).translate(_URL_SAFE).decode()


@dataclass(frozen=True, slots=True)
class Hashed:
    """Redis has a digest of the session key, whoever has made that."""

    def new(self) -> str:
        """As ``Scheme.new()``."""
        number, letters = randbelow(len(_LETTERS) ** _LENGTH), []
        for _ in range(_LENGTH):
            number, at = divmod(number, len(_LETTERS))
            letters.append(_LETTERS[at])
        return "".join(letters)

    def name(self, session_key: str) -> str | None:
        """As ``Scheme.name()``."""
        return digest(session_key) if _PLAUSIBLE(session_key) else None


@dataclass(frozen=True, slots=True)
class Plain(Hashed):
    """Redis has the session key."""

    def name(self, session_key: str) -> str | None:
        """As ``Scheme.name()``."""
        return session_key if _PLAUSIBLE(session_key) and not _HANDLE(session_key) else None


class Signed:
    """Who has not got the secret cannot make a session key, not even one that leads nowhere."""

    __slots__ = ("_key", "_proof_length", "_shape")

    def __init__(self, secret: str | bytes, room: int = RANDOM + PROOF) -> None:
        self._proof_length = room - RANDOM
        self._shape = re.compile(rf"[0-9A-Za-z_-]{{{room}}}", re.ASCII).fullmatch
        whole = secret.encode() if isinstance(secret, str) else secret
        # A key of its own, so that nothing else that is made with the secret can pass for a proof.
        self._key = sha256(_SALT + whole).digest()

    def new(self) -> str:
        """As ``Scheme.new()``."""
        # Of 22 characters the last one would have two random bits only.
        seed = token_urlsafe(16)[:RANDOM]
        return seed + self._proof(seed)

    def name(self, session_key: str) -> str | None:
        """As ``Scheme.name()``."""
        if not self._shape(session_key):
            return None
        if not compare_digest(session_key[RANDOM:], self._proof(session_key[:RANDOM])):
            return None
        return digest(session_key)

    def _proof(self, seed: str) -> str:
        mac = blake2b(seed.encode(), key=self._key, digest_size=15).digest()
        return b2a_base64(mac, newline=False).translate(_URL_SAFE)[: self._proof_length].decode()


class Regional:
    """The session keys of another scheme, behind the name of the region that the sessions live in."""

    __slots__ = ("_region", "scheme")

    def __init__(self, region: str, scheme: Scheme) -> None:
        self._region, self.scheme = region, scheme

    def new(self) -> str:
        """As ``Scheme.new()``."""
        return f"{self._region}{TAG_END}{self.scheme.new()}"

    def name(self, session_key: str) -> str | None:
        """As ``Scheme.name()``; another one in each region."""
        if tag_of(session_key) != self._region:
            return None
        name = self.scheme.name(session_key[len(self._region) + 1 :])
        if name is None:
            return None
        tagged = f"{self._region}{TAG_END}{name}"
        return digest(tagged) if is_handle(name) else tagged


def tag_of(session_key: str) -> str:
    """What stands in front of the first dot, where regions have their names; "" if there is no dot."""
    tag, end, _ = session_key.partition(TAG_END)
    return tag if end else ""


def is_plain(scheme: Scheme) -> bool:
    """Whether the name of a session is its session key."""
    return isinstance(scheme.scheme if isinstance(scheme, Regional) else scheme, Plain)


class Own:
    """A project's class, held to what the rest of the package relies on."""

    __slots__ = ("_path", "_scheme")

    def __init__(self, path: str, scheme: Any) -> None:
        self._path, self._scheme = path, scheme

    def new(self) -> str:
        """As ``Scheme.new()``; ``SessionStoreMisconfigured`` if it would not know it again."""
        session_key = self._scheme.new()
        if not isinstance(session_key, str) or self.name(session_key) is None:
            raise SessionStoreMisconfigured(f"{self._path} does not know the session keys that it makes.")
        return session_key

    def name(self, session_key: str) -> str | None:
        """As ``Scheme.name()``; ``SessionStoreMisconfigured`` for one that is no handle."""
        name: str | None = self._scheme.name(session_key)
        if name is not None and not is_handle(name):
            raise SessionStoreMisconfigured(
                f"{self._path} gives a name that is no handle; let it give schemes.digest() of what stands "
                f"for the session."
            )
        return name

    def on_trial(self) -> Own:
        """The same, telling of whatever the class lets out without its words, which may quote the secret."""
        return Own(self._path, _OnTrial(self._path, self._scheme))


class _OnTrial:
    __slots__ = ("_path", "_scheme")

    def __init__(self, path: str, scheme: Any) -> None:
        self._path, self._scheme = path, scheme

    def new(self) -> Any:
        return self._asked("new()", self._scheme.new)

    def name(self, session_key: str) -> Any:
        return self._asked("name()", self._scheme.name, session_key)

    def _asked(self, called: str, method: Callable[..., Any], *arguments: str) -> Any:
        try:
            return method(*arguments)
        except Exception as error:  # whatever the project's class raises
            what = " for what a cookie may say" if arguments else ""
            raise SessionStoreMisconfigured(
                f"SESSION_REDIS['KEYS'] names {self._path!r}, whose {called} raises {type(error).__name__}{what}."
            ) from None


HASHED = Hashed()
_BUILT_IN: dict[str, Callable[[str | bytes, int], Scheme]] = {
    "hashed": lambda secret, room: HASHED,
    "plain": lambda secret, room: Plain(),
    "signed": Signed,
}


def needs_secrets(names: Iterable[str]) -> bool:
    """Whether ``schemes()`` of these names depend on SECRET_KEY."""
    return any(name not in ("hashed", "plain") for name in names)


def schemes(names: Iterable[str], secrets: Sequence[str | bytes], region: str = "") -> tuple[Scheme, ...]:
    """The schemes of these names, in a ``region`` if there are any; the first of the ``secrets`` is for new keys.

    Imports what a dotted path names; ``SessionStoreMisconfigured`` if that cannot be done.
    """
    if not secrets and needs_secrets(names := [*names]):
        raise SessionStoreMisconfigured("Session keys that are signed need a secret, and none was given.")
    made: list[Scheme] = []
    # A signed key has its 40 characters with the region's name too.
    room = RANDOM + PROOF - (len(region) + len(TAG_END) if region else 0)
    for name in names:
        for secret in secrets if needs_secrets([name]) else ("",):
            built_in = _BUILT_IN.get(name)
            made.append(built_in(secret, room) if built_in else _own(name)(secret))
    return tuple(Regional(region, scheme) for scheme in made) if region else tuple(made)


def problem(path: str, secret: str | bytes) -> str | None:
    """What is wrong with the class that a dotted path names. Imports it and makes two session keys.

    In no words of the class's own: what it says when it fails may quote the secret that it was called with.
    """
    try:
        scheme = _own(path)(secret).on_trial()
        made = {scheme.new(), scheme.new()}
        for text in ("", "x" * _LENGTH, "\ud800é \0"):  # anybody's text
            scheme.name(text)
        names = set(map(scheme.name, made))
    except SessionStoreMisconfigured as error:
        return str(error)
    if len(made) < 2:
        return f"SESSION_REDIS['KEYS'] names {path!r}, whose new() gives the same session key twice."
    if len(names) < 2:
        return f"SESSION_REDIS['KEYS'] names {path!r}, whose name() is the same for two session keys."
    return None


def _own(path: str) -> Callable[[str | bytes], Own]:
    module, _, name = path.rpartition(".")
    try:
        made_by = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SessionStoreMisconfigured(
            f"SESSION_REDIS['KEYS'] names {path!r}, which cannot be imported: {error}."
        ) from error
    except Exception as error:  # whatever the project's module raises, which may quote its settings
        raise SessionStoreMisconfigured(
            f"SESSION_REDIS['KEYS'] names {path!r}, which cannot be imported: {type(error).__name__}."
        ) from None
    missing = [method for method in ("new", "name") if not callable(getattr(made_by, method, None))]
    if missing or not isinstance(made_by, type):
        what = f"has no method {missing[0]}()" if isinstance(made_by, type) else "is no class"
        raise SessionStoreMisconfigured(f"SESSION_REDIS['KEYS'] names {path!r}, which {what}.")

    def make(secret: str | bytes) -> Own:
        try:
            return Own(path, made_by(secret))
        except Exception as error:  # whatever the project's class raises, which may quote the secret
            raise SessionStoreMisconfigured(
                f"SESSION_REDIS['KEYS'] names {path!r}, which cannot be made from SECRET_KEY: "
                f"{type(error).__name__}."
            ) from None

    return make
