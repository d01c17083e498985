"""What every test can ask for: a real server, a prefix of its own, and both ways to wait."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from itertools import count
from typing import Any

import pytest
import redis
from django.utils import translation
from hypothesis import settings as hypothesis_settings

from django_redis_sessions import conf, operations
from django_redis_sessions.configuration import Settings
from django_redis_sessions.embedded import find_server
from django_redis_sessions.executors import arun, run
from django_redis_sessions.keys import Keys
from django_redis_sessions.rights import rights_for
from django_redis_sessions.store import Store
from tests.outages import interrupt_blocking
from tests.races import Race
from tests.servers import AclServer, RedisServer, free_port, load_scripts
from tests.topologies import Cluster, SentinelService, TlsServer, has_tls, until

# In this order: what one imports from another has to be known as a plugin by then.
pytest_plugins = ["tests.sites", "tests.browser", "tests.visitors"]

_numbers = count()

# In development mode asyncio tells of every callback that takes 0.1 s, which says something of the machine alone, and
# not to the tests that read what was logged. Its errors are still there.
logging.getLogger("asyncio").setLevel(logging.ERROR)

# `--hypothesis-profile=long` searches for minutes; here a rule is tried often enough to be seen broken.
hypothesis_settings.register_profile("quick", max_examples=30, deadline=None)
hypothesis_settings.register_profile("long", max_examples=5000, deadline=None)
hypothesis_settings.load_profile("quick")


TOPOLOGIES = ("unix", "tcp", "resp3", "tls", "sentinel", "cluster", "acl")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--topology", choices=TOPOLOGIES, default="unix", help="what the shared server is")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "unix: needs one plain server behind a unix socket")
    config.addinivalue_line("markers", "socket: as unix, but does with few rights")
    config.addinivalue_line("markers", "one_slot: needs keys that live on one server")
    config.addinivalue_line("markers", "operator: does what the command does, with the rights for that")
    config.addinivalue_line("markers", "listener: hears of ended sessions, with the rights for that")


#: Modules that start whole deployments, sites or browsers, and wait for what these do in their own time.
DEPLOYMENTS = {
    "test_browser",
    "test_browser_admin",
    "test_deployment",
    "test_durability",
    "test_embedded",
    "test_examples",
    "test_moving_sites",
    "test_rolling_sites",
    "test_testproject",
    "test_topologies",
}
#: What such a test says when one of them has not come in time; never that something was wrong.
LATE = [
    "did not come about",
    "SessionStoreUnavailable",
    "SessionNotReplicated",
    "Timeout",
    "(Connect|Connection|Read|RemoteProtocol|BusyLoading)Error",
]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    topology = config.getoption("--topology")
    for item in items:
        needs_unix = item.get_closest_marker("unix") and topology != "unix"
        needs_socket = item.get_closest_marker("socket") and topology not in ("unix", "acl")
        if needs_unix or needs_socket or (item.get_closest_marker("one_slot") and topology == "cluster"):
            item.add_marker(pytest.mark.skip(reason=f"cannot be asked of {topology}"))
        if item.path.stem in DEPLOYMENTS:
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=LATE))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many processes ``-n auto`` is: three on two processors, for tests wait for two fifths of their time."""
    return min(6, (os.cpu_count() or 1) * 3 // 2)


def pytest_report_header(config: pytest.Config) -> str:
    server = find_server()
    version = ".".join(map(str, server.version))
    return f"server: {server.path} {version}, {config.getoption('--topology')}, redis-py {redis.__version__}"


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A deployment that all tests share; each uses a prefix of its own, nothing is flushed."""
    topology = request.config.getoption("--topology")
    started: Any
    if topology == "sentinel":
        started = SentinelService()
    elif topology == "cluster":
        started = Cluster()
    elif topology == "tls":
        if not has_tls():
            pytest.skip("this server program was built without TLS")
        started = TlsServer(tmp_path_factory.mktemp("tls"))
    elif topology == "acl":
        started = AclServer()
    else:
        started = RedisServer(port=free_port() if topology == "tcp" else 0)
        if topology == "resp3":
            started.options = {"protocol": 3}
    with started as running:
        # Whoever counts commands must not depend on what has run before.
        with running.client() as behind:
            load_scripts(behind)
        yield running


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """``LocaleMiddleware`` leaves the language of a request to whatever this thread does next."""
    yield
    translation.deactivate()


@pytest.fixture
def behind(server: Any) -> Iterator[redis.Redis]:
    """A client to look at the server behind the package's back."""
    with server.client() as client:
        yield client


@pytest.fixture
def prefix(behind: redis.Redis) -> Iterator[str]:
    """A prefix no other test uses. A key without a ttl that is left under it fails the test."""
    name = f"test{next(_numbers)}"
    yield name
    left = list(behind.scan_iter(f"{name}:*"))
    immortal = [key for key in left if behind.ttl(key) == -1]
    for key in left:
        behind.unlink(key)
    if len(left) > 100 and not isinstance(behind, redis.RedisCluster):
        # SCAN goes through the places of keys that are gone as well, which is a round trip more for whoever counts
        # them, until an old server has made its table smaller.
        behind.set(name, "so that there is something to go through", ex=60)
        until(lambda: behind.scan(0, count=100)[0] == 0)
        behind.unlink(name)
    assert not immortal, f"keys without a ttl: {immortal}"


@pytest.fixture
def permit(server: Any, request: pytest.FixtureRequest) -> Callable[[Settings], None]:
    """With the topology "acl": allow the package what ``acl`` prints for these settings, and nothing else."""
    has_command = request.node.get_closest_marker("operator") is not None
    listens = request.node.get_closest_marker("listener") is not None

    def set_up(configured: Settings) -> None:
        if isinstance(server, AclServer):
            server.permit(rights_for(configured, command=has_command, listens=listens))

    return set_up


@pytest.fixture
def configure(
    server: Any, prefix: str, settings: Any, permit: Callable[[Settings], None]
) -> Callable[..., Store]:
    """Set ``SESSION_REDIS`` for this test; gives the store that it amounts to."""

    def set_up(**given: Any) -> Store:
        here = {} if "URL" in given else {"URL": server.url, "OPTIONS": server.options}
        # On a busy machine a second may pass; who waits for an outage says how long.
        settings.SESSION_REDIS = {**here, "PREFIX": prefix, "TIMEOUT": 5, **given}
        permit(conf.store().settings)
        return conf.store()

    return set_up


@pytest.fixture
def known_scripts(behind: redis.Redis) -> None:
    """The server has run for a while."""
    load_scripts(behind)


@pytest.fixture
def store(configure: Callable[..., Store]) -> Store:
    """The store of a project that only says where Redis is."""
    return configure()


@pytest.fixture
def keys(prefix: str) -> Keys:
    return Keys(prefix)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """``interrupted(after, times)``: so many round trips fail, from one on; gives the list of pauses."""
    return partial(interrupt_blocking, monkeypatch)


@pytest.fixture
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas that do not come are waited for 50 ms only, however long the time-out is."""
    replicated = operations.replicated
    monkeypatch.setattr(
        operations, "replicated", lambda operation, replicas, patience_ms: replicated(operation, replicas, 50)
    )


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for the whole test."""
    with asyncio.Runner() as loop:
        yield loop


@pytest.fixture(params=["blocking", "awaited"])
def way(request: pytest.FixtureRequest) -> str:
    """Runs the test twice: once with the blocking methods, once with their twins."""
    return str(request.param)


@pytest.fixture
def perform(
    way: str, runner: asyncio.Runner, server: Any, prefix: str, permit: Callable[[Settings], None]
) -> Callable[..., Any]:
    """Performs an operation, blocking and awaited."""
    store = Settings(url=server.url, options=server.options, prefix=prefix, timeout=5)
    permit(store)
    connections = Store.of(store).connections

    async def awaited(operation: Any) -> Any:
        return await arun(connections.async_client(), operation)

    if way == "blocking":
        return lambda operation: run(connections.client(), operation)
    return lambda operation: runner.run(awaited(operation))


@pytest.fixture
def do(way: str, runner: asyncio.Runner) -> Callable[..., Any]:
    """Calls a method or function, or its twin: ``do(session.save, must_create=True)``."""

    def call(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if way == "blocking":
            return method(*args, **kwargs)
        owner = method.__self__ if inspect.ismethod(method) else sys.modules[method.__module__]
        twin = getattr(owner, "a" + method.__name__)

        async def awaited() -> Any:
            return await twin(*args, **kwargs)

        # As in a request, what was set around the call holds in it.
        return runner.run(awaited(), context=copy_context())

    return call


@pytest.fixture
def interrupt(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``with interrupt(by=rival, before=2) as race``: ``rival()`` acts before the second command from now on.

    The rival's own commands are not counted. ``race.happened`` tells whether it came to that.
    """
    return lambda by, before: Race(store, by, before, monkeypatch)
