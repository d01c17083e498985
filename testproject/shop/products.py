"""What does the shop sell?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One thing for sale. `id` is what the cart in the session remembers; `price` is in whole euros."""

    id: str
    name: str
    price: int
    description: str


PRODUCTS = {
    product.id: product
    for product in (
        Product(id="mug", name="Enamel mug", price=9, description="Holds 300 ml and survives a fall."),
        Product(id="notebook", name="Notebook", price=7, description="A5, dotted, lies flat when open."),
        Product(
            id="pencil", name="Pencil", price=2, description="Cedar wood, soft lead, made to be sharpened."
        ),
        Product(id="candle", name="Beeswax candle", price=12, description="Burns for about thirty hours."),
        Product(
            id="umbrella", name="Umbrella", price=24, description="Eight ribs, and a handle of cherry wood."
        ),
        Product(
            id="kite",
            name="Paper kite",
            price=15,
            description="Flies in a light wind; comes with its string.",
        ),
    )
}
