"""A Starlette application, asynchronous throughout, whose visitors are those of the Django site.

    pip install 'django-redis-sessionstore[examples]' uvicorn
    SESSIONS_URL=redis://localhost:6379/0 uvicorn --app-dir examples starlette_app:app

`INSECURE_COOKIES=1` is for trying it without TLS. In FastAPI the same middleware serves, and `session_of` is a
dependency: `session: Annotated[ClientSession, Depends(session_of)]`.
"""

import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from django_redis_sessions.client import ClientSession, SessionClient
from django_redis_sessions.errors import SessionEnded, SessionStoreUnavailable

client = SessionClient(os.environ["SESSIONS_URL"], prefix=os.environ.get("SESSIONS_PREFIX", "session"))
COOKIE = "sessionid"
# The same as on the site.
FLAGS = {"path": "/", "samesite": "lax", "httponly": True, "secure": "INSECURE_COOKIES" not in os.environ}


class Sessions(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        try:
            session = request.state.session = await client.aopen(request.cookies.get(COOKIE))
            response = await call_next(request)
            if response.status_code < 500 and session.has_changed:
                await session.asave()
        except SessionStoreUnavailable:
            return JSONResponse({"error": "sessions are unavailable"}, 503, {"Retry-After": "2"})
        except SessionEnded:
            return JSONResponse({"error": "the session has ended meanwhile"}, 400)
        response.headers.add_vary_header("Cookie")
        if session.needs_cookie and session.key is None:
            response.delete_cookie(COOKIE, **FLAGS)
        elif session.needs_cookie:
            response.set_cookie(COOKIE, session.key, max_age=session.max_age, **FLAGS)
        return response


def session_of(request: Request) -> ClientSession:
    return request.state.session


async def visitor(request: Request) -> JSONResponse:
    session = session_of(request)
    return JSONResponse({"user": session.user_id, "cart": session.get("cart", {})})


async def put(request: Request) -> Response:
    session_of(request).setdefault("cart", {})[request.path_params["product"]] = 1
    return Response(status_code=204)


async def sign_out(request: Request) -> Response:
    await session_of(request).adelete()
    return Response(status_code=204)


app = Starlette(
    middleware=[Middleware(Sessions)],
    routes=[
        Route("/visitor", visitor),
        Route("/visitor", sign_out, methods=["DELETE"]),
        Route("/cart/{product}", put, methods=["PUT"]),
    ],
)
