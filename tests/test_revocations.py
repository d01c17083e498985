"""What visitors, views and consumers see when a session ends: streams, sockets and ``redis_sessions watch``."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.management import CommandError, call_command

from django_redis_sessions import announcements, revocations, sessions, watches
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.errors import SessionStoreMisconfigured
from django_redis_sessions.keys import digest
from django_redis_sessions.operations import MOVED_TTL
from django_redis_sessions.revocations import ClosesWithSession, until_revoked, watching
from django_redis_sessions.watches import CHECK_INTERVAL, Watches
from tests.test_watches import SECONDS, announce, eventually, listeners, own_server, quick, run, saved
from tests.topologies import until

pytestmark = pytest.mark.listener

__all__ = ["own_server", "quick", "run"]  # fixtures

ROOT = Path(__file__).resolve().parent.parent


class TestRealChanges:
    """What the package itself announces, from one process to another."""

    def test_a_logout_ends_it(self, store, run):
        async def use():
            session = saved(_auth_user_id="7")
            async with watching(session.session_key) as watch:
                await session.aflush()
                assert await watch.ended() == "logout"

        run(use())

    def test_a_revocation_ends_it(self, store, run):
        async def use():
            session, other = saved(_auth_user_id="7"), saved(_auth_user_id="7")
            async with watching(session) as watch, watching(other) as stays:
                assert await sessions.arevoke(watch.handle)
                assert await watch.ended() == "revoked"
                assert not stays.is_over
                assert await sessions.arevoke(stays.handle, reason="stolen")
                assert await stays.ended() == "stolen"

        run(use())

    def test_revoking_a_user_ends_it_unless_it_is_kept(self, store, run):
        async def use():
            session, kept = saved(_auth_user_id="7"), saved(_auth_user_id="7")
            async with watching(session) as watch, watching(kept) as keeps:
                await sessions.arevoke_user("7", keep=kept)
                assert await watch.ended() == "revoked"
                assert not keeps.is_over
                await sessions.arevoke_user("7")
                assert await keeps.ended() == "revoked"

        run(use())

    @pytest.mark.operator
    def test_revoking_all_ends_it(self, store, run):
        async def use():
            async with watching(saved(a=1)) as watch:
                await sessions.arevoke_all()
                assert await watch.ended()

        run(use())

    def test_a_new_key_is_followed(self, store, run):
        async def use():
            session = saved(_auth_user_id="7")
            async with watching(session.session_key) as watch:
                await session.acycle_key()
                await eventually(lambda: watch.handle == digest(session.session_key))
                assert not watch.is_over
                await sessions.arevoke(watch.handle)
                assert await watch.ended() == "revoked"

        run(use())

    def test_the_limit_of_a_user_ends_the_oldest(self, configure, run):
        configure(MAX_SESSIONS_PER_USER=1)

        async def use():
            session = saved(_auth_user_id="7")
            async with watching(session) as watch:
                saved(_auth_user_id="7")
                assert await watch.ended() == "limit"

        run(use())


class TestAStream:
    def test_passes_until_the_session_ends(self, store, behind, run):
        async def use():
            session = saved(a=1)
            cleaned = []

            async def ticks() -> AsyncIterator[int]:
                try:
                    yield 1
                    yield 2
                    await asyncio.Event().wait()
                finally:
                    cleaned.append(asyncio.current_task())

            got = []
            async for tick in until_revoked(session, ticks()):
                got.append(tick)
                if tick == 2:
                    announce(
                        behind, store, announcements.revoked(digest(session.session_key), None, "logout")
                    )
            assert got == [1, 2]
            assert cleaned == [asyncio.current_task()]
            assert not asyncio.current_task().cancelling()

        run(use())

    def test_that_never_waits_ends_too(self, store, behind, run):
        async def use():
            session = saved(a=1)

            async def flood() -> AsyncIterator[int]:
                while True:
                    yield 1

            async for _ in until_revoked(session, flood()):
                announce(behind, store, announcements.all_revoked())
                await asyncio.sleep(0)

        run(use())

    def test_that_ends_by_itself_just_ends(self, store, run):
        async def use():
            async def short() -> AsyncIterator[int]:
                yield 1

            assert [part async for part in until_revoked(saved(a=1), short())] == [1]

        run(use())

    def test_that_fails_fails(self, store, run):
        async def use():
            async def late() -> AsyncIterator[int]:
                yield 1
                raise TimeoutError("of its own")

            with pytest.raises(TimeoutError, match="of its own"):
                async for _ in until_revoked(saved(a=1), late()):
                    pass

        run(use())

    def test_of_a_session_that_has_ended_gives_nothing(self, store, run):
        async def use():
            session = saved(a=1)
            await session.adelete()

            async def ticks() -> AsyncIterator[int]:
                await asyncio.sleep(SECONDS)
                yield 1

            assert [part async for part in until_revoked(session, ticks())] == []

        run(use())

    def test_that_gives_something_at_that_moment_ends(self, store, run):
        async def use():
            async def ticks() -> AsyncIterator[int]:
                watches = Watches.of(store)
                watches._end(watches._everybody(), "logout")
                yield 1

            assert [part async for part in until_revoked(saved(a=1), ticks())] == []

        run(use())

    def test_may_be_any_asynchronous_iterator(self, store, run):
        class Numbers:
            left = 3

            def __aiter__(self):
                return self

            async def __anext__(self):
                self.left -= 1
                if self.left < 0:
                    raise StopAsyncIteration
                return self.left

        async def use():
            assert [part async for part in until_revoked(SessionStore(), Numbers())] == [2, 1, 0]

        run(use())

    def test_that_is_not_read_to_its_end_is_closed(self, store, server, run):
        async def use():
            cleaned = []

            async def ticks() -> AsyncIterator[int]:
                try:
                    while True:
                        yield 1
                finally:
                    cleaned.append(True)

            stream = until_revoked(saved(a=1), ticks())
            await anext(stream)
            await stream.aclose()
            assert cleaned == [True]
            await eventually(lambda: listeners(server) == 0)

        run(use())


class Socket(ApplicationCommunicator):
    """A browser's side of a WebSocket. (Channels' own wants a web server to be installed.)"""

    def __init__(self, consumer: Any, session: Any) -> None:
        super().__init__(consumer.as_asgi(), {"type": "websocket", "path": "/", "session": session})

    async def connect(self) -> tuple[bool, int | None]:
        """Whether the socket was accepted, else the code it was refused with."""
        await self.send_input({"type": "websocket.connect"})
        said = await self.receive_output(SECONDS)
        return said["type"] == "websocket.accept", said.get("code")

    async def say(self, text: str) -> str:
        """What is answered to ``text``."""
        await self.send_input({"type": "websocket.receive", "text": text})
        return (await self.receive_output(SECONDS))["text"]

    async def is_closed_with(self, code: int) -> bool:
        """Whether that is what comes next, and the last."""
        said = await self.receive_output(SECONDS)
        await self.wait(SECONDS)
        return said["type"] == "websocket.close" and said["code"] == code and self.output_queue.empty()


# Channels closes old connections of the database around each message.
@pytest.mark.django_db(transaction=True)
class TestAConsumer:
    """Channels' consumers with ``ClosesWithSession``."""

    @pytest.fixture
    def consumer(self):
        websocket = pytest.importorskip("channels.generic.websocket")

        class Echo(ClosesWithSession, websocket.AsyncWebsocketConsumer):
            codes: list[int] = []

            async def receive(self, text_data=None, bytes_data=None):
                await self.send(text_data=text_data)

            async def disconnect(self, code):
                self.codes.append(code)
                await self.send(text_data="nobody hears this")

        return Echo

    def test_is_closed_when_its_session_ends(self, store, run, consumer):
        async def use():
            session = saved(_auth_user_id="7")
            socket = Socket(consumer, session)
            assert await socket.connect() == (True, None)
            assert await socket.say("hello") == "hello"
            await sessions.arevoke(digest(session.session_key))
            assert await socket.is_closed_with(4401)
            assert consumer.codes == [4401]

        run(use())

    def test_is_refused_when_its_session_has_ended(self, store, run, consumer):
        async def use():
            session = saved(a=1)
            await sessions.arevoke(digest(session.session_key))
            socket = Socket(consumer, session)
            assert await socket.connect() == (False, 4401)
            await socket.wait(SECONDS)
            assert consumer.codes == []

        run(use())

    def test_may_close_by_itself(self, store, server, run, consumer):
        async def use():
            socket = Socket(consumer, saved(a=1))
            await socket.connect()
            await socket.send_input({"type": "websocket.disconnect", "code": 1001})
            await socket.wait(SECONDS)
            assert consumer.codes == [1001]
            await eventually(lambda: listeners(server) == 0)

        run(use())

    def test_is_followed_or_not_as_it_wants(self, store, run, consumer):
        class Strict(consumer):
            follows_session = False
            revoked_close_code = 4000

        async def use():
            session = saved(a=1)
            loose, strict = Socket(consumer, session), Socket(Strict, session)
            await loose.connect()
            await strict.connect()
            await session.acycle_key()
            assert await strict.is_closed_with(4000)
            await sessions.arevoke(digest(session.session_key))
            assert await loose.is_closed_with(4401)

        run(use())

    def test_may_be_synchronous(self, store, run):
        websocket = pytest.importorskip("channels.generic.websocket")

        class Plain(ClosesWithSession, websocket.WebsocketConsumer):
            pass

        async def use():
            session = saved(a=1)
            socket = Socket(Plain, session)
            assert (await socket.connect())[0]
            await sessions.arevoke(digest(session.session_key))
            assert await socket.is_closed_with(4401)

        run(use())

    @pytest.mark.django_db
    def test_takes_the_session_that_channels_finds(self, store, run, consumer):
        from channels.sessions import SessionMiddlewareStack

        async def use():
            session = saved(_auth_user_id="7")
            socket = Socket(consumer, None)
            del socket.scope["session"]
            socket.scope["headers"] = [(b"cookie", f"sessionid={session.session_key}".encode())]
            socket.application = SessionMiddlewareStack(consumer.as_asgi())
            assert (await socket.connect())[0]
            await sessions.arevoke_user("7")
            assert await socket.is_closed_with(4401)

        run(use())

    def test_without_a_session_says_what_is_missing(self, store, run, consumer):
        async def use():
            with pytest.raises(ValueError, match="SessionMiddlewareStack"):
                await consumer.as_asgi()({"type": "websocket"}, None, None)

        run(use())

    def test_of_another_protocol_is_left_alone(self, store, run):
        async def use():
            class App:
                async def __call__(self, scope, receive, send):
                    await send({"type": "http.response.start"})

            class Mixed(ClosesWithSession, App):
                pass

            sent = []

            async def send(event):
                sent.append(event)

            await Mixed()({"type": "http"}, None, send)
            assert sent == [{"type": "http.response.start"}]

        run(use())


