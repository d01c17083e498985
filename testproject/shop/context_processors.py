"""What does every page know?"""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest

from . import carts


def cart(request: HttpRequest) -> dict[str, Callable[[], Any]]:
    """The number in the menu, as a function: a page that does not print it does not read the session.

    Reading waits for the session store, so async views pass a `cart_count` of their own.
    """
    return {"cart_count": lambda: carts.count(request.session.get("cart", {}))}
