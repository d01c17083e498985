"""What may a visitor send?"""

from datetime import timedelta

from django import forms

from .carts import MOST
from .products import PRODUCTS

# What the three buttons mean to set_expiry(): seconds without a request, or 0 for "until the browser closes".
ENDS = {
    "minutes": int(timedelta(minutes=2).total_seconds()),
    "weeks": int(timedelta(weeks=2).total_seconds()),
    "browser": 0,
}


class ProductForm(forms.Form):
    """Which product is meant."""

    product = forms.ChoiceField(choices=[(product.id, product.name) for product in PRODUCTS.values()])


class AmountForm(ProductForm):
    """How many of a product are wanted; 0 removes it from the cart."""

    amount = forms.IntegerField(min_value=0, max_value=MOST)


class EndForm(forms.Form):
    """When the session should end; `seconds` is what set_expiry() takes."""

    end = forms.ChoiceField(choices=[(name, name) for name in ENDS])

    @property
    def seconds(self) -> int:
        return ENDS[self.cleaned_data["end"]]
