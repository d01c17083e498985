"""A Flask application that keeps its sessions in Redis, those that the Django site has begun among them.

    pip install 'django-redis-sessionstore[examples]' gunicorn
    SESSIONS_URL=redis://localhost:6379/0 gunicorn --chdir examples flask_app:app

`INSECURE_COOKIES=1` is for trying it without TLS. Flask needs no SECRET_KEY: its cookie holds the session key alone.
"""

import os
from typing import Any

from flask import Flask, Request, Response, jsonify, session
from flask.sessions import SessionInterface
from werkzeug.exceptions import InternalServerError

from django_redis_sessions.client import ClientSession, SessionClient
from django_redis_sessions.errors import SessionEnded, SessionStoreUnavailable

client = SessionClient(os.environ["SESSIONS_URL"], prefix=os.environ.get("SESSIONS_PREFIX", "session"))


class RedisSessions(SessionInterface):
    def open_session(self, app: Flask, request: Request) -> ClientSession:
        return client.open(request.cookies.get(self.get_cookie_name(app)))

    def save_session(self, app: Flask, session: ClientSession | None, response: Response) -> None:
        if session is None:  # it could not be opened
            return
        response.vary.add("Cookie")
        if response.status_code < 500 and session.has_changed:
            session.save()
        if not session.needs_cookie:
            return
        name = self.get_cookie_name(app)
        flags = {"path": self.get_cookie_path(app), "domain": self.get_cookie_domain(app)}
        flags |= {"samesite": self.get_cookie_samesite(app), "secure": self.get_cookie_secure(app)}
        if session.key is None:
            response.delete_cookie(name, httponly=True, **flags)
        else:
            response.set_cookie(name, session.key, max_age=session.max_age, httponly=True, **flags)


app = Flask(__name__)
app.session_interface = RedisSessions()
app.config.update(
    # The same as on the site.
    SESSION_COOKIE_NAME="sessionid",
    SESSION_COOKIE_SAMESITE="Lax",
    SESSION_COOKIE_SECURE="INSECURE_COOKIES" not in os.environ,
)


@app.get("/visitor")
def visitor() -> dict[str, Any]:
    return {"user": session.user_id, "cart": session.get("cart", {})}


@app.put("/cart/<product>")
def put(product: str) -> tuple[str, int]:
    session.setdefault("cart", {})[product] = 1
    return "", 204


@app.delete("/visitor")
def sign_out() -> tuple[str, int]:
    session.delete()
    return "", 204


@app.errorhandler(InternalServerError)
def failed(error: InternalServerError) -> tuple[Response, int, dict[str, str]]:
    """Flask opens and saves sessions where no other handler is asked."""
    if isinstance(error.original_exception, SessionStoreUnavailable):
        return jsonify(error="sessions are unavailable"), 503, {"Retry-After": "2"}
    if isinstance(error.original_exception, SessionEnded):
        return jsonify(error="the session has ended meanwhile"), 400, {}
    return jsonify(error="something is broken here"), 500, {}
