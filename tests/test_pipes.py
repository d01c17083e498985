"""How tasks share the connections of their loop: over a relay that counts, to a real server."""

import asyncio

import pytest

from django_redis_sessions import pipes
from django_redis_sessions.configuration import Settings
from django_redis_sessions.errors import SessionStoreRefused, SessionStoreUnavailable
from django_redis_sessions.routes import LONGEST_REST
from django_redis_sessions.store import Store
from tests.servers import RedisServer
from tests.wire import Wire


@pytest.fixture
def own_server():
    with RedisServer() as running:
        yield running


@pytest.fixture
def relay(server, tmp_path):
    with Wire(server.socket, tmp_path) as wire:
        yield wire


def client_of(url, **given):
    return Store.of(Settings(url=url, **given)).connections.async_client()


class TestWhatIsAskedInOneTurnOfTheLoop:
    def test_travels_together(self, runner, relay):
        async def use():
            client = client_of(relay.url)
            await client.execute(("PING",))
            relay.reset()
            return await asyncio.gather(*[client.execute(("ECHO", str(n))) for n in range(100)])

        assert runner.run(use()) == [str(n).encode() for n in range(100)]
        assert relay.round_trips == 1

    def test_takes_another_connection_only_beyond_the_bound(self, runner, own_server, monkeypatch):
        monkeypatch.setattr(pipes, "PIPELINE", 10)

        async def connections(number):
            client = client_of(own_server.url, timeout=10, options={"max_connections": 3})
            await asyncio.gather(*[client.execute(("ECHO", str(n))) for n in range(number)])
            return len(client._pipes)

        assert runner.run(connections(10)) == 1
        assert runner.run(connections(500)) <= 3

    def test_fails_apart(self, runner, server):
        async def use():
            client = client_of(server.url)
            commands = [("ECHO", "a"), ("NO-SUCH",), [("ECHO", "b"), ("NO-SUCH",)], ("ECHO", "c")]
            return await asyncio.gather(*map(client.execute, commands), return_exceptions=True)

        first, second, (third, fourth), fifth = runner.run(use())
        assert (first, third, fifth) == (b"a", b"b", b"c")
        assert isinstance(second, SessionStoreRefused)
        assert isinstance(fourth, SessionStoreRefused)

    def test_concerns_nobody_else_when_it_cannot_be_sent(self, runner, server):
        async def use():
            client = client_of(server.url)
            commands = [("ECHO", "a"), ("ECHO", "\ud800"), ("ECHO", "b")]
            return await asyncio.gather(*map(client.execute, commands), return_exceptions=True)

        first, second, third = runner.run(use())
        assert (first, third) == (b"a", b"b")
        assert isinstance(second, UnicodeEncodeError)


class TestACallerWhoGivesUp:
    def test_disturbs_nobody_on_the_same_connection(self, runner, own_server):
        async def use():
            client = client_of(own_server.url, timeout=10)
            await client.execute(("PING",))
            slow = asyncio.create_task(client.execute(("BLPOP", "nothing", 0.2)))
            others = [asyncio.create_task(client.execute(("ECHO", str(n)))) for n in range(20)]
            await asyncio.sleep(0.05)
            for task in (slow, *others[::2]):
                task.cancel()
            kept = await asyncio.gather(*others[1::2])
            return kept, len(client._pipes)

        kept, connections = runner.run(use())
        assert kept == [str(n).encode() for n in range(1, 20, 2)]
        assert connections == 1
        with own_server.client() as behind:
            assert behind.info("stats")["total_connections_received"] <= 4

    def test_before_it_is_sent_is_not_sent(self, runner, relay):
        async def use():
            client = client_of(relay.url)
            await client.execute(("PING",))
            relay.reset()
            gone = asyncio.create_task(client.execute(("ECHO", "never")))
            await asyncio.sleep(0)
            gone.cancel()
            await client.execute(("ECHO", "mine"))

        runner.run(use())
        assert b"mine" in relay.sent
        assert b"never" not in relay.sent


