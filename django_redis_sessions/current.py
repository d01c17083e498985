"""Which session does the running request have?

For code that Django calls in the middle of a request without handing the request on. Our middleware
says; in a task of the request, and in the threads that asgiref starts for it, the answer is the same.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

#: None outside of requests, and under Django's own session middleware.
session: ContextVar[Any] = ContextVar("session", default=None)
