"""Who is told that a session has ended, over real connections that are lost and made again."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis

from django_redis_sessions import announcements, revocations, watches
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.errors import (
    SessionStoreMisconfigured,
    SessionStoreRefused,
    SessionStoreUnavailable,
)
from django_redis_sessions.keys import digest
from django_redis_sessions.revocations import Interrupted, Resumed, watching
from django_redis_sessions.subscriptions import Subscription
from django_redis_sessions.watches import Watches
from tests.servers import RedisServer

pytestmark = pytest.mark.listener

SECONDS = 30  # any wait is over long before; only a failure lasts that long


@pytest.fixture
def run(runner: asyncio.Runner) -> Callable[..., Any]:
    """Runs a coroutine, for so long at most; nothing may be left of it."""

    async def limited(coroutine: Any) -> Any:
        before = asyncio.all_tasks()
        unseen: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        async with asyncio.timeout(SECONDS):
            result = await coroutine
        await eventually(lambda: asyncio.all_tasks() <= before)
        assert not watches._all
        assert not unseen
        return result

    return lambda coroutine: runner.run(limited(coroutine))


async def eventually(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                if condition():
                    return
            except redis.RedisError:
                pass
            await asyncio.sleep(0.01)


def saved(**data: Any) -> SessionStore:
    session = SessionStore()
    session.update(data)
    session.create()
    return session


def listeners(server: Any) -> int:
    """How many connections are subscribed, on all servers of a deployment; but for those of sentinels."""
    number = 0
    for one in getattr(server, "servers", [server]):
        with one.client() as client:
            number += sum(
                not listed["name"].startswith("sentinel") for listed in client.client_list("pubsub")
            )
    return number


def announce(behind: Any, store: Any, message: bytes) -> None:
    behind.publish(store.keys.channel, message)


class TestASessionThatIsWatched:
    def test_is_over_when_it_is_revoked(self, store, behind, run):
        async def use():
            session = saved(a=1)
            async with watching(session) as watch:
                assert not watch.is_over
                assert watch.reason is None
                handle = digest(session.session_key)
                assert watch.handle == handle
                announce(behind, store, announcements.revoked(handle, None, "logout"))
                assert await watch.ended() == "logout"
                assert watch.is_over
                assert watch.reason == "logout"
                announce(behind, store, announcements.revoked(handle, None, "revoked"))
            assert watch.reason == "logout"

        run(use())

    def test_may_be_named_by_its_key(self, store, behind, run):
        async def use():
            session = saved(a=1)
            async with watching(session.session_key) as watch:
                announce(behind, store, announcements.revoked(digest(session.session_key), None, "limit"))
                assert await watch.ended() == "limit"

        run(use())

    def test_is_over_when_all_sessions_of_its_user_are(self, store, behind, run):
        async def use():
            theirs, others, nobodys = saved(_auth_user_id="7"), saved(_auth_user_id="8"), saved(a=1)
            async with watching(theirs) as watch, watching(others) as other, watching(nobodys) as nobody:
                announce(behind, store, announcements.user_revoked("7"))
                assert await watch.ended() == "revoked"
                assert not other.is_over
                assert not nobody.is_over

        run(use())

    def test_is_over_when_all_are(self, store, behind, run):
        async def use():
            async with watching(saved(_auth_user_id="7")) as watch, watching(saved(a=1)) as other:
                announce(behind, store, announcements.all_revoked())
                assert await watch.ended() == "revoked"
                assert await other.ended() == "revoked"

        run(use())

    def test_is_followed_to_its_new_key_and_user(self, store, behind, run):
        async def use():
            session = saved(a=1)
            old, new, newest = digest(session.session_key), digest("b" * 32), digest("c" * 32)
            async with watching(session) as watch, watching(saved(_auth_user_id="7")) as other:
                announce(behind, store, announcements.rotated(old, new, "7"))
                announce(behind, store, announcements.rotated(new, newest, "8"))
                announce(behind, store, announcements.revoked(old, None, "logout"))
                announce(behind, store, announcements.user_revoked("7"))
                assert await other.ended() == "revoked"
                assert watch.handle == newest
                assert not watch.is_over
                announce(behind, store, announcements.user_revoked("8"))
                assert await watch.ended() == "revoked"

        run(use())

    def test_is_over_at_once_if_it_has_ended_before(self, store, run):
        async def use():
            session = saved(a=1)
            session.delete()
            async with watching(session) as watch:
                assert watch.is_over
                assert await watch.ended() == "gone"
            async with watching("no session key of anybody's!") as watch:
                assert watch.reason == "gone"

        run(use())

    def test_is_never_over_if_it_is_not_stored(self, store, server, run):
        """A visitor without a cookie has nothing that could be taken away, and costs no connection."""

        async def use():
            async with watching(SessionStore()) as watch:
                assert not watch.is_over
                assert watch.handle == ""
                assert listeners(server) == 0

        run(use())

    def test_may_be_waited_for_by_many_who_give_up(self, store, behind, run):
        async def use():
            session = saved(a=1)
            async with watching(session) as watch:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(watch.ended(), 0.001)
                both = asyncio.gather(watch.ended(), watch.ended())
                announce(behind, store, announcements.revoked(digest(session.session_key), None, "logout"))
                assert await both == ["logout", "logout"]

        run(use())

    def test_is_not_disturbed_by_what_nobody_understands(self, store, behind, run):
        async def use():
            session = saved(a=1)
            async with watching(session) as watch:
                for message in (b"", b"\xff", b'{"event":"weather"}', b"[" * 5000, b"x" * 100_000):
                    announce(behind, store, message)
                announce(behind, store, announcements.revoked(digest(session.session_key), None, "logout"))
                assert await watch.ended() == "logout"

        run(use())

    def test_is_found_missing_though_nothing_was_announced(self, store, behind, run, monkeypatch):
        monkeypatch.setattr(watches, "PING_INTERVAL", 0.01)
        monkeypatch.setattr(watches, "CHECK_INTERVAL", 0.02)

        async def use():
            session, other = saved(a=1), saved(a=1)
            async with watching(session) as watch, watching(other) as stays:
                behind.unlink(store.keys.record(session.session_key))
                assert await watch.ended() == "gone"
                assert not stays.is_over

        run(use())

    @pytest.mark.parametrize("scheme", ["hashed", "plain"])
    def test_is_found_under_its_new_key_though_nothing_was_announced(
        self, configure, run, monkeypatch, scheme
    ):
        monkeypatch.setattr(watches, "PING_INTERVAL", 0.01)
        monkeypatch.setattr(watches, "CHECK_INTERVAL", 0.02)
        configure(KEYS=scheme)

        async def use():
            session, other = saved(a=1), saved(a=1)
            with monkeypatch.context() as deaf:
                deaf.setattr(announcements, "decode", lambda message: None)
                async with (
                    watching(session) as watch,
                    watching(other) as stays,
                    watching(session, follow=False) as fixed,
                ):
                    await session.acycle_key()
                    await session.acycle_key()
                    await eventually(lambda: watch.handle == digest(session.session_key))
                    assert await fixed.ended() == "rotated"
                    await session.aflush()
                    assert await watch.ended() == "gone"
                    assert not stays.is_over

        run(use())

    def test_that_is_not_followed_is_over_when_it_moves(self, store, run):
        async def use():
            session = saved(a=1)
            async with watching(session, follow=False) as watch:
                await session.acycle_key()
                assert await watch.ended() == "rotated"

        run(use())


class TestOneConnection:
    def test_serves_all_who_wait_on_a_loop(self, store, behind, server, run):
        async def use():
            sessions = [saved(a=number) for number in range(200)]
            async with AsyncExitStack() as stack:
                entered = await asyncio.gather(
                    *[stack.enter_async_context(watching(session)) for session in sessions]
                )
                assert listeners(server) == 1
                for session in sessions:
                    announce(
                        behind, store, announcements.revoked(digest(session.session_key), None, "logout")
                    )
                assert await asyncio.gather(*[watch.ended() for watch in entered]) == ["logout"] * 200
            await eventually(lambda: listeners(server) == 0)

        run(use())

    def test_is_made_again_for_who_comes_later(self, store, server, run):
        async def use():
            for _ in range(3):
                async with watching(saved(a=1)) as watch:
                    assert not watch.is_over
                    assert listeners(server) == 1
                await eventually(lambda: listeners(server) == 0)

        run(use())

    def test_stays_while_others_come_and_go(self, store, behind, server, run):
        async def use():
            session = saved(a=1)

            async def visit(number: int) -> None:
                for _ in range(10):
                    async with watching(session) as watch:
                        await asyncio.sleep(0)
                        assert not watch.is_over

            async with watching(session) as watch:
                await asyncio.gather(*[visit(number) for number in range(20)])
                assert listeners(server) == 1
                announce(behind, store, announcements.revoked(digest(session.session_key), None, "logout"))
                assert await watch.ended() == "logout"

        run(use())

    @pytest.mark.parametrize("moment", range(12))
    def test_is_closed_when_whoever_waits_is_cancelled_at_any_moment(self, store, server, run, moment):
        async def use():
            session = saved(a=1)

            async def wait() -> None:
                async with watching(session) as watch:
                    await watch.ended()

            task = asyncio.create_task(wait())
            for _ in range(moment):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await eventually(lambda: listeners(server) == 0)

        run(use())

    def test_ends_with_the_loop(self, store, server):
        async def wait() -> None:
            async with watching(session) as watch:
                await watch.ended()

        async def use() -> None:
            waiting.append(asyncio.create_task(wait()))
            await eventually(lambda: listeners(server) == 1)

        session, waiting = saved(a=1), []
        asyncio.run(use())
        gc.collect()
        assert not watches._all
        asyncio.run(eventually(lambda: listeners(server) == 0))


@pytest.fixture
def own_server():
    with RedisServer() as running:
        yield running


@pytest.fixture
def quick(monkeypatch):
    """Times that suit a test."""
    monkeypatch.setattr(watches, "PING_INTERVAL", 0.05)
    monkeypatch.setattr(watches, "LONGEST_PAUSE", 0.1)


@pytest.fixture
def own_store(own_server, quick, configure):
    return configure(URL=own_server.url)


@pytest.fixture
def hasty_store(own_server, quick, configure):
    """One that has given up soon, for a server that hangs."""
    return configure(URL=own_server.url, TIMEOUT=0.5)


@pytest.mark.unix
class TestALostConnection:
    def test_is_made_again_and_what_was_missed_is_found(self, own_store, own_server, run):
        async def use():
            ended, stays = saved(a=1), saved(a=1)
            with own_server.client() as behind:
                async with watching(ended) as watch, watching(stays) as other:
                    behind.unlink(own_store.keys.record(ended.session_key))
                    behind.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                    assert await watch.ended() == "gone"
                    await eventually(lambda: listeners(own_server) == 1)
                    assert not other.is_over
                    announce(behind, own_store, announcements.all_revoked())
                    assert await other.ended() == "revoked"

        run(use())

    def test_closes_nobody(self, hasty_store, own_server, run, caplog):
        async def use():
            session = saved(a=1)
            async with watching(session) as watch:
                registered = Watches.of(hasty_store)
                for _ in range(3):
                    os.kill(own_server.process.pid, signal.SIGSTOP)
                    try:
                        await eventually(lambda: registered._failures >= 3)
                        async with watching(session) as late:
                            assert not late.is_over
                    finally:
                        os.kill(own_server.process.pid, signal.SIGCONT)
                    await eventually(lambda: registered._is_listening)
                assert not watch.is_over
                with own_server.client() as behind:
                    announce(behind, hasty_store, announcements.all_revoked())
                assert await watch.ended() == "revoked"

        with caplog.at_level(logging.WARNING, "django_redis_sessions"):
            run(use())
        lines = [record.getMessage() for record in caplog.records if "nded sessions" in record.getMessage()]
        assert len(lines) == 6
        assert lines[0].startswith(
            f"Ended sessions are not announced: Redis at {own_server.url.partition('?')[0]}"
        )
        assert lines[1].startswith("Ended sessions are announced again: Redis at unix://")

    def test_to_a_server_that_starts_anew_finds_who_is_gone(self, own_store, own_server, run):
        async def use():
            async with watching(saved(a=1)) as watch:
                own_server.stop()
                registered = Watches.of(own_store)
                await eventually(lambda: registered._failures >= 2)
                assert not watch.is_over
                own_server.start()  # with nothing in it
                assert await watch.ended() == "gone"

        run(use())

    def test_is_noticed_where_nobody_says_so(self, hasty_store, own_server, run):
        """A server that hangs, as one whose cable was pulled."""

        async def use():
            session = saved(a=1)
            async with watching(session) as watch:
                registered = Watches.of(hasty_store)
                os.kill(own_server.process.pid, signal.SIGSTOP)
                try:
                    await eventually(lambda: registered._failures)
                finally:
                    os.kill(own_server.process.pid, signal.SIGCONT)
                assert not watch.is_over

        run(use())

    def test_is_made_again_when_its_end_takes_too_long(self, own_store, own_server, run, monkeypatch):
        """As in a process that gets to nothing while the time-out passes."""
        disconnect = redis.asyncio.UnixDomainSocketConnection.disconnect
        too_long = []

        async def late(self, nowait=False, **how):
            await disconnect(self, nowait, **how)
            if not nowait:
                too_long.append(self)
                raise redis.TimeoutError("Timed out closing connection after 1.0")

        async def use():
            session = saved(a=1)
            async with watching(session) as watch:
                monkeypatch.setattr(redis.asyncio.UnixDomainSocketConnection, "disconnect", late)
                with own_server.client() as behind:
                    behind.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                    await eventually(lambda: too_long and Watches.of(own_store)._is_listening)
                    assert not watch.is_over
                    announce(behind, own_store, announcements.all_revoked())
                assert await watch.ended() == "revoked"

        run(use())

    def test_is_no_reason_to_fail_for_whoever_begins_to_watch(self, own_store, own_server, run):
        async def use():
            session = saved(a=1)
            own_server.stop()
            async with watching(session) as watch:
                assert not watch.is_over
                own_server.start()
                assert await watch.ended() == "gone"

        run(use())

    def test_is_an_error_for_whoever_wants_to_hear_everything(self, own_store, own_server, run):
        own_server.stop()

        async def use():
            with pytest.raises(SessionStoreUnavailable):
                await anext(revocations.announcements())

        run(use())


@pytest.mark.unix
class TestAMissingRight:
    def test_is_an_error_at_once(self, own_server, configure, run):
        with own_server.client() as behind:
            behind.execute_command(
                "ACL", "SETUSER", "deaf", "on", ">password", "allkeys", "resetchannels", "+@all"
            )
        configure(URL=f"unix://deaf:password@{own_server.socket}")

        async def use():
            session = saved(a=1)
            with pytest.raises(SessionStoreMisconfigured, match="ACL"):
                async with watching(session):
                    raise AssertionError
            with pytest.raises(SessionStoreMisconfigured, match="ACL"):
                await anext(revocations.announcements())

        run(use())


class TestWhoeverHearsEverything:
    def test_gets_each_announcement_in_order(self, store, behind, server, run):
        async def use():
            said = [
                announcements.Revoked(digest("a" * 32), "7", "logout"),
                announcements.Rotated(digest("a" * 32), digest("b" * 32), None),
                announcements.UserRevoked("7"),
                announcements.AllRevoked(),
            ]
            news = revocations.announcements()
            first = asyncio.ensure_future(anext(news))
            await eventually(lambda: listeners(server) == 1)
            for announcement in said:
                announce(behind, store, announcements.encode(announcement))
            assert [await first, *[await anext(news) for _ in said[1:]]] == said
            await news.aclose()
            await eventually(lambda: listeners(server) == 0)

        run(use())

    @pytest.mark.unix
    def test_learns_where_some_may_be_missing(self, own_store, own_server, run):
        async def use():
            with own_server.client() as behind:
                news = revocations.announcements()
                first = asyncio.ensure_future(anext(news))
                await eventually(lambda: Watches.of(own_store)._is_listening)
                behind.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                interrupted = await first
                assert isinstance(interrupted, Interrupted)
                assert isinstance(interrupted.error, SessionStoreUnavailable)
                assert await anext(news) == Resumed()
                announce(behind, own_store, announcements.all_revoked())
                assert await anext(news) == announcements.AllRevoked()
                await news.aclose()

        run(use())

    @pytest.mark.unix
    @pytest.mark.parametrize("fails", [False, True], ids=["stays", "is lost at once"])
    def test_learns_that_the_connection_is_back_before_what_comes_over_it(
        self, own_store, own_server, run, monkeypatch, fails
    ):
        opened = Subscription.open

        async def busy(self: Subscription) -> None:
            """As ``open()`` in a process that goes on only when the first message has come."""
            hear, heard = self._on_message, asyncio.Event()
            self._on_message = lambda message: heard.set() or hear(message)
            await opened(self)
            announce(behind, own_store, announcements.all_revoked())
            await heard.wait()
            monkeypatch.setattr(Subscription, "open", opened)
            if fails:
                raise SessionStoreUnavailable("Lost.")

        async def use():
            news = revocations.announcements()
            first = asyncio.ensure_future(anext(news))
            await eventually(lambda: Watches.of(own_store)._is_listening)
            monkeypatch.setattr(Subscription, "open", busy)
            behind.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            said = [type(await first), *[type(await anext(news)) for _ in range(4 if fails else 2)]]
            again = [Interrupted, Resumed] if fails else []
            assert said == [Interrupted, Resumed, announcements.AllRevoked, *again]
            await news.aclose()

        with own_server.client() as behind:
            run(use())

    def test_and_is_slow_misses_some_and_is_told(self, store, behind, server, run, monkeypatch):
        monkeypatch.setattr(watches, "BACKLOG", 3)

        async def use():
            news = revocations.announcements()
            first = asyncio.ensure_future(anext(news))
            await eventually(lambda: listeners(server) == 1)
            announce(behind, store, announcements.user_revoked("0"))
            assert await first == announcements.UserRevoked("0")
            async with watching(saved(a=1)) as watch:
                for number in range(1, 5):
                    announce(behind, store, announcements.user_revoked(str(number)))
                announce(behind, store, announcements.all_revoked())
                await watch.ended()
            got = [await anext(news) for _ in range(3)]
            assert got == [Resumed(), announcements.UserRevoked("4"), announcements.AllRevoked()]
            await news.aclose()

        run(use())


class TestAnAnswerThatIsLate:
    """What was announced between a question and its answer is newer than the answer."""

    @pytest.fixture
    def meanwhile(self, monkeypatch):
        """``meanwhile(act)``: ``act`` happens while the next answers are on their way."""

        def set_up(act: Callable[[Watches], None]) -> None:
            ask = Watches._ask

            async def late(self: Watches, commands: list[Any]) -> list[Any]:
                replies = await ask(self, commands)
                act(self)
                return replies

            monkeypatch.setattr(Watches, "_ask", late)

        return set_up

    def test_ends_nobody_who_has_moved(self, store, run, meanwhile):
        async def use():
            session, elsewhere = saved(a=1), saved(a=1)
            old, new = digest(session.session_key), digest(elsewhere.session_key)
            async with watching(session) as watch:
                await session.adelete()
                assert await watch.ended() == "logout"
                registered = Watches.of(store)
                rotated = announcements.rotated(old, new, None)
                watch.over = asyncio.get_running_loop().create_future()
                watch.move(old, old)
                registered._file(watch)
                meanwhile(lambda watches: watches._hear(rotated))
                await registered._check([watch])
                assert not watch.is_over
                assert watch.handle == new

        run(use())

    @pytest.mark.parametrize("answers", [1, 2])
    def test_gives_no_second_reason(self, store, run, meanwhile, answers):
        async def use():
            session = saved(a=1)
            async with watching(session) as watch:
                asked = []
                message = announcements.revoked(watch.handle, None, "stolen")

                def announced(watches: Watches) -> None:
                    asked.append(True)
                    if len(asked) == answers:
                        watches._hear(message)

                meanwhile(announced)
                await store.connections.async_client().execute(
                    ("UNLINK", store.keys.record(session.session_key))
                )
                await Watches.of(store)._check([watch])
                assert watch.reason == "stolen"
                watch.end("twice")
                assert watch.reason == "stolen"

        run(use())

    def test_about_endless_moves_is_not_waited_for(self, store, behind, run, monkeypatch):
        """Nobody moves a session in a circle, unless to keep us busy."""
        monkeypatch.setattr(watches, "MOST_MOVES", 3)

        async def use():
            session = saved(a=1)
            async with watching(session) as watch:
                name = store.keys.name(session.session_key)
                behind.set(store.keys.moved(name), name, ex=60)
                behind.unlink(store.keys.record(session.session_key))
                await Watches.of(store)._check([watch])
                assert not watch.is_over

        run(use())


class TestAServerThatTalksNonsense:
    def test_has_lost_the_connection(self, store, run):
        async def use():
            heard: list[bytes] = []
            client = (await store.connections.async_client().nodes())[0]
            subscription = Subscription(client, store.keys.channel, heard.append)
            try:
                await subscription.open()
                subscription.data_received(b"+PONG\r\n+PONG\r\n")
                subscription.data_received(b"nonsense\r\n")
                subscription.data_received(b"-ERR of nobody's command\r\n")
                with pytest.raises(SessionStoreRefused, match="InvalidResponse"):
                    await subscription.stay(SECONDS)
            finally:
                await subscription.aclose()
            assert heard == []

        run(use())


class TestALoopThatWasClosedInTheMiddle:
    def test_is_forgotten(self, store, run):
        loop = asyncio.new_event_loop()
        loop.close()
        watches._all[store, loop] = None

        async def use():
            async with watching(saved(a=1)):
                assert [known for _, known in watches._all] == [asyncio.get_running_loop()]

        run(use())


@pytest.mark.unix
class TestABugInTheListener:
    def test_leaves_nobody_waiting(self, store, behind, runner, monkeypatch):
        async def use():
            async with asyncio.timeout(SECONDS), watching(saved(a=1)) as watch:
                with monkeypatch.context() as broken:
                    broken.setattr(Watches, "_check", None)
                    broken.setattr(watches, "PING_INTERVAL", 0.01)
                    broken.setattr(watches, "CHECK_INTERVAL", 0.01)
                    behind.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                    assert await watch.ended() == "gone"

        said = []
        runner.get_loop().set_exception_handler(lambda loop, context: said.append(context))
        runner.run(use())
        assert isinstance(said[0]["exception"], TypeError)
