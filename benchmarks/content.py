"""What is in the sessions that are measured?

Nothing random: products, addresses and answers as shops and forms put them into sessions, so that
they compress as real ones do. The values are JSON, as Django's default serializer wants them.
"""

from __future__ import annotations

import json
from typing import Any

Content = dict[str, Any]

LOGIN: Content = {
    "_auth_user_id": "48151",
    "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
    "_auth_user_hash": "5c8f3f1d9d7be61b3a07d64cf21a0bd3fb9c4ab5d2a1fd4be37ce2bb0a41c6d9",
}

_PRODUCTS = (
    ("teapot-cast-iron-12", "Cast iron teapot, 1.2 l", "84.50"),
    ("cups-stoneware-4", "Four stoneware cups", "39.00"),
    ("sencha-first-flush", "Sencha, first flush, 100 g", "17.80"),
    ("whisk-bamboo-80", "Bamboo whisk, 80 prongs", "21.00"),
    ("tray-walnut", "Walnut tray, 40 x 28 cm", "56.90"),
    ("kettle-gooseneck", "Gooseneck kettle, 0.9 l", "112.00"),
    ("oolong-high-mountain", "High mountain oolong, 50 g", "24.30"),
)
_TOWNS = ("Leiden", "Porto", "Graz", "Bergen", "Tartu", "Gent", "Turku", "Brno", "Arles")


def _line(number: int) -> Content:
    sku, name, price = _PRODUCTS[number % len(_PRODUCTS)]
    return {"sku": sku, "name": name, "quantity": number % 4 + 1, "price": price}


def _step(number: int) -> Content:
    """What one page of a long form leaves behind."""
    town = _TOWNS[number % len(_TOWNS)]
    return {
        "step": f"guest-{number}",
        "is_valid": number % 7 != 0,
        "data": {
            "first_name": ("Anna", "Bram", "Chiara", "Dag", "Eeva")[number % 5],
            "last_name": ("de Vries", "Almeida", "Huber", "Solberg", "Kask", "Virtanen")[number % 6],
            "email": f"guest.{number * 7919 % 100_003}@example.com",
            "street": f"{('Station', 'Church', 'Mill', 'Garden')[number % 4]} Street {number * 31 % 199 + 1}",
            "postcode": f"{number * 4391 % 90_000 + 10_000}",
            "town": town,
            "born": f"{1950 + number * 13 % 55}-{number % 12 + 1:02}-{number * 17 % 28 + 1:02}",
            "wishes": f"Arrives by train in {town} at {number * 7 % 24:02}:{number * 11 % 60:02}",
        },
    }


ANONYMOUS: Content = {"cart": [_line(0), _line(1), _line(2)], "language": "en", "visits": 1}
TYPICAL: Content = {**LOGIN, **ANONYMOUS}
#: The same for a shop whose sessions name products by number.
BY_NUMBER: Content = {
    **LOGIN,
    "cart": {"items": [{"product_id": 1107 * n, "quantity": n, "price": f"{n * 14}.90"} for n in (1, 2, 3)]},
    "language": "en",
    "visits": 1,
}


def of_size(size: int) -> Content:
    """A signed-in session of about so many bytes as JSON: cart lines up to 1 kB, pages of a form beyond."""
    content: Content = {**LOGIN, "visits": 1}
    name, make = ("cart", _line) if size <= 1_000 else ("wizard", _step)
    parts: list[Content] = []
    while length(content | {name: [*parts, make(len(parts))]}) <= size * 1.05:
        parts.append(make(len(parts)))
        content[name] = parts
    return content


def length(content: Content) -> int:
    """Bytes of the content as Django's JSON serializer writes it."""
    return len(json.dumps(content, separators=(",", ":")).encode("latin-1"))


#: Every content by the name that results call it.
CONTENTS: dict[str, Content] = {
    "login": LOGIN,
    "anonymous": ANONYMOUS,
    "typical": TYPICAL,
    "by number": BY_NUMBER,
    "0.2 kB": {**LOGIN, "visits": 1},
    "1 kB": of_size(1_000),
    "10 kB": of_size(10_000),
    "100 kB": of_size(100_000),
}
