#!/usr/bin/env python3
"""Fill the shop of ``testproject`` with visitors of the last days, for the pictures of the documentation.

``python -m tools.crowd`` stores some dozens of sessions where the environment's settings say, the same ones each time
but for their keys. Nobody can sign in as one of these users: they have no passwords.
"""

from __future__ import annotations

import random
import time
from unittest.mock import patch

import django

FIREFOX = "Mozilla/5.0 ({}; rv:145.0) Gecko/20100101 Firefox/145.0"
CHROME = "Mozilla/5.0 ({}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0{} Safari/537.36{}"
SAFARI = "Mozilla/5.0 ({}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6{} Safari/605.1.15"
AGENTS = (
    FIREFOX.format("Windows NT 10.0; Win64; x64"),
    FIREFOX.format("X11; Linux x86_64"),
    CHROME.format("Windows NT 10.0; Win64; x64", "", ""),
    CHROME.format("Windows NT 10.0; Win64; x64", "", " Edg/142.0.0.0"),
    CHROME.format("Linux; Android 10; K", " Mobile", ""),
    SAFARI.format("iPhone; CPU iPhone OS 18_6 like Mac OS X", " Mobile/15E148"),
    SAFARI.format("Macintosh; Intel Mac OS X 10_15_7", ""),
)
#: Addresses that are set aside for documentation.
NETWORKS = ("192.0.2.{}", "198.51.100.{}", "203.0.113.{}", "2001:db8:{:x}::1")
PEOPLE = (
    "carol",
    "dave",
    "erin",
    "frank",
    "grace",
    "heidi",
    "ivan",
    "judy",
    "mallory",
    "niaj",
    "olivia",
    "peggy",
)
PRODUCTS = ("teapot", "kettle", "mug")
MINUTE, HOUR, DAY = 60, 3600, 86400


def main() -> None:
    django.setup()
    from django.contrib.auth.models import User

    chance = random.Random(1)  # noqa: S311 - decides what a picture shows
    users = [User.objects.get_or_create(username=name)[0] for name in PEOPLE]
    for user in (*users, *users, *users[:4]):
        store(chance, user)
    for _ in range(10):
        store(chance, None)


def store(chance: random.Random, user: object) -> None:
    """One session, as it would be if its visitor had come some time ago."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

    from django_redis_sessions.backend import SessionStore

    begun = time.time() - chance.choice((20 * MINUTE, 3 * HOUR, 2 * DAY, 5 * DAY)) * chance.uniform(0.2, 1)
    session = SessionStore()
    session["cart"] = {product: chance.randint(1, 3) for product in chance.sample(PRODUCTS, 2)}
    if user is not None:
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        address = chance.choice(NETWORKS).format(chance.randint(1, 254))
        session["_session_device"] = {"address": address, "agent": chance.choice(AGENTS)}
    session.set_expiry(chance.choice((6 * DAY, 14 * DAY, 14 * DAY, 30 * DAY)))
    with patch("django_redis_sessions.held.time", lambda: begun):
        session.save()


if __name__ == "__main__":
    main()
