"""Which Django application is this?"""

import sys

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from django_redis_sessions import conf


class DjangoRedisSessionsConfig(AppConfig):
    """The command and the checks; the session engine also works without being an installed app."""

    name = "django_redis_sessions"
    verbose_name = _("Sessions in Redis")

    def ready(self) -> None:
        """Register the system checks, and keep the embedded server through the reloads of runserver."""
        from django_redis_sessions import checks  # noqa: F401 - registers on import

        if "runserver" in sys.argv:
            conf.hold_embedded_server()
