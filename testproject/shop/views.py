"""How does an ordinary view use its session?"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from . import carts, disclosure
from .forms import AmountForm, EndForm, ProductForm
from .products import PRODUCTS


@require_GET
def shop(request: HttpRequest) -> HttpResponse:
    """Everything there is to buy."""
    return render(request, "shop/shop.html", {"products": PRODUCTS.values()})


@never_cache
@require_GET
def cart(request: HttpRequest) -> HttpResponse:
    """What the visitor has chosen."""
    chosen = request.session.get("cart", {})
    return render(
        request,
        "shop/cart.html",
        {"lines": carts.lines(chosen), "total": carts.total(chosen), "most": carts.MOST},
    )


@require_POST
def add_to_cart(request: HttpRequest) -> HttpResponse:
    """Put one piece into the cart; the first piece begins the session."""
    form = ProductForm(request.POST)
    if not form.is_valid():
        return HttpResponseBadRequest("There is no such product.")
    chosen = request.session.get("cart", {})
    request.session["cart"] = carts.with_one_more(chosen, form.cleaned_data["product"])
    return redirect("shop")


@require_POST
def change_amount(request: HttpRequest) -> HttpResponse:
    """Set how many of a product are wanted; 0 removes it."""
    form = AmountForm(request.POST)
    if not form.is_valid():
        return HttpResponseBadRequest("There is no such product, or not so many of it.")
    product, amount = form.cleaned_data["product"], form.cleaned_data["amount"]
    chosen = request.session.setdefault("cart", {})
    if amount:
        chosen[product] = amount
    else:
        chosen.pop(product, None)
    # The dict inside the session has changed, which the session cannot see.
    request.session.modified = True
    return redirect("cart")


@require_POST
def empty_cart(request: HttpRequest) -> HttpResponse:
    """Take everything out of the cart."""
    request.session.pop("cart", None)
    return redirect("cart")


@never_cache
@require_GET
def session(request: HttpRequest) -> HttpResponse:
    """What the visitor's session holds, and when it ends."""
    # The items come first: reading them tells a live session key from a made-up one.
    entries = disclosure.entries(request.session.items())
    shown = disclosure.SessionView(
        key=disclosure.redacted(request.session.session_key),
        entries=entries,
        ends=request.session.get_expiry_date(),
        lasts=request.session.get_expiry_age(),
        ends_with_browser=request.session.get_expire_at_browser_close(),
    )
    return render(
        request, "shop/session.html", {"session": shown, "cookie_name": settings.SESSION_COOKIE_NAME}
    )


@require_POST
def choose_end(request: HttpRequest) -> HttpResponse:
    """Let the session end earlier or later."""
    form = EndForm(request.POST)
    if not form.is_valid():
        return HttpResponseBadRequest("A session cannot end then.")
    request.session.set_expiry(form.seconds)
    return redirect("session")


@require_POST
def flush(request: HttpRequest) -> HttpResponse:
    """Forget everything about this visitor; this signs out too."""
    request.session.flush()
    return redirect("session")