SITE = """
import asyncio, os
from django.conf import settings
settings.configure(
    SECRET_KEY="of the test's site", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, DEBUG=True,
    INSTALLED_APPS=["django.contrib.sessions", "django_redis_sessions"],
    MIDDLEWARE=["django_redis_sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django_redis_sessions.backend",
    SESSION_REDIS={"URL": os.environ["SITE_REDIS"], "PREFIX": os.environ["SITE_PREFIX"], "TIMEOUT": 30},
)
from django.core.asgi import get_asgi_application
application = get_asgi_application()
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django_redis_sessions import revocations

async def enter(request):
    await request.session.aset("a", 1)
    return HttpResponse("entered")

async def events(request):
    async def ticks():
        yield b"data: hello\\n\\n"
        while True:
            await asyncio.sleep(60)
            yield b"data: tick\\n\\n"
    stream = revocations.until_revoked(request.session, ticks())
    return StreamingHttpResponse(stream, content_type="text/event-stream")

urlpatterns = [path("enter/", enter), path("events/", events)]
"""


@contextmanager
def site(directory: Path, url: str, prefix: str) -> Iterator[str]:
    """A real uvicorn with a view that streams; gives its URL."""
    (directory / "streaming_site.py").write_text(SITE)
    environment = {
        **os.environ,
        "SITE_REDIS": url,
        "SITE_PREFIX": prefix,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(directory)]),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "uvicorn", "streaming_site:application", "--port", "0"]
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=directory, stdout=log, stderr=log)

    def listening() -> Any:
        assert process.poll() is None, (directory / "log").read_text()
        return re.search(r"running on (http://[\d.:]+)", (directory / "log").read_text())

    try:
        until(listening)
        yield listening()[1]
        process.send_signal(signal.SIGINT)
        process.wait(SECONDS)
        log_text = (directory / "log").read_text()
        assert "Traceback" not in log_text, log_text
        assert "Warning" not in log_text, log_text
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.mark.unix
class TestAStreamInABrowser:
    def test_ends_at_once_when_its_session_is_revoked_elsewhere(self, store, server, tmp_path):
        httpx = pytest.importorskip("httpx")
        pytest.importorskip("uvicorn")
        with (
            site(tmp_path, store.settings.url, store.settings.prefix) as url,
            httpx.Client(timeout=SECONDS) as browser,
        ):
            browser.get(f"{url}/enter/")
            handle = digest(browser.cookies["sessionid"])
            with browser.stream("GET", f"{url}/events/") as response:
                parts = response.iter_bytes()
                assert next(parts) == b"data: hello\n\n"
                assert listeners(server) == 1
                revoked = time.monotonic()
                assert sessions.revoke(handle)
                assert list(parts) == []
                # Before anybody would have looked by themselves; a second is plenty on a machine that has time.
                assert time.monotonic() - revoked < CHECK_INTERVAL
            until(lambda: listeners(server) == 0)

    def test_is_over_for_all_when_the_browser_has_gone(self, store, server, tmp_path):
        httpx = pytest.importorskip("httpx")
        pytest.importorskip("uvicorn")
        with (
            site(tmp_path, store.settings.url, store.settings.prefix) as url,
            httpx.Client(timeout=SECONDS) as browser,
        ):
            browser.get(f"{url}/enter/")
            with browser.stream("GET", f"{url}/events/") as response:
                parts = response.iter_bytes()
                assert next(parts) == b"data: hello\n\n"
                assert listeners(server) == 1
            until(lambda: listeners(server) == 0)


