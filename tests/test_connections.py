"""Hand-out, forks, loops, failures: with a real server, or with none."""

import asyncio
import gc
import os
import signal
import threading
import warnings

import pytest

from django_redis_sessions import pipes
from django_redis_sessions.configuration import Settings
from django_redis_sessions.errors import (
    SessionStoreError,
    SessionStoreMisconfigured,
    SessionStoreRefused,
    SessionStoreUnavailable,
)
from django_redis_sessions.executors import arun, run
from django_redis_sessions.operations import create, exists, read
from django_redis_sessions.routes import LONGEST_REST
from django_redis_sessions.store import Store
from tests.servers import RedisServer, free_port
from tests.topologies import until

KEY = "k" * 32


def connected(url, **given):
    return Store.of(Settings(url=url, **given)).connections


@pytest.fixture
def own_server():
    """A server of the test's own, to stop, hang and restart."""
    with RedisServer() as running:
        yield running


@pytest.fixture
def execute(way, runner):
    """Sends one command through a deployment's client of either kind."""

    def send(connections, *command):
        if way == "blocking":
            return connections.client().execute(command)

        async def awaited():
            return await connections.async_client().execute(command)

        return runner.run(awaited())

    return send


class TestTheBlockingClient:
    def test_is_one_per_process(self, server):
        connections = connected(server.url)
        assert connections.client() is connections.client()

    def test_serves_many_threads_with_their_own_answers(self, server, keys):
        connections = connected(server.url)
        wrong = []

        def work(number):
            for turn in range(200):
                text = f"{number}-{turn}".encode()
                if connections.client().execute(("ECHO", text)) != text:
                    wrong.append(text)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_holds_no_more_connections_than_it_may(self, own_server):
        connections = connected(own_server.url, options={"max_connections": 3}, timeout=10)
        barrier = threading.Barrier(12)

        def work():
            barrier.wait()
            for _ in range(50):
                connections.client().execute(("PING",))

        threads = [threading.Thread(target=work) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with own_server.client() as client:
            assert client.info("stats")["total_connections_received"] <= 3 + 4  # and those of the fixture
            assert len(client.client_list()) <= 3 + 1

    def test_says_so_when_all_its_connections_stay_busy(self, own_server):
        connections = connected(own_server.url, options={"max_connections": 1}, timeout=2, retries=0)
        client = connections.client()
        taken = client._take()
        with pytest.raises(SessionStoreUnavailable, match="All 1 connections"):
            client.execute(("PING",))
        client._drop(taken)
        assert client.execute(("PING",))

    def test_replaces_connections_that_have_rested_for_long(self, own_server):
        """A firewall may have forgotten them without a word."""
        client = connected(own_server.url).client()
        first, second = client._take(), client._take()
        for wire in (first, second):
            wire.connect()
            client._give_back(wire)
        for wire in (first, second):
            wire.idle_since -= LONGEST_REST
        assert client.execute(("ECHO", "mine")) == b"mine"
        assert not first.is_connected
        assert not second.is_connected
        assert len(client._idle) == 1

    def test_lets_go_of_connections_after_a_rush(self, own_server):
        client = connected(own_server.url).client()
        rush = [client._take() for _ in range(3)]
        for wire in rush:
            wire.connect()
            client._give_back(wire)
        for wire in rush[:2]:
            wire.idle_since -= LONGEST_REST
        for expected in (2, 1, 1):
            client.execute(("PING",))
            assert len(client._idle) == expected

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
    def test_is_new_in_a_forked_child(self, server, keys):
        """Parent and child would read each other's answers on a shared socket."""
        connections = connected(server.url)
        run(connections.client(), create(keys, KEY, b"parent", 60))
        parents = connections.client()
        with warnings.catch_warnings():
            # Python warns of fork beside threads; pre-forking servers do exactly that.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            verdict = 1
            try:
                fresh = connections.client() is not parents
                own = all(connections.client().execute(("ECHO", b"child")) == b"child" for _ in range(500))
                verdict = 0 if fresh and own else 2
            finally:
                os._exit(verdict)
        own = all(connections.client().execute(("ECHO", b"parent")) == b"parent" for _ in range(500))
        _, status = os.waitpid(child, 0)
        assert own
        assert os.waitstatus_to_exitcode(status) == 0
        assert connections.client() is parents


class TestTheAwaitingClient:
    def test_is_one_per_running_loop(self, server):
        connections = connected(server.url)

        async def which():
            return connections.async_client(), connections.async_client()

        (first, again), (other, _) = asyncio.run(which()), asyncio.run(which())
        assert first is again
        assert other is not first

    def test_is_closed_with_its_loop(self, own_server):
        connections = connected(own_server.url)

        async def use():
            await asyncio.gather(*[connections.async_client().execute(("PING",)) for _ in range(5)])

        for _ in range(20):
            asyncio.run(use())
        assert not connections._awaiting
        with own_server.client() as client:
            assert len(client.client_list()) == 1

    def test_left_by_a_loop_that_ended_badly_is_let_go(self, server):
        connections = connected(server.url)

        async def use():
            return await connections.async_client().execute(("PING",))

        # The loop's owner did not clean up, and Python says so about the open sockets.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            loop = asyncio.new_event_loop()
            loop.run_until_complete(use())
            loop.close()
            asyncio.run(use())
            assert loop not in connections._awaiting
            gc.collect()

    def test_whose_settings_were_replaced_lives_until_its_loop_ends(self, own_server):
        async def use():
            old = connected(own_server.url).async_client()
            await old.execute(("PING",))
            gc.collect()
            assert await old.execute(("PING",))

        asyncio.run(use())
        with own_server.client() as client:
            assert len(client.client_list()) == 1

    def test_serves_loops_in_many_threads(self, server):
        connections = connected(server.url)
        wrong = []

        async def work(number):
            for turn in range(50):
                text = f"{number}-{turn}".encode()
                if await connections.async_client().execute(("ECHO", text)) != text:
                    wrong.append(text)

        threads = [threading.Thread(target=asyncio.run, args=(work(number),)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert not connections._awaiting

    def test_lets_callers_wait_for_a_connection(self, own_server):
        connections = connected(own_server.url, options={"max_connections": 3}, timeout=10)

        async def use():
            client = connections.async_client()
            return await asyncio.gather(*[client.execute(("ECHO", str(n))) for n in range(100)])

        assert asyncio.run(use()) == [str(n).encode() for n in range(100)]

    def test_says_so_when_all_its_connections_stay_busy(self, own_server, monkeypatch):
        monkeypatch.setattr(pipes, "PIPELINE", 1)
        connections = connected(own_server.url, options={"max_connections": 1}, timeout=0.4, retries=0)

        async def use():
            client = connections.async_client()
            blocked = asyncio.create_task(client.execute(("BLPOP", "nothing", 5)))
            await asyncio.sleep(0)
            with pytest.raises(SessionStoreUnavailable, match="All 1 connections"):
                await client.execute(("PING",))
            with pytest.raises(SessionStoreUnavailable, match="did not answer"):
                await blocked

        asyncio.run(use())

    def test_never_hands_on_a_connection_that_a_cancelled_task_left_mid_reply(self, server, keys):
        """The next reader would get somebody else's session."""
        connections = connected(server.url)

        async def use():
            client = connections.async_client()
            for turn in range(200):
                cancelled = asyncio.create_task(client.execute(("ECHO", "somebody else's")))
                for _ in range(turn % 7):
                    await asyncio.sleep(0)
                cancelled.cancel()
                mine = f"mine {turn}".encode()
                assert await client.execute(("ECHO", mine)) == mine
                await asyncio.gather(cancelled, return_exceptions=True)

        asyncio.run(use())


class TestSeveralCommands:
    def test_travel_together_and_fail_apart(self, server, runner, way):
        connections = connected(server.url)
        commands = [("ECHO", "a"), ("NO-SUCH-COMMAND",), ("ECHO", "b")]
        if way == "blocking":
            replies = connections.client().execute(commands)
        else:

            async def awaited():
                return await connections.async_client().execute(commands)

            replies = runner.run(awaited())
        assert replies[0] == b"a"
        assert isinstance(replies[1], Exception)
        assert replies[2] == b"b"


class TestAServerThatIsNotThere:
    def test_is_named_in_the_error(self, execute):
        port = free_port()
        with pytest.raises(SessionStoreUnavailable) as caught:
            execute(connected(f"redis://user:hunter2@127.0.0.1:{port}/0"), "PING")
        assert caught.value.address == f"127.0.0.1:{port}"
        assert f"127.0.0.1:{port} cannot be reached" in str(caught.value)
        assert "hunter2" not in str(caught.value)

    def test_is_named_by_its_socket(self, execute):
        with pytest.raises(SessionStoreUnavailable, match=r"unix:///nowhere/redis\.sock"):
            execute(connected("unix:///nowhere/redis.sock?password=hunter2"), "PING")

    def test_is_never_an_empty_session(self, configure, do):
        from django_redis_sessions.backend import SessionStore

        configure(URL="unix:///nowhere/redis.sock")
        session = SessionStore(KEY)
        for method, arguments in (
            (session.load, ()),
            (session.exists, (KEY,)),
            (session.save, ()),
            (session.create, ()),
            (session.delete, ()),
            (session.cycle_key, ()),
            (session.flush, ()),
        ):
            session._session_key = KEY
            with pytest.raises(SessionStoreUnavailable):
                do(method, *arguments)

    def test_is_found_again_when_it_comes_back(self, own_server, execute):
        connections = connected(own_server.url)
        assert execute(connections, "ECHO", "1") == b"1"
        own_server.stop()
        with pytest.raises(SessionStoreUnavailable):
            execute(connections, "PING")
        own_server.start()
        assert execute(connections, "ECHO", "2") == b"2"

    @pytest.mark.parametrize("retries", [0, 1])
    def test_and_back_before_anybody_asked_goes_unnoticed(self, own_server, execute, retries):
        """Connections that were closed while they lay idle are not a failure of the server."""
        connections = connected(own_server.url, retries=retries)
        execute(connections, "PING")
        own_server.stop()
        own_server.start()
        assert execute(connections, "ECHO", "2") == b"2"


class TestAServerThatHangs:
    @pytest.fixture
    def hanging(self, own_server):
        os.kill(own_server.process.pid, signal.SIGSTOP)
        yield own_server
        os.kill(own_server.process.pid, signal.SIGCONT)

    def test_is_given_up_within_the_budget(self, hanging, execute):
        with pytest.raises(SessionStoreUnavailable, match=r"did not answer within 0\.4 s"):
            execute(connected(hanging.url, timeout=0.4), "PING")

    def test_and_answers_late_answers_nobody_else(self, own_server, execute):
        connections = connected(own_server.url, timeout=0.4, retries=0)
        execute(connections, "PING")
        os.kill(own_server.process.pid, signal.SIGSTOP)
        with pytest.raises(SessionStoreUnavailable):
            execute(connections, "ECHO", "somebody else's")
        os.kill(own_server.process.pid, signal.SIGCONT)
        answers = []
        until(lambda: answers.append(execute(connections, "ECHO", "mine")) or True)
        assert answers == [b"mine"]


class TestAServerThatRefuses:
    def test_a_password_is_a_misconfiguration(self, execute):
        with RedisServer("--requirepass", "right", port=free_port()) as guarded:
            for url in (
                f"redis://127.0.0.1:{guarded.port}/0",
                f"redis://:hunter2@127.0.0.1:{guarded.port}/0",
            ):
                with pytest.raises(
                    SessionStoreMisconfigured, match="does not accept the user name or password"
                ) as no:
                    execute(connected(url), "GET", "x")
                assert "hunter2" not in str(no.value)
            assert execute(connected(f"redis://:right@127.0.0.1:{guarded.port}/0"), "PING")

    def test_a_user_without_the_right_is_a_misconfiguration(self, execute, behind):
        with RedisServer() as own:
            with own.client() as client:
                client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "+get", "~session:*")
            url = f"unix://app:pw@{own.socket}"
            assert execute(connected(url), "GET", "session:r:x") is None
            with pytest.raises(SessionStoreMisconfigured, match="does not permit"):
                execute(connected(url), "SET", "session:r:x", "y")

    def test_a_command_says_which_error_and_no_argument(self, server, execute):
        with pytest.raises(
            SessionStoreRefused, match=r"refused the command with (ERR|ResponseError)"
        ) as caught:
            execute(connected(server.url), "NO-SUCH-COMMAND", "secret-argument")
        assert "secret-argument" not in str(caught.value)

    def test_an_unreadable_option_is_a_misconfiguration(self, execute):
        with pytest.raises(SessionStoreMisconfigured, match="redis-py does not accept"):
            execute(connected("redis://localhost", options={"no_such_argument": 1}), "PING")


class TestTheConnection:
    @pytest.mark.parametrize("protocol", [2, 3])
    def test_speaks_either_protocol(self, server, way, runner, keys, protocol):
        connections = connected(server.url, options={"protocol": protocol})

        def perform(operation):
            if way == "blocking":
                return run(connections.client(), operation)

            async def awaited():
                return await arun(connections.async_client(), operation)

            return runner.run(awaited())

        assert perform(create(keys, KEY, b"\xff\x00binary", 60)) is True
        assert perform(read(keys, KEY)) == b"\xff\x00binary"
        assert perform(exists(keys, KEY)) is True

    def test_uses_tcp_a_database_number_and_a_user(self, execute):
        with RedisServer(port=free_port()) as own:
            with own.client() as client:
                client.execute_command("ACL", "SETUSER", "app", "on", ">p@ss:w/rd", "+@all", "~*")
            url = f"redis://app:p%40ss%3Aw%2Frd@127.0.0.1:{own.port}/3"
            execute(connected(url), "SET", "x", "y", "EX", 9)
            with own.client(db=3) as client:
                assert client.get("x") == b"y"

    def test_is_replaced_only_by_our_own_retries(self, server):
        """redis-py's defaults changed between 6 and 8 from none to ten tries with back-off."""
        connection = connected(server.url).client()._route.new_connection()
        assert connection.retry.get_retries() == 0
        assert connection.socket_timeout == connection.socket_connect_timeout == 1.0


class TestTheNumberOfOpenSockets:
    def test_does_not_grow_with_errors(self, own_server):
        connections = connected(own_server.url)
        client = connections.client()
        for _ in range(50):
            with pytest.raises(SessionStoreError):
                client.execute(("NO-SUCH-COMMAND",))
        with own_server.client() as behind:
            assert len(behind.client_list()) == 2

    def test_is_none_after_a_client_was_let_go(self, own_server):
        connections = connected(own_server.url)
        connections.client().execute(("PING",))
        connections.myself = connections  # nothing but the collector finds it
        del connections
        gc.collect()
        with own_server.client() as behind:
            assert len(behind.client_list()) == 1

    def test_is_none_after_closing(self, own_server):
        connections = connected(own_server.url)
        connections.client().execute(("PING",))
        connections.close()
        with own_server.client() as behind:
            assert len(behind.client_list()) == 1
