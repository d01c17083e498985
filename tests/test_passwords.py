"""What becomes of a user's other sessions when the password changes."""

import logging

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import AsyncClient, Client

from django_redis_sessions import current, sessions

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]


@pytest.fixture
def alice(settings):
    settings.MIDDLEWARE = [
        "django_redis_sessions.middleware.SessionMiddleware",
        *settings.MIDDLEWARE[1:],
    ]
    settings.AUTH_PASSWORD_VALIDATORS = [
        {"NAME": "django_redis_sessions.passwords.RevokeOtherSessions"},
    ]
    return User.objects.create_user("alice", password="wonderland")


def signed_in(client=Client):
    client = client()
    client.get("/sign-in/")
    return client


def who(client):
    return client.get("/who/").content.decode()


class TestAChangeOfThePassword:
    def test_in_a_session_ends_the_others_and_keeps_that_one(self, alice):
        here, there = signed_in(), signed_in()
        assert here.get("/change-password/").content == b"changed"
        (left,) = sessions.of_user(alice)
        assert who(here) == "alice"
        assert who(there) == ""
        assert sessions.get(left.handle) is not None

    @pytest.mark.django_db(transaction=True)
    def test_in_an_async_view_does_the_same(self, alice, runner):
        there = signed_in()

        async def change():
            here = AsyncClient()
            await here.get("/asign-in/")
            assert len(await sessions.aof_user(alice)) == 2
            return (await here.get("/achange-password/")).content

        assert runner.run(change()) == b"changed"
        assert len(sessions.of_user(alice)) == 1
        assert who(there) == ""

    def test_by_a_reset_that_signs_in_ends_the_others(self, alice):
        there = signed_in()
        here = Client()
        here.get("/write/?reset=token")
        assert here.get("/reset-password/").content == b"reset"
        assert len(sessions.of_user(alice)) == 1
        assert who(here) == "alice"
        assert who(there) == ""

    def test_by_somebody_else_ends_all(self, alice):
        signed_in()
        admin = User.objects.create_superuser("admin", password="secret")
        client = Client()
        client.force_login(admin)
        client.get("/change-password/?user=alice")
        assert sessions.of_user(alice) == []
        assert len(sessions.of_user(admin)) == 1

    def test_by_a_command_ends_all(self, alice, monkeypatch):
        signed_in()
        monkeypatch.setattr("getpass.getpass", lambda prompt: "looking-glass")
        call_command("changepassword", "alice", verbosity=0)
        assert sessions.of_user(alice) == []

    def test_that_is_no_change_ends_none(self, alice, settings):
        """A password is hashed anew when PASSWORD_HASHERS has changed."""
        signed_in()
        settings.PASSWORD_HASHERS = [
            "django.contrib.auth.hashers.PBKDF2SHA1PasswordHasher",
            *settings.PASSWORD_HASHERS,
        ]
        assert User.objects.get(pk=alice.pk).check_password("wonderland")
        assert User.objects.get(pk=alice.pk).password.startswith("pbkdf2_sha1")
        assert len(sessions.of_user(alice)) == 1

    def test_during_an_outage_is_made_all_the_same(self, alice, configure, caplog):
        configure(URL="unix:///nowhere/redis.sock")
        alice.set_password("looking-glass")
        with caplog.at_level(logging.ERROR):
            alice.save()
        assert User.objects.get(pk=alice.pk).check_password("looking-glass")
        assert "other sessions were not ended" in caplog.text


def test_no_session_is_current_outside_of_requests(alice):
    signed_in()
    assert current.session.get() is None


class TestUnderDjangosMiddleware:
    """What ``django_redis_sessions.W010`` warns of."""

    def test_the_change_ends_its_own_session_too(self, alice, settings):
        settings.MIDDLEWARE = [
            "django.contrib.sessions.middleware.SessionMiddleware",
            *settings.MIDDLEWARE[1:],
        ]
        here = signed_in()
        assert here.get("/change-password/").status_code == 400
        assert sessions.of_user(alice) == []
