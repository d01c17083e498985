"""`manage.py demo`: how does one see the shop with one command?"""

import os
import socket
from argparse import ArgumentParser
from importlib import import_module
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from django_redis_sessions.errors import SessionStoreError

HOST = "127.0.0.1"


class Login(NamedTuple):
    """Someone who can sign in to the demo."""

    name: str
    password: str
    is_admin: bool
    about: str


LOGINS = (
    Login("alice", "wonderland", True, "may enter the admin"),
    Login("bob", "builder", False, "an ordinary customer"),
)


class Command(BaseCommand):
    help = "Prepare the database and two logins, then run the shop. Ends with Ctrl-C; can be repeated."
    requires_system_checks = []  # runserver performs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1 (default: 8000)")
        parser.add_argument(
            "--no-server",
            action="store_true",
            help="only prepare; start gunicorn or uvicorn yourself",
        )

    def handle(self, *, port: int, no_server: bool, **options: Any) -> None:
        # The autoreloader runs this command again in a child, at every change of the code.
        if os.environ.get(DJANGO_AUTORELOAD_ENV) != "true":
            if not no_server:
                refuse_busy(port)
            call_command("migrate", verbosity=0, interactive=False)
            for login in LOGINS:
                ensure(login)
            reach_sessions()
            self.greet(None if no_server else port)
        if not no_server:
            call_command("runserver", f"{HOST}:{port}", skip_checks=False)

    def greet(self, port: int | None) -> None:
        """Say where the shop is and who can sign in."""
        place = "is ready for gunicorn or uvicorn" if port is None else f"opens at  http://{HOST}:{port}/"
        self.stdout.write("")
        self.stdout.write(self.style.SUCCESS(f"  The Small Shop {place}"))
        self.stdout.write("")
        self.stdout.write("  Sign in as")
        for login in LOGINS:
            self.stdout.write(f"    {login.name:<6} password  {login.password:<11} {login.about}")
        self.stdout.write("")
        if port is not None:
            self.stdout.write("  Ctrl-C ends it.")
            self.stdout.write("")
        # The server runs in a child process; what waits in this one's buffer would never be seen.
        self.stdout.flush()


def refuse_busy(port: int) -> None:
    """Raise CommandError when the port cannot be had, before promising an address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise CommandError(
                f"Port {port} of {HOST} cannot be used ({error}); choose another with --port."
            ) from error


def reach_sessions() -> None:
    """Raise CommandError when sessions cannot be kept.

    This also makes the autoreloader's parent a user of the embedded server, which would otherwise end, and forget
    all sessions, whenever the code changes: only the child is replaced then.
    """
    try:
        import_module(settings.SESSION_ENGINE).SessionStore().exists("demo-asks-whether-you-are-there")
    except SessionStoreError as error:
        raise CommandError(str(error)) from error


def ensure(login: Login) -> None:
    """Make the login work, whatever it was before."""
    user, is_new = get_user_model().objects.get_or_create(username=login.name)
    if is_new or not user.check_password(login.password):
        user.set_password(login.password)
    user.is_active = True
    user.is_staff = user.is_superuser = login.is_admin
    user.save()