class Lines(io.StringIO):
    """Standard output that tells when it has so many lines."""

    def count(self) -> int:
        return self.getvalue().count("\n")


class TestWatch:
    def watch(self, server: Any, *arguments: str, then: Any, lines: int) -> tuple[str, str]:
        """Run ``watch`` for so many lines; ``then()`` happens once it listens."""
        out, err = Lines(), Lines()
        failures: list[Exception] = []

        def act() -> None:
            until(lambda: failures or listeners(server) == 1)
            if not failures:
                then()

        def watch() -> None:
            command = ("redis_sessions", "watch", "--count", str(lines))
            call_command(*command, *arguments, stdout=out, stderr=err)

        def without_failure(do: Callable[[], None]) -> None:
            try:
                do()
            except Exception as failure:
                failures.append(failure)

        self.printed = out
        # Not to be waited for at the end: what never comes would keep the tests from ending.
        both = [threading.Thread(target=without_failure, args=[do], daemon=True) for do in (act, watch)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join(SECONDS)
        assert not failures
        assert not any(thread.is_alive() for thread in both), out.getvalue() + err.getvalue()
        return out.getvalue(), err.getvalue()

    def test_prints_a_line_for_whatever_happens(self, store, server, behind):
        session = saved(_auth_user_id="7")
        old = digest(session.session_key)

        def then():
            session.cycle_key()
            # On a cluster it comes from another node than the following.
            until(lambda: self.printed.count() == 1)
            announce(behind, store, announcements.revoked(old, None, "\x1b[31mred"))
            announce(behind, store, announcements.user_revoked("7"))
            announce(behind, store, announcements.all_revoked())

        out, err = self.watch(server, then=then, lines=4)
        new = digest(session.session_key)
        said = [line.partition("  ")[2] for line in out.splitlines()]
        assert said == [
            f"moved    {old}  user 7  to {new}",
            f"ended    {old}  anonymous  '\\x1b[31mred'",
            "ended    all sessions of user 7",
            "ended    all sessions",
        ]
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", out)
        assert err == ""

    def test_prints_json(self, store, server):
        session = saved(_auth_user_id="7")
        out, _ = self.watch(server, "--json", then=session.flush, lines=1)
        said = json.loads(out)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", said.pop("time"))
        assert said["event"] == "revoked"
        assert said["user"] == "7"
        assert said["reason"] == "logout"

    def test_prints_what_concerns_one_user(self, store, server, behind):
        def then():
            announce(behind, store, announcements.user_revoked("8"))
            announce(behind, store, announcements.user_revoked("7"))
            announce(behind, store, announcements.all_revoked())

        out, _ = self.watch(server, "--user", "7", "--json", then=then, lines=2)
        assert [json.loads(line)["event"] for line in out.splitlines()] == ["user", "all"]
        assert json.loads(out.splitlines()[0])["user"] == "7"

    @pytest.mark.unix
    def test_says_when_it_hears_nothing_and_goes_on(self, own_server, quick, configure):
        store = configure(URL=own_server.url)

        def then():
            own_server.stop()
            own_server.start()
            until(lambda: listeners(own_server) == 1)
            with own_server.client() as behind:
                announce(behind, store, announcements.all_revoked())

        out, err = self.watch(own_server, then=then, lines=1)
        assert out.endswith("ended    all sessions\n")
        lost, back = err.splitlines()
        assert lost.endswith("Nothing is heard until the connection is back.")
        assert own_server.url in lost
        assert back == "The connection is back; what happened meanwhile was missed."

    def test_is_an_error_where_nobody_answers(self, configure):
        configure(URL="unix:///nowhere/redis.sock")
        with pytest.raises(CommandError, match=r"unix:///nowhere/redis\.sock cannot be reached"):
            call_command("redis_sessions", "watch")

    def test_takes_no_count_below_one(self, store):
        with pytest.raises(CommandError, match="whole number above zero"):
            call_command("redis_sessions", "watch", "--count=0")

    @pytest.mark.unix
    def test_ends_calmly_when_stopped_by_hand(self, store, server, behind):
        program = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "import django; from django.conf import settings\n"
            f"settings.configure(INSTALLED_APPS=['django_redis_sessions'], "
            f"SESSION_REDIS={{'URL': {store.settings.url!r}, 'PREFIX': {store.settings.prefix!r}, 'TIMEOUT': 30}})\n"
            "django.setup(); from django.core.management import call_command\n"
            "call_command('redis_sessions', 'watch', '--no-color')\n"
        )
        command = [sys.executable, "-W", "error", "-c", program]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                until(lambda: listeners(server) == 1)
                announce(behind, store, announcements.all_revoked())
                assert process.stdout.readline().endswith(b"ended    all sessions\n")
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=SECONDS)
            finally:
                process.kill()
        assert (process.returncode, out, err) == (0, b"", b"")


