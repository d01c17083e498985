"""How does an async view use its session?

The same pages as in `views`, said with the twins `aget`, `aset`, … Everything that waits is awaited here, so the
templates get `user` and `cart_count` ready-made instead of the context processors' lazy ones.
"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from . import carts, disclosure
from .forms import EndForm, ProductForm
from .products import PRODUCTS


@never_cache
@require_GET
async def session(request: HttpRequest) -> HttpResponse:
    """What the visitor's session holds, and when it ends."""
    # The items come first: reading them tells a live session key from a made-up one.
    entries = disclosure.entries(await request.session.aitems())
    shown = disclosure.SessionView(
        key=disclosure.redacted(request.session.session_key),
        entries=entries,
        ends=await request.session.aget_expiry_date(),
        lasts=await request.session.aget_expiry_age(),
        ends_with_browser=await request.session.aget_expire_at_browser_close(),
    )
    return render(
        request,
        "shop/async_session.html",
        {
            "session": shown,
            "cookie_name": settings.SESSION_COOKIE_NAME,
            "products": PRODUCTS.values(),
            "user": await request.auser(),
            "cart_count": carts.count(await request.session.aget("cart", {})),
        },
    )


@require_POST
async def add_to_cart(request: HttpRequest) -> HttpResponse:
    """Put one piece into the cart; the first piece begins the session."""
    form = ProductForm(request.POST)
    if not form.is_valid():
        return HttpResponseBadRequest("There is no such product.")
    chosen = await request.session.aget("cart", {})
    await request.session.aset("cart", carts.with_one_more(chosen, form.cleaned_data["product"]))
    return redirect("async-session")


@require_POST
async def choose_end(request: HttpRequest) -> HttpResponse:
    """Let the session end earlier or later."""
    form = EndForm(request.POST)
    if not form.is_valid():
        return HttpResponseBadRequest("A session cannot end then.")
    await request.session.aset_expiry(form.seconds)
    return redirect("async-session")


@require_POST
async def flush(request: HttpRequest) -> HttpResponse:
    """Forget everything about this visitor; this signs out too."""
    await request.session.aflush()
    return redirect("async-session")


@never_cache
@require_GET
async def session_as_json(request: HttpRequest) -> JsonResponse:
    """Who the visitor is and what is in the cart: `{"user": name or null, "cart": {product id: amount}}`."""
    user = await request.auser()
    return JsonResponse(
        {
            "user": user.get_username() or None,
            "cart": await request.session.aget("cart", {}),
        }
    )
