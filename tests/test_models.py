"""The model without a table: what Django makes of it, and who can do without it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command

from django_redis_sessions.backend import SessionStore
from django_redis_sessions.models import Session


@pytest.mark.django_db
class TestTheModel:
    def test_needs_no_migration(self):
        call_command("makemigrations", check=True, dry_run=True, verbosity=0)

    def test_has_the_permissions_to_view_and_to_delete(self):
        found = Permission.objects.filter(content_type__app_label="django_redis_sessions")
        assert {each.codename for each in found} == {"view_session", "delete_session"}

    @pytest.mark.parametrize(
        "arguments", [(), ("django_redis_sessions",), ("django_redis_sessions.Session",), ("--all",)], ids=str
    )
    def test_is_never_looked_for_in_the_database(self, arguments, django_assert_num_queries, capsys):
        call_command("dumpdata", *arguments, verbosity=0)
        assert "django_redis_sessions.session" not in capsys.readouterr().out
        with django_assert_num_queries(0):
            assert list(Session.objects.filter(pk="x")) == list(Session._base_manager.using("default")) == []
            assert Session.objects.count() == 0
            assert Session.objects.all().delete() == (0, {})

    def test_is_no_hindrance_when_a_user_is_deleted(self, store):
        alice = User.objects.create_user("alice")
        session = SessionStore()
        session["_auth_user_id"] = str(alice.pk)
        session.save()
        alice.delete()

    def test_leaves_its_tables_to_nobody(self, capsys):
        call_command("sqlflush")
        assert "django_redis_sessions" not in capsys.readouterr().out

    def test_is_named_by_its_description(self):
        assert str(Session(handle="h", description="d")) == "d"
        assert str(Session(handle="h")) == "h"


def run(*lines):
    """What a Python of its own prints."""
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


START = "import sys, django; from django.conf import settings"
MODELS = "print('django_redis_sessions.models' in sys.modules, 'django.contrib.auth.models' in sys.modules)"


class TestAProjectWithoutTheAdmin:
    @pytest.mark.parametrize("apps", [[], ["django.contrib.sessions"]], ids=str)
    def test_and_without_the_app_never_meets_the_model(self, apps):
        assert (
            run(
                START,
                f"settings.configure(INSTALLED_APPS={apps}, SECRET_KEY='x')",
                "django.setup()",
                "import django_redis_sessions.backend, django_redis_sessions.middleware",
                "import django_redis_sessions.sessions",
                MODELS,
            )
            == "False False"
        )

    def test_and_without_content_types_has_the_model_and_nothing_else(self):
        assert run(
            START,
            "settings.configure(INSTALLED_APPS=['django_redis_sessions'], SECRET_KEY='x')",
            "django.setup()",
            "from django.core.management import call_command",
            "call_command('check')",
            "import django_redis_sessions.backend, django_redis_sessions.middleware",
            MODELS,
            "print('django_redis_sessions.admin' in sys.modules)",
        ).splitlines()[-2:] == ["True False", "False"]