PAGE = (ROOT / "docs" / "revocations.md").read_text()


@pytest.mark.unix
class TestTheDocumentedRights:
    @pytest.fixture
    def permit(self, own_server, configure):
        def set_up(words: list[str]) -> Any:
            with own_server.client() as behind:
                behind.execute_command("ACL", "DELUSER", "django")
                for rule in ("on >password allkeys resetchannels -@all +getrange +get", " ".join(words)):
                    behind.execute_command("ACL", "SETUSER", "django", *rule.split())
            return configure(URL=f"unix://django:password@{own_server.socket}", PREFIX="session")

        return set_up

    @staticmethod
    def last_command(server) -> str:
        """Of the connection that is subscribed; empty if there is none."""
        with server.client() as client:
            return next((listed["cmd"] for listed in client.client_list("pubsub")), "")

    def test_suffice_and_are_needed(self, own_server, permit, run, monkeypatch):
        monkeypatch.setattr(watches, "PING_INTERVAL", 0.01)
        (documented,) = re.findall(r"^ACL SETUSER django (.+)$", PAGE, re.MULTILINE)
        words = documented.split()

        async def use():
            first = asyncio.ensure_future(anext(revocations.announcements()))
            try:
                await eventually(lambda: first.done() or listeners(own_server) == 1)
                # So that it is asked whether it is alive.
                await eventually(lambda: first.done() or self.last_command(own_server) == "ping")
                if not first.done():
                    await store.connections.async_client().execute(
                        ("PUBLISH", store.keys.channel, announcements.all_revoked())
                    )
                assert await first == announcements.AllRevoked()
            finally:
                first.cancel()
                await asyncio.wait([first])

        store = permit(words)
        run(use())
        for word in words:
            store = permit([other for other in words if other != word])
            with pytest.raises((SessionStoreMisconfigured, AssertionError)):
                run(use())


