"""The engine under Django's whole request, with the test clients."""

import asyncio

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import AsyncClient, Client

from django_redis_sessions.backend import SessionStore
from tests.test_operations import HOSTILE

pytestmark = [pytest.mark.usefixtures("store"), pytest.mark.django_db(transaction=False)]


def cookie(client):
    return client.cookies[django_settings.SESSION_COOKIE_NAME].value


@pytest.fixture
def alice():
    return User.objects.create_user("alice", password="wonderland")


class TestABrowser:
    def test_that_only_looks_gets_no_session(self, client):
        response = client.get("/read/")
        assert response.json() == {}
        assert not client.cookies

    def test_keeps_what_it_wrote(self, client):
        client.get("/write/", {"item": "1"})
        assert client.get("/read/").json() == {"item": "1"}

    def test_gets_another_key_and_keeps_its_cart_at_sign_in(self, client, alice):
        client.get("/write/", {"cart": "full"})
        before = cookie(client)
        client.get("/sign-in/")
        assert cookie(client) != before
        assert not SessionStore().exists(before)
        found = client.get("/read/").json()
        assert found["cart"] == "full"
        assert found["_auth_user_id"] == str(alice.pk)

    def test_has_a_worthless_cookie_after_sign_out(self, client, alice):
        client.get("/sign-in/")
        old = cookie(client)
        client.get("/sign-out/")
        thief = Client()
        thief.cookies[django_settings.SESSION_COOKIE_NAME] = old
        assert thief.get("/read/").json() == {}

    @pytest.mark.parametrize("text", [text for text in HOSTILE if text])
    def test_with_a_hostile_cookie_is_anonymous(self, client, text, behind, prefix):
        client.cookies[django_settings.SESSION_COOKIE_NAME] = text.encode(
            "ascii", "backslashreplace"
        ).decode()
        assert client.get("/read/").json() == {}
        assert client.get("/write/", {"item": "1"}).status_code == 200
        assert client.get("/read/").json() == {"item": "1"}
        assert len(list(behind.scan_iter(f"{prefix}:*"))) == 1

    def test_whose_session_was_deleted_during_the_request_gets_a_400(self, client, monkeypatch):
        client.get("/write/", {"item": "1"})
        load = SessionStore.load

        def load_then_lose(self):
            data = load(self)
            SessionStore(self.session_key).delete()
            return data

        monkeypatch.setattr(SessionStore, "load", load_then_lose)
        assert client.get("/write/", {"item": "2"}).status_code == 400


class TestAnAsynchronousSite:
    def test_keeps_what_was_written(self):
        async def browse():
            client = AsyncClient()
            await client.get("/awrite/", {"item": "1"})
            return (await client.get("/aread/")).json()

        assert asyncio.run(browse()) == {"item": "1"}

    def test_shares_sessions_with_synchronous_views(self, client):
        client.get("/awrite/", {"item": "1"})
        assert client.get("/read/").json() == {"item": "1"}
        client.get("/write/", {"item": "2"})
        assert client.get("/aread/").json() == {"item": "2"}
