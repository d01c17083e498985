"""Whom does somebody mean by a user on the command line, and what are the users of these sessions called?

The sessions are in Redis and the users in the database. Who looks after sessions may have to do so while
the database is down, so without it users are known by their primary keys alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from django_redis_sessions.management.output import note


def user_id_of(command: BaseCommand, text: str) -> str:
    """The primary key of the user with this primary key, or else with this username or e-mail address.

    A primary key that nobody has is taken as it is: the user may have been deleted. ``CommandError`` if
    nobody can be meant, or several users.
    """
    if not apps.is_installed("django.contrib.auth"):
        return text
    from django_redis_sessions import people

    try:
        found = people.matching(text)
    except Error:
        note(command, "The database cannot be asked, so the user is taken for a primary key.")
        return text
    if text in found and (found[text] is not None or len(found) == 1):
        return text
    users = [user_id for user_id, user in found.items() if user is not None]
    if not users:
        raise CommandError(
            "There is no such user: neither a primary key nor a username nor an e-mail address."
        )
    if len(users) > 1:
        raise CommandError(f"Several users may be meant. Name one by primary key: {', '.join(users)}.")
    return users[0]


def usernames(command: BaseCommand, user_ids: Iterable[str | None]) -> dict[str, str]:
    """What these users are called, by primary key; deleted ones are missing."""
    wanted = {user_id for user_id in user_ids if user_id is not None}
    if not wanted or not apps.is_installed("django.contrib.auth"):
        return {}
    from django_redis_sessions import people

    try:
        return {user_id: user.get_username() for user_id, user in people.named(wanted).items()}
    except Error:
        note(command, "The database cannot be asked, so users are shown by primary key.")
        return {}
