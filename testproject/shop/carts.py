"""What does a cart mean?

A session keeps its cart as `{product id: amount}` under "cart": small, and plain JSON. Nothing here touches the
session.
"""

from dataclasses import dataclass

from .products import PRODUCTS, Product

MOST = 99  # pieces of one product; a cart is not a warehouse


@dataclass(frozen=True, slots=True)
class Line:
    """One product in the cart, and how many of it."""

    product: Product
    amount: int

    @property
    def price(self) -> int:
        return self.product.price * self.amount


def with_one_more(cart: dict[str, int], product_id: str) -> dict[str, int]:
    """The cart after adding one piece; the given cart stays as it was."""
    return cart | {product_id: min(cart.get(product_id, 0) + 1, MOST)}


def lines(cart: dict[str, int]) -> list[Line]:
    """What lies in the cart, without products that are no longer sold."""
    return [
        Line(PRODUCTS[product_id], amount) for product_id, amount in cart.items() if product_id in PRODUCTS
    ]


def count(cart: dict[str, int]) -> int:
    """How many pieces lie in the cart."""
    return sum(line.amount for line in lines(cart))


def total(cart: dict[str, int]) -> int:
    """The price of everything in the cart, in whole euros."""
    return sum(line.price for line in lines(cart))
