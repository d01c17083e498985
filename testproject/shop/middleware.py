"""What may a page of the shop load and do?

Only what comes from the shop itself, and nothing that stands inline in a page. Since Django 6.0 the setting
`SECURE_CSP` does the same; the shop also runs on 5.2.
"""

from collections.abc import Callable
from inspect import iscoroutinefunction

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


@sync_and_async_middleware
def content_security_policy(get_response: Callable) -> Callable:
    """Sends the policy with every page, except with those that Django draws for developers."""
    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponse:
            return with_policy(await get_response(request))
    else:

        def middleware(request: HttpRequest) -> HttpResponse:
            return with_policy(get_response(request))

    return middleware


def with_policy(response: HttpResponse) -> HttpResponse:
    """The response, which now says what it may load."""
    if not (settings.DEBUG and response.status_code in (404, 500)):
        response.headers.setdefault("Content-Security-Policy", POLICY)
    return response
