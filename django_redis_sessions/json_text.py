"""How is session data written as JSON?

To the byte as Django's ``JSONSerializer`` does, in less time: ``json.dumps()`` makes an encoder for each
call. What Django has written and what another program has can so be compared, and merged.
"""

from __future__ import annotations

import json
from typing import Any

_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


def dumps(data: Any) -> bytes:
    """``data`` as JSON; ``TypeError`` or ``ValueError`` if it cannot be written so."""
    return _encode(data).encode("latin-1")


def loads(payload: bytes) -> Any:
    """What ``dumps()`` was given; ``ValueError`` or ``RecursionError`` for what is no JSON."""
    return _decode(payload.decode("latin-1"))
