"""What this package does itself with the sockets of redis-py's connections."""

import asyncio
import socket
import ssl
import threading

import pytest
import redis

from django_redis_sessions import wires
from django_redis_sessions.configuration import Settings
from django_redis_sessions.store import Store
from django_redis_sessions.wires import MORE, Wire, new_reader, packed
from tests.servers import RedisServer


def connections(url, **given):
    return Store.of(Settings(url=url, **given)).connections


@pytest.fixture
def wire_of(server):
    """Makes wires that wait so many seconds."""
    made = []

    def make(timeout):
        made.append(Wire(connections(server.url, timeout=timeout).client()._route.new_connection()))
        made[-1].connect()
        return made[-1]

    yield make
    for wire in made:
        wire.close()


@pytest.fixture
def wire(wire_of):
    return wire_of(20)


class Peer:
    """A server on a unix socket that says what it is told to, whatever it is asked."""

    def __init__(self, directory, *chunks):
        self.path = str(directory / "peer.sock")
        self._chunks = chunks
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        self._listener.close()

    @property
    def url(self):
        return f"unix://{self.path}"

    def _serve(self):
        client, _ = self._listener.accept()
        with client:
            for chunk in self._chunks:
                client.recv(65536)
                client.sendall(chunk)
            self._done.wait(20)


class TestWhereRedisPyKeepsItsSocket:
    """Not part of its interface: a release that moves it fails here."""

    def test_of_a_blocking_connection(self, server):
        connection = connections(server.url).client()._route.new_connection()
        connection.connect()
        assert isinstance(wires.socket_of(connection), socket.socket)
        connection.disconnect()

    def test_of_an_asynchronous_connection(self, server, runner):
        async def found():
            connection = connections(server.url).async_client()._route.new_connection()
            await connection.connect()
            transport = wires.transport_of(connection)
            await connection.disconnect()
            return transport

        assert isinstance(runner.run(found()), asyncio.Transport)


class TestAPackedCommand:
    def test_is_what_the_protocol_wants(self):
        assert (
            packed(("SET", b"\xff", "ä", 60))
            == b"*4\r\n$3\r\nSET\r\n$1\r\n\xff\r\n$2\r\n\xc3\xa4\r\n$2\r\n60\r\n"
        )

    def test_may_be_several(self):
        assert packed([("PING",), ("GET", "x")]) == packed(("PING",)) + packed(("GET", "x"))


class TestAReader:
    def test_waits_for_the_whole_reply(self):
        reader = new_reader()
        reader.feed(b"$5\r\nhel")
        assert reader.gets() is MORE
        reader.feed(b"lo\r\n")
        assert reader.gets() == b"hello"

    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            ("READONLY You can't write", redis.ReadOnlyError),
            ("NOSCRIPT No matching script", redis.exceptions.NoScriptError),
            ("LOADING Redis is loading", redis.BusyLoadingError),
            ("MOVED 3999 127.0.0.1:6381", redis.exceptions.MovedError),
            ("ERR something", redis.ResponseError),
        ],
    )
    def test_gives_errors_of_redis_py(self, text, kind):
        reader = new_reader()
        reader.feed(f"-{text}\r\n".encode())
        assert type(reader.gets()) is kind

    def test_refuses_what_is_no_redis(self):
        reader = new_reader()
        reader.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(redis.exceptions.InvalidResponse):
            reader.gets()


