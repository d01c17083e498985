"""Under which name does Django know sessions, so that its admin can list them and hand out permissions?

There is no table. What is stored is in Redis, and ``sessions`` reads it.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class NoRows(models.Manager["Session"]):
    """Finds nothing and asks no database: ``dumpdata`` queries every model, with a table or without."""

    def get_queryset(self) -> models.QuerySet[Session]:
        """No sessions."""
        return super().get_queryset().none()


class Session(models.Model):
    """The entry in the admin, with its permissions; an instance names one session in the admin's log."""

    handle: models.CharField[str, str] = models.CharField(_("handle"), max_length=24, primary_key=True)
    description: models.CharField[str, str] = models.CharField(_("description"), max_length=200)

    objects = NoRows()

    class Meta:
        managed = False
        default_permissions = ("view", "delete")
        base_manager_name = "objects"
        verbose_name = _("session")
        verbose_name_plural = _("sessions")

    def __str__(self) -> str:
        return self.description or self.handle
