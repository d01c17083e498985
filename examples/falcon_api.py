"""A Falcon API whose visitors are those of the Django site, with a middleware that opens and saves their sessions.

    pip install 'django-redis-sessionstore[examples]' gunicorn
    SESSIONS_URL=redis://localhost:6379/0 gunicorn --chdir examples falcon_api:app

`INSECURE_COOKIES=1` is for trying it without TLS.
"""

import os
from typing import Any

import falcon

from django_redis_sessions.client import SessionClient
from django_redis_sessions.errors import SessionEnded, SessionStoreUnavailable

# The same as on the site: SESSION_REDIS, and the SESSION_COOKIE_ settings.
client = SessionClient(os.environ["SESSIONS_URL"], prefix=os.environ.get("SESSIONS_PREFIX", "session"))
COOKIE = "sessionid"
SECURE = "INSECURE_COOKIES" not in os.environ


class SessionMiddleware:
    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        req.context.session = client.open(req.cookies.get(COOKIE))

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: Any, req_succeeded: bool
    ) -> None:
        session = getattr(req.context, "session", None)  # there is none when it could not be opened
        if session is None:
            return
        resp.append_header("Vary", "Cookie")
        if req_succeeded and session.has_changed:
            session.save()
        if not session.needs_cookie:
            return
        if session.key is None:
            resp.unset_cookie(COOKIE, path="/", same_site="Lax")
        else:
            resp.set_cookie(
                COOKIE, session.key, max_age=session.max_age, path="/", secure=SECURE, same_site="Lax"
            )


class Visitor:
    """Who that is, and what is in the cart."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {"user": req.context.session.user_id, "cart": req.context.session.get("cart", {})}

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        req.context.session.delete()
        resp.status = falcon.HTTP_NO_CONTENT


class Product:
    """A product in the cart."""

    def on_put(self, req: falcon.Request, resp: falcon.Response, product: str) -> None:
        req.context.session.setdefault("cart", {})[product] = 1
        resp.status = falcon.HTTP_NO_CONTENT


def unavailable(req: falcon.Request, resp: falcon.Response, error: Exception, params: dict[str, Any]) -> None:
    raise falcon.HTTPServiceUnavailable(title="Sessions are unavailable", retry_after=2)


def interrupted(req: falcon.Request, resp: falcon.Response, error: Exception, params: dict[str, Any]) -> None:
    raise falcon.HTTPBadRequest(title="The session has ended meanwhile")


app = falcon.App(middleware=[SessionMiddleware()])
app.add_error_handler(SessionStoreUnavailable, unavailable)
app.add_error_handler(SessionEnded, interrupted)
app.add_route("/visitor", Visitor())
app.add_route("/cart/{product}", Product())
