"""A rotated SECRET_KEY: parallel requests of one visitor all want a new session key."""

import asyncio

import pytest
from django.contrib.auth import aget_user, get_user, login, update_session_auth_hash
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from django_redis_sessions import backend
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.rehashing import is_rehash
from tests.rivals import in_threads

pytestmark = [pytest.mark.usefixtures("store"), pytest.mark.django_db(transaction=True)]

BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def alice():
    return User.objects.create_user("alice", password="wonderland")


@pytest.fixture
def signed_in(alice, settings):
    """The key of alice's session, after SECRET_KEY was rotated."""
    request = RequestFactory().get("/")
    request.session = SessionStore()
    login(request, alice, backend=BACKEND)
    request.session.save()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret, another secret, another secret"
    return request.session.session_key


def visit(session_key):
    """A request that asks who is there, and saves; the session it ends with."""
    request = RequestFactory().get("/")
    request.session = SessionStore(session_key)
    user = get_user(request)
    request.session.save()
    return user, request.session


class TestParallelRequests:
    def test_end_up_with_the_same_new_key(self, alice, signed_in):
        slow = RequestFactory().get("/")
        slow.session = SessionStore(signed_in)
        slow.session.get("a")
        user, fast = visit(signed_in)
        assert user == alice
        assert fast.session_key != signed_in
        assert get_user(slow) == alice
        slow.session["a"] = 1
        slow.session.save()
        assert slow.session.session_key == fast.session_key
        assert SessionStore(fast.session_key)["a"] == 1

    def test_that_come_a_little_later_find_the_session(self, alice, signed_in):
        _, fast = visit(signed_in)
        user, late = visit(signed_in)
        assert user == alice
        assert late.session_key == fast.session_key
        assert late.modified  # or its visitor would not be told the new key

    def test_all_succeed_in_threads(self, signed_in, monkeypatch):
        # Threads and an in-memory database do not mix; the verdict itself has tests of its own.
        monkeypatch.setattr(backend, "is_rehash", lambda data: True)
        keys = []

        def request(_):
            session = SessionStore(signed_in)
            session.get("a")
            if session.session_key == signed_in:
                session.cycle_key()
            session["a"] = 1
            session.save()
            keys.append(session.session_key)

        in_threads(request, 8)
        assert len(keys) == 8
        assert len(set(keys)) == 1

    def test_succeed_on_a_loop(self, alice, signed_in):
        async def request():
            found = RequestFactory().get("/")
            found.session = SessionStore(signed_in)
            user = await aget_user(found)
            await found.session.asave()
            return user, found.session.session_key

        async def together():
            return await asyncio.gather(*[request() for _ in range(8)])

        outcomes = asyncio.run(together())
        assert {user for user, _ in outcomes} == {alice}
        assert len({key for _, key in outcomes}) == 1


class TestTheOldKey:
    def test_does_not_exist_any_more(self, signed_in):
        visit(signed_in)
        assert SessionStore().exists(signed_in) is False

    def test_leads_nowhere_after_a_few_seconds(self, signed_in, behind, store):
        visit(signed_in)
        assert 0 < behind.ttl(store.keys.forwarding(signed_in)) <= 10
        behind.unlink(store.keys.forwarding(signed_in))
        assert SessionStore(signed_in).load() == {}

    def test_still_logs_out_the_session_it_has_become(self, signed_in):
        _, fast = visit(signed_in)
        SessionStore(signed_in).flush()
        assert SessionStore().exists(fast.session_key) is False

    def test_leads_nowhere_without_retired_keys(self, signed_in, settings):
        visit(signed_in)
        settings.SECRET_KEY_FALLBACKS = []
        assert SessionStore(signed_in).load() == {}

    def test_leads_nowhere_when_what_is_stored_is_nonsense(self, signed_in, behind, store):
        visit(signed_in)
        behind.set(store.keys.forwarding(signed_in), b"\xff" * 32, ex=10)
        assert SessionStore(signed_in).load() == {}


class TestARotationThatRaisesOrEndsPrivilege:
    def test_at_sign_in_leaves_no_address(self, alice, settings, behind, prefix):
        settings.SECRET_KEY_FALLBACKS = ["retired"]
        cart = SessionStore()
        cart["cart"] = 1
        cart.save()
        request = RequestFactory().get("/")
        request.session = SessionStore(cart.session_key)
        login(request, alice, backend=BACKEND)
        assert not list(behind.scan_iter(f"{prefix}:f:*"))

    def test_after_a_change_of_password_leaves_no_address(self, alice, signed_in, behind, prefix):
        request = RequestFactory().get("/")
        request.session = SessionStore(signed_in)
        request.user = alice
        alice.set_password("looking-glass")
        alice.save()
        update_session_auth_hash(request, alice)
        request.session.save()
        assert not list(behind.scan_iter(f"{prefix}:f:*"))
        assert SessionStore(signed_in).load() == {}

    def test_without_retired_keys_asks_no_database(self, alice, django_assert_num_queries):
        with django_assert_num_queries(0):
            session = SessionStore()
            session.update(
                {"_auth_user_id": str(alice.pk), "_auth_user_backend": BACKEND, "_auth_user_hash": "x"}
            )
            session.cycle_key()


class TestASessionThatNamesABackend:
    def test_of_its_own_has_nothing_imported(self, signed_in):
        """What is stored may have been written by a thief."""
        assert not is_rehash(
            {"_auth_user_id": "1", "_auth_user_backend": "antigravity.geohash", "_auth_user_hash": "x"}
        )

    def test_and_no_hash_is_no_rehash(self, alice, signed_in):
        assert not is_rehash({"_auth_user_id": str(alice.pk), "_auth_user_backend": BACKEND})

    def test_and_a_user_who_is_gone_is_no_rehash(self, alice, signed_in):
        data = dict(SessionStore(signed_in).items())
        assert is_rehash(data)
        alice.delete()
        assert not is_rehash(data)


class TestASite:
    def test_keeps_everybody_signed_in_when_its_key_is_rotated(self, alice, settings):
        browser = Client()
        browser.get("/sign-in/")
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another secret, another secret, another secret"
        assert browser.get("/who/").content == b"alice"
        assert browser.get("/who/").content == b"alice"
