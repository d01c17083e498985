"""How does a visitor ask for a page when there is no web server in between?

Django's own handler is called as a web server calls it, in this process: what the process spends is
Django's and the session's, and what the server counts belongs to whoever was asked for.
"""

from __future__ import annotations

from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.test import RequestFactory

AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36"
)
ADDRESS = "203.0.113.7"
#: As our middleware records it.
DEVICE = {"address": ADDRESS, "agent": AGENT}


class DirectVisitor:
    """A browser that keeps its session cookie."""

    def __init__(self, handler: WSGIHandler) -> None:
        self.cookie = ""
        self._handler: Any = handler
        self._environ = RequestFactory(HTTP_USER_AGENT=AGENT, REMOTE_ADDR=ADDRESS).get("/").environ

    def ask(self, path: str) -> None:
        """Ask for a page and read it; ``RuntimeError`` if it is not given."""
        environ = {**self._environ, "PATH_INFO": path}
        if self.cookie:
            environ["HTTP_COOKIE"] = f"sessionid={self.cookie}"
        response = self._handler(environ, _ignore)
        b"".join(response)
        response.close()
        if response.status_code != 200:
            raise RuntimeError(f"{path} was answered with {response.status_code}.")
        if given := response.cookies.get("sessionid"):
            self.cookie = given.value


def _ignore(status: str, headers: list[tuple[str, str]]) -> None:
    """A web server's ``start_response`` that sends nothing."""