class TestThePage:
    def test_gives_the_numbers(self):
        text = PAGE.partition("## What is guaranteed")[2]
        assert f"every {watches.CHECK_INTERVAL:g} seconds, Redis is asked" in text
        assert f"{watches.PAGE} in one piece" in text
        assert f"tried every {watches.PING_INTERVAL:g} seconds" in text
        assert f"after {watches.SHORTEST_PAUSE} seconds at first" in text
        assert f"than every {watches.LONGEST_PAUSE:g}." in text
        assert watches.CHECK_INTERVAL + watches.PING_INTERVAL < MOVED_TTL

    def test_gives_every_reason(self):
        rows = re.findall(r"^\| `(\w+)` \| ", PAGE, re.MULTILINE)
        assert rows == ["logout", watches.REVOKED, "limit", watches.GONE, watches.ROTATED]
        assert f"close code **{revocations.CLOSE_CODE}**" in PAGE

    def test_of_redis_has_the_wording(self):
        rows = re.findall(r"^\| `(\{.+\})` \| ", (ROOT / "docs" / "redis.md").read_text(), re.MULTILINE)
        said = [
            announcements.revoked("…", "…", "…"),
            announcements.rotated("…", "…", "…"),
            announcements.user_revoked("…"),
            announcements.all_revoked(),
        ]
        assert [json.loads(row) for row in rows] == [json.loads(message) for message in said]
        assert all(" " not in row for row in rows)


def test_what_is_public_is_named():
    assert set(revocations.__all__) <= set(dir(revocations))
