"""Whole sites move here and away again while their visitors go on clicking, and nobody is signed out."""

import threading

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client

from django_redis_sessions import conf, sessions
from django_redis_sessions.backend import SessionStore
from tests.other_engines import DJANGO, begun, close_databases, use

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.socket]

OURS = "django_redis_sessions.backend"
VISITORS = 6


@pytest.fixture(params=["db", "cached_db", "cache", "file"])
def name(request):
    return request.param


@pytest.fixture
def there(name, settings, server, prefix, tmp_path, monkeypatch, configure):
    configure(FALLBACK_ENGINES=[DJANGO + name])
    return use(name, settings, server, prefix, tmp_path, monkeypatch)


@pytest.fixture(params=["django.contrib.sessions", "django_redis_sessions"])
def middleware(request, settings):
    settings.MIDDLEWARE = [f"{request.param}.middleware.SessionMiddleware", *settings.MIDDLEWARE[1:]]


class Visitor:
    """Signed in, with a cart; a process of the site that runs another engine has another handler."""

    def __init__(self):
        self.cookies = Client().cookies
        self.clicks = 0

    def get(self, path):
        client = Client()
        client.cookies = self.cookies
        return client.get(path)

    def click(self):
        """Read and write; fails if the visitor is no longer who they were, or has lost something."""
        assert self.get("/who/").content == b"alice"
        assert self.get("/read/").json().get("clicks", "0") == str(self.clicks)
        self.clicks += 1
        self.get(f"/write/?clicks={self.clicks}")


class TestASiteThatMoves:
    @pytest.fixture
    def visitors(self, there, middleware, settings, name):
        User.objects.create_user("alice", password="wonderland")
        settings.SESSION_ENGINE = DJANGO + name
        visitors = [Visitor() for _ in range(VISITORS)]
        for visitor in visitors:
            visitor.get("/sign-in/")
            visitor.click()
        return visitors

    def test_here_and_back_signs_nobody_out(self, visitors, settings, name):
        settings.SESSION_ENGINE = OURS
        for visitor in visitors[:2]:
            visitor.click()
        assert sessions.adopted() is not None
        assert sessions.import_from(DJANGO + name).moved == VISITORS - 2
        for visitor in visitors:
            visitor.click()
        left = visitors.pop()
        cookie = left.cookies["sessionid"].value
        left.get("/sign-out/")
        assert sessions.import_from(DJANGO + name).moved == 0
        left.cookies["sessionid"] = cookie
        assert left.get("/who/").content == b""

        settings.SESSION_ENGINE = f"django_redis_sessions.leaving.{name}"
        for visitor in visitors:
            visitor.click()
            visitor.click()
        gone = visitors.pop()
        cookie = gone.cookies["sessionid"].value
        gone.get("/sign-out/")
        gone.cookies["sessionid"] = cookie
        assert gone.get("/who/").content == b""
        gone.cookies["sessionid"] = cookie

        settings.SESSION_ENGINE = DJANGO + name
        for visitor in visitors:
            visitor.click()
        assert gone.get("/who/").content == b""
        assert left.get("/who/").content == b""

    @pytest.mark.operator
    def test_here_and_back_by_import_and_export_signs_nobody_out(self, visitors, settings, name, configure):
        configure(KEYS="plain", FALLBACK_ENGINES=[DJANGO + name])
        assert sessions.import_from(DJANGO + name).moved == VISITORS
        settings.SESSION_ENGINE = OURS
        for visitor in visitors:
            visitor.click()
        assert sessions.export_to(DJANGO + name).moved == VISITORS
        settings.SESSION_ENGINE = DJANGO + name
        for visitor in visitors:
            visitor.click()

    def test_keeps_processes_of_before_going_meanwhile(self, visitors, settings, name):
        for visitor in visitors:
            settings.SESSION_ENGINE = OURS
            assert visitor.get("/who/").content == b"alice"
            settings.SESSION_ENGINE = DJANGO + name
            assert visitor.get("/who/").content == b"alice"


