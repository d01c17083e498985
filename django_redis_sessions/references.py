"""What do dotted paths in the settings lead to that take a request?"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from django.http import HttpRequest
from django.utils.module_loading import import_string


@cache
def function_named(path: str) -> Callable[[HttpRequest], Any]:
    """The function with this dotted path. Imports its module, and raises whatever that raises.

    ``TypeError`` for what cannot be called, and for a coroutine function, which nobody would await.
    """
    function: Any = import_string(path)
    if not callable(function):
        raise TypeError("it cannot be called")
    if inspect.iscoroutinefunction(function):
        raise TypeError("it is a coroutine function, which nobody awaits")
    return function  # type: ignore[no-any-return]  # what it gives is looked at where it is called