class TestAWire:
    def test_carries_a_reply_of_many_pieces(self, wire):
        long = bytes(range(256)) * 4000
        assert wire.exchange(("ECHO", long)) == long

    def test_carries_several_commands_and_keeps_their_errors_apart(self, wire):
        first, second, third = wire.exchange([("ECHO", "a"), ("NO-SUCH",), ("ECHO", "b")])
        assert (first, third) == (b"a", b"b")
        assert isinstance(second, redis.ResponseError)

    def test_leaves_time_outs_to_the_kernel(self, wire_of):
        """Python would ask the kernel before each send and each receive whether it may."""
        wire = wire_of(1)
        plain = wires.socket_of(wire._connection)
        assert plain.gettimeout() is None
        assert plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) != bytes(16)
        with pytest.raises(redis.TimeoutError):
            wire.exchange(("BLPOP", "nothing", 5))

    def test_leaves_those_of_other_sockets_to_them(self):
        """TLS and gevent know the time-outs that Python knows, and no others."""
        one, other = socket.socketpair()
        with one, other:
            one.settimeout(0.5)
            wrapped = ssl.create_default_context().wrap_socket(
                one, server_hostname="x", do_handshake_on_connect=False
            )
            wires.leave_timeouts_to_kernel(wrapped)
            assert wrapped.gettimeout() == 0.5
            wrapped.close()

    def test_without_a_time_out_waits_as_long_as_it_takes(self, server):
        client = connections(server.url, options={"socket_timeout": None}).client()
        assert client.execute(("BLPOP", "nothing", 0.2)) is None

    def test_reads_over_what_the_server_pushes(self, server, tmp_path):
        push = b">2\r\n$10\r\ninvalidate\r\n*0\r\n"
        with Peer(tmp_path, b"%0\r\n", b"+OK\r\n+OK\r\n", push + b"$4\r\nmine\r\n" + push) as peer:
            made = Wire(redis.UnixDomainSocketConnection(path=peer.path, protocol=2, socket_timeout=20))
            made._connection.connect = lambda: None
            made._connection._sock = socket.socket(socket.AF_UNIX)
            made._connection._sock.connect(peer.path)
            made.connect()
            assert made.exchange(("HELLO", "3")) == {}
            assert made.exchange([("CLIENT", "A"), ("CLIENT", "B")]) == [b"OK", b"OK"]
            assert made.exchange(("GET", "x")) == b"mine"
            made.close()

    def test_takes_what_nobody_asked_for_as_no_answer(self, tmp_path):
        """It would be somebody else's session."""
        with Peer(tmp_path, b"$5\r\nfirst\r\n$8\r\nsurprise\r\n") as peer:
            made = Wire(redis.UnixDomainSocketConnection(path=peer.path, protocol=2, socket_timeout=20))
            made._connection.connect = lambda: None
            made._connection._sock = socket.socket(socket.AF_UNIX)
            made._connection._sock.connect(peer.path)
            made.connect()
            assert made.exchange(("GET", "x")) == b"first"
            with pytest.raises(redis.ConnectionError, match="nobody had asked for"):
                made.exchange(("GET", "y"))
            made.close()


class TestASiteUnderGevent:
    def test_saves_and_loads_side_by_side(self, server, prefix):
        pytest.importorskip("gevent")
        import subprocess
        import sys

        program = f"""
from gevent import monkey; monkey.patch_all()
import gevent
from django_redis_sessions.configuration import Settings
from django_redis_sessions.store import Store
client = Store.of(Settings(url={server.url!r}, timeout=5, options={{"max_connections": 4}})).connections.client()
turns = []
def work(number):
    for turn in range(50):
        text = f"{{number}}-{{turn}}".encode()
        assert client.execute(("ECHO", text)) == text
        turns.append(number)
started = [gevent.spawn(work, number) for number in range(8)]
gevent.joinall(started, raise_error=True)
assert len(turns) == 400
waiting = gevent.spawn(client.execute, ("BLPOP", "nothing", 4))
gevent.sleep(0.01)
client.execute(("PING",))
assert not waiting.ready(), "one greenlet held up the others"
waiting.kill()
"""
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr


class TestALoopOfUvloop:
    def test_serves_sessions(self):
        uvloop = pytest.importorskip("uvloop")
        with RedisServer() as own:
            known = connections(own.url)

            async def use():
                client = known.async_client()
                texts = [str(number) for number in range(300)]
                echoed = await asyncio.gather(*[client.execute(("ECHO", text)) for text in texts])
                assert echoed == [text.encode() for text in texts]
                task = asyncio.create_task(client.execute(("ECHO", "never mind")))
                await asyncio.sleep(0)
                task.cancel()
                assert await client.execute(("ECHO", "mine")) == b"mine"

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(use())
            with own.client() as client:
                assert len(client.client_list()) == 1