class TestASiteThatMovesUnderTraffic:
    """Real threads: each visitor clicks without a pause while the site changes its engine under them."""

    @pytest.mark.parametrize("name", ["cache", "file"])
    def test_signs_nobody_out_and_loses_nothing(self, there, settings, name, runner, monkeypatch):
        path = DJANGO + name
        cookies = [begun(there, "1", clicks=0).session_key for _ in range(VISITORS)]
        engine = there
        stopped = threading.Event()
        lock = [threading.Lock() for _ in cookies]
        wrong = []
        clicks = [0] * VISITORS

        def click(own):
            # One visitor's requests follow one another; those of others do not wait for them.
            with lock[own]:
                session = engine(cookies[own])
                if session.get("clicks") != clicks[own] or session.get("_auth_user_id") != "1":
                    wrong.append((own, clicks[own], dict(session.items())))
                    stopped.set()
                clicks[own] += 1
                session["clicks"] = clicks[own]
                session.save()

        def visit(own):
            try:
                while not stopped.is_set():
                    click(own)
            except Exception as error:
                wrong.append(error)
                stopped.set()

        threads = [threading.Thread(target=visit, args=(own,)) for own in range(VISITORS)]
        for thread in threads:
            thread.start()
        try:
            for step in ("here", "import", "back", "stay"):
                reached = [count + 3 for count in clicks]
                while not stopped.is_set() and any(
                    count < wanted for count, wanted in zip(clicks, reached, strict=True)
                ):
                    stopped.wait(0.001)
                if step == "here":
                    engine = SessionStore
                elif step == "import":
                    sessions.import_from(path)
                elif step == "back":
                    engine = __import__(f"django_redis_sessions.leaving.{name}", fromlist=[name]).SessionStore
        finally:
            stopped.set()
            for thread in threads:
                thread.join()
        assert wrong == []
        assert min(clicks) >= 12
        for own, session_key in enumerate(cookies):
            assert there(session_key)["clicks"] == clicks[own]


class TestLeaving:
    @pytest.fixture(autouse=True)
    def tidy(self, runner):
        yield
        runner.run(sync_to_async(close_databases)())

    @pytest.fixture
    def leaving(self, there, name):
        return __import__(f"django_redis_sessions.leaving.{name}", fromlist=[name]).SessionStore

    def test_brings_a_session_along_with_what_is_left_of_its_life(self, there, leaving, do):
        session = begun(SessionStore, "7", a=1)
        found = leaving(session.session_key)
        assert do(found.get, "a") == 1
        assert do(found.exists, session.session_key)
        assert there(session.session_key)["a"] == 1

    def test_replaces_the_copy_that_stayed_there(self, there, leaving, do):
        old = begun(there, a=1)
        session = SessionStore(old.session_key)
        session["a"] = 2
        session.save()
        assert do(leaving(old.session_key).get, "a") == 2

    def test_keeps_what_was_changed_there_since(self, there, leaving, do):
        old = begun(there, a=1)
        sessions.import_from(DJANGO + old.__module__.rpartition(".")[2])
        old["a"] = 3
        old.save()
        assert do(leaving(old.session_key).get, "a") == 3

    def test_ends_the_copy_of_a_session_that_has_ended_here(self, there, leaving, do):
        old = begun(there, "7")
        SessionStore(old.session_key).load()
        assert sessions.revoke(conf.store().keys.handle_of(conf.store().keys.name(old.session_key)))
        assert do(leaving(old.session_key).load) == {}
        assert not there().exists(old.session_key)

    def test_ends_sessions_in_both(self, there, leaving, do):
        session = begun(SessionStore, "7")
        found = leaving(session.session_key)
        do(found.load)
        do(found.flush)
        assert not SessionStore().exists(session.session_key)
        assert not there().exists(session.session_key)
        assert do(leaving(session.session_key).load) == {}

    def test_is_like_djangos_own_for_everybody_else(self, there, leaving, do):
        session = leaving()
        session["a"] = 1
        do(session.save)
        assert do(leaving(session.session_key).get, "a") == 1
        assert there(session.session_key)["a"] == 1
        assert do(leaving("x" * 32).load) == {}
        assert do(leaving("a b").load) == {}
        do(leaving().delete)

    def test_keeps_what_a_request_at_the_same_time_has_written(self, there, leaving, monkeypatch):
        from django_redis_sessions import leaving as module

        session = begun(there, "7", clicks=1)
        SessionStore(session.session_key).load()
        copy = module.copy

        def clicked_just_before(*arguments):
            monkeypatch.setattr(module, "copy", copy)
            rival = leaving(session.session_key)
            rival["clicks"] = 2
            rival.save()
            return copy(*arguments)

        monkeypatch.setattr(module, "copy", clicked_just_before)
        assert leaving(session.session_key)["clicks"] == 2
        assert there(session.session_key)["clicks"] == 2

    def test_leaves_out_who_signs_out_here_meanwhile(self, there, leaving, monkeypatch):
        from django_redis_sessions import leaving as module

        session = begun(SessionStore, "7")
        copy = module.copy

        def signed_out_just_before(*arguments):
            SessionStore(session.session_key).delete()
            return copy(*arguments)

        monkeypatch.setattr(module, "copy", signed_out_just_before)
        assert leaving(session.session_key).load() == {}
        assert not there().exists(session.session_key)
