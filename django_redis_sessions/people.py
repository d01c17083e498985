"""Which users are meant by a text, and what are the users of these sessions called?

A session knows its user's primary key as text. Any user model will do; users may have been deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import Field, Q

#: Nobody looks for more users at a time; e-mail addresses need not be unique.
MOST_MATCHES = 10


def named(user_ids: Iterable[str]) -> dict[str, Any]:
    """The users with these ids, by id; one query. Deleted users are missing."""
    wanted = {key for user_id in set(user_ids) if (key := _primary_key(user_id)) is not None}
    if not wanted:
        return {}
    users = get_user_model()._default_manager.filter(pk__in=wanted)
    return {id_of(user): user for user in users}


def matching(text: str) -> dict[str, Any]:
    """Who has this primary key, username or e-mail address, by id; one query.

    None stands for a primary key that nobody has: such a user may have been deleted.
    """
    model = get_user_model()
    key = _primary_key(text)
    asked: list[Any] = [
        *_asked(str(model.USERNAME_FIELD), text, "exact"),
        *_asked(model.get_email_field_name(), text, "iexact"),
        *([] if key is None else [Q(pk=key)]),
    ]
    found: dict[str, Any] = {}
    if asked:
        users = model._default_manager.filter(Q.create(asked, connector=Q.OR)).order_by("pk")
        found = {id_of(user): user for user in users[:MOST_MATCHES]}
    return found if key is None else {str(key): None, **found}


def id_of(user: Any) -> str:
    """The text by which a session knows its user; ``login()`` makes it the same way."""
    text: str = user._meta.pk.value_to_string(user)
    return text


def _primary_key(text: str) -> Any:
    """The primary key that ``text`` spells; None if no user can have it."""
    try:
        # Unlike to_python() it knows how large a number the database takes.
        return _primary_key_field().clean(text, None)
    except ValidationError:
        return None


def _primary_key_field() -> Field[Any, Any]:
    # A primary key that is a relation, as with multi-table inheritance, is spelt like what it leads to.
    field: Any = get_user_model()._meta.pk
    while field.remote_field is not None:
        field = field.target_field
    return field  # type: ignore[no-any-return]


def _asked(name: str, text: str, how: str) -> list[Q]:
    model = get_user_model()
    try:
        model._meta.get_field(name).to_python(text)  # type: ignore[union-attr]  # relations have it too
    except (FieldDoesNotExist, ValidationError):
        return []
    return [Q(**{f"{name}__{how}": text})]
