"""Which views treat their session otherwise than the settings say?"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from django_redis_sessions.configuration import CONFLICTS

View = TypeVar("View", bound=Callable[..., Any])


def on_conflict(policy: str) -> Callable[[View], View]:
    """What this view does when somebody else has saved the session since it was read.

    ``policy`` is "merge", "overwrite" or "strict", as in the ``CONFLICT`` setting. For views of
    either kind; for a class, use Django's ``method_decorator``.
    """
    if policy not in CONFLICTS:
        raise ValueError(f"{policy!r} is none of {', '.join(map(repr, CONFLICTS))}.")

    def decorate(view: View) -> View:
        @wraps(view)
        def blocking(request: Any, *args: Any, **kwargs: Any) -> Any:
            request.session.on_conflict = policy
            return view(request, *args, **kwargs)

        @wraps(view)
        async def awaited(request: Any, *args: Any, **kwargs: Any) -> Any:
            request.session.on_conflict = policy
            return await view(request, *args, **kwargs)

        return awaited if iscoroutinefunction(view) else blocking  # type: ignore[return-value]  # wraps() says so

    return decorate