class TestARequestThatIsNotAnsweredInTime:
    def test_is_the_failure_of_nobody_else(self, runner, own_server):
        """Those behind it on its connection are served over another one, at once."""

        async def use():
            client = client_of(own_server.url, timeout=1, retries=1)
            await client.execute(("PING",))
            slow = asyncio.create_task(client.execute(("BLPOP", "nothing", 30)))
            await asyncio.sleep(0.8)
            behind = asyncio.create_task(client.execute(("ECHO", "mine")))
            return await asyncio.gather(slow, behind, return_exceptions=True)

        slow, behind = runner.run(use())
        assert isinstance(slow, SessionStoreUnavailable)
        assert behind == b"mine"


class TestARequestThatWaitsForReplicas:
    def test_holds_up_nobody(self, runner, own_server):
        """WAIT blocks everything behind it on its connection."""

        async def use():
            client = client_of(own_server.url, timeout=60)
            await client.execute(("PING",))
            waiting = asyncio.create_task(client.execute([("SET", "x", "1", "EX", 60), ("WAIT", 3, 30_000)]))
            await asyncio.sleep(0.05)
            echoed = await client.execute(("ECHO", "mine"))
            assert not waiting.done()
            waiting.cancel()
            return echoed

        assert runner.run(use()) == b"mine"


class TestAConnection:
    def test_that_has_rested_for_long_is_replaced(self, runner, own_server):
        """A firewall may have forgotten it without a word."""

        async def use():
            client = client_of(own_server.url)
            await client.execute(("PING",))
            (first,) = client._pipes
            await client.execute(("PING",))
            assert client._pipes == [first]
            first.idle_since -= LONGEST_REST
            await client.execute(("PING",))
            return first in client._pipes

        assert runner.run(use()) is False

    def test_that_says_what_nobody_asked_for_is_closed(self, runner, server):
        async def use():
            client = client_of(server.url)
            await client.execute(("PING",))
            (first,) = client._pipes
            first.data_received(b"+surprise\r\n")
            assert await client.execute(("ECHO", "mine")) == b"mine"
            return first in client._pipes

        assert runner.run(use()) is False

    def test_that_speaks_another_protocol_fails_its_callers(self, runner, server):
        async def use():
            client = client_of(server.url, timeout=60)
            await client.execute(("PING",))
            (first,) = client._pipes
            waiting = asyncio.create_task(client.execute(("BLPOP", "nothing", 30)))
            await asyncio.sleep(0.05)
            first.data_received(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            with pytest.raises(SessionStoreRefused):
                await waiting
            assert first not in client._pipes

        runner.run(use())

    def test_that_the_server_closes_between_requests_goes_unnoticed(self, runner, own_server):
        async def use():
            client = client_of(own_server.url, retries=0)
            await client.execute(("PING",))
            with own_server.client() as behind:
                behind.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            return await asyncio.gather(*[client.execute(("ECHO", str(n))) for n in range(50)])

        assert runner.run(use()) == [str(n).encode() for n in range(50)]


class TestARequestThatFindsNoConnection:
    def test_is_told_so_within_its_budget(self, runner, own_server, monkeypatch):
        """The connection is made, but its handshake takes forever."""

        async def never(pipe):
            await asyncio.sleep(60)

        async def use():
            monkeypatch.setattr(pipes.Pipe, "connect", never)
            with pytest.raises(SessionStoreUnavailable, match="did not answer within"):
                await client_of(own_server.url, timeout=0.1).execute(("PING",))

        runner.run(use())


class TestALoopThatEnds:
    def test_leaves_no_connection_behind_while_one_is_being_made(self, own_server):
        async def use():
            client = client_of(own_server.url)
            task = asyncio.create_task(client.execute(("PING",)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()

        for _ in range(5):
            asyncio.run(use())
        with own_server.client() as behind:
            assert len(behind.client_list()) == 1
