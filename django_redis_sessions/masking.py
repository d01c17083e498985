"""How much of a session's data may be shown to somebody who looks after the site?

Names decide: what is kept under a name that sounds like a secret is shown as ``MASK``, with all that is
inside. A value gives nothing away by its length either. What has a harmless name is shown, so an
application that keeps secrets under harmless names shows them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "••••••••"
#: Characters of one text, entries of one list or dict, and levels of nesting that are shown.
LONGEST_TEXT, MOST_ENTRIES, DEEPEST = 500, 100, 12
#: A longer text is shown as it is, and not read as JSON.
LONGEST_JSON = 64 * 1024

#: Words that make a name secret wherever they stand in it: ``password2``, ``oauthtoken``.
SECRET_PARTS = (
    "password",
    "passwd",
    "passphrase",
    "token",
    "secret",
    "hash",
    "csrf",
    "xsrf",
    "signature",
    "credential",
    "cookie",
    "nonce",
    "verifier",
    "jwt",
)
#: Words that do so only when they stand by themselves, as in ``api_key`` or ``smsCode``; not in ``keyboard``.
SECRET_WORDS = frozenset(
    {"authorization", "bearer", "code", "codes", "key", "keys", "otp", "otps", "totp", "hotp"}
    | {"pass", "pin", "pins", "pwd", "salt", "sid", "sig"}
)

# Where one word of a name ends: at anything but a letter, and between the humps of camelCase.
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def is_secret(name: object) -> bool:
    """Whether what is kept under this name should not be shown."""
    text = str(name)
    folded = text.lower()
    if any(part in folded for part in SECRET_PARTS):
        return True
    return any(word.lower() in SECRET_WORDS for word in _WORDS.findall(text))


def masked(value: Any, name: object = "", depth: int = 0) -> Any:
    """``value`` as it may be shown, with secrets replaced and long parts cut; what is given stays as it is."""
    if is_secret(name):
        return MASK
    if isinstance(value, str):
        return _masked_text(value, depth)
    if isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth >= DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        shown = {_cut(str(key)): masked(inner, key, depth + 1) for key, inner in _first(value.items())}
        return shown if len(value) <= MOST_ENTRIES else {**shown, "…": f"+ {len(value) - MOST_ENTRIES}"}
    if isinstance(value, list | tuple | set | frozenset):
        some = [masked(inner, "", depth + 1) for inner in _first(value)]
        return some if len(value) <= MOST_ENTRIES else [*some, f"… + {len(value) - MOST_ENTRIES}"]
    # Other serializers keep other types. Their repr() may be long, and may hold anything that they do.
    return f"<{type(value).__name__}>" if _is_opaque(value) else _cut(str(value))


def _masked_text(text: str, depth: int) -> Any:
    # Messages and the like are kept as JSON inside of a text, where names can be secret as well.
    if text[:1] in ("{", "[") and len(text) <= LONGEST_JSON:
        try:
            return masked(json.loads(text), "", depth + 1)
        except (ValueError, RecursionError):
            pass
    return _cut(text)


def entries(items: Iterable[tuple[object, Any]]) -> list[tuple[str, str]]:
    """Names and values of a session by name, as text that may be shown; values as indented JSON."""
    return sorted((name, _text(value)) for name, value in masked(dict(items)).items())


def _text(value: Any) -> str:
    return MASK if value == MASK else json.dumps(value, indent=2, ensure_ascii=False)


def _cut(text: str) -> str:
    # Half a surrogate pair is valid in JSON, and no page could be encoded that shows it.
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}… + {len(text) - LONGEST_TEXT}"


def _first(values: Iterable[Any]) -> Iterable[Any]:
    return (value for value, _ in zip(values, range(MOST_ENTRIES), strict=False))


def _is_opaque(value: Any) -> bool:
    """Whether a value's text could show an object's insides: all but numbers, dates and their like."""
    return type(value).__module__ not in ("datetime", "decimal", "uuid", "fractions", "ipaddress")
