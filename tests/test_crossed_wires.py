"""Cancelled, timed-out, interrupted and forked requests: every answer belongs to its own session.

STORM=10 in the environment makes ten times as many, as CI does: tens of thousands.
"""

import asyncio
import os
import random
import threading
import warnings

import pytest

from django_redis_sessions import wires
from django_redis_sessions.configuration import Settings
from django_redis_sessions.errors import SessionStoreUnavailable
from django_redis_sessions.executors import arun, run
from django_redis_sessions.operations import create, read
from django_redis_sessions.store import Store

SESSIONS = 50
STORM = int(os.environ.get("STORM", "1"))


@pytest.fixture
def stored(server, keys):
    """Sessions whose records say whose they are; the connections to read them by."""
    store = Store.of(Settings(url=server.url, timeout=5))
    for number in range(SESSIONS):
        run(store.connections.client(), create(keys, key_of(number), record_of(number), 600))
    return store.connections


def key_of(number):
    return f"session-number-{number:04d}"


def record_of(number):
    return f"belongs to {number} ".encode() * (1 + number % 7 * 200)


class TestRandomlyCancelledTasks:
    def test_never_cross_wires(self, stored, keys):
        generator = random.Random(20261121)
        answered = cancelled = 0

        async def request(number):
            record = await arun(stored.async_client(), read(keys, key_of(number)))
            assert record == record_of(number)

        async def storm():
            nonlocal answered, cancelled
            for _ in range(40 * STORM):
                tasks = [asyncio.create_task(request(generator.randrange(SESSIONS))) for _ in range(50)]
                for _ in range(generator.randrange(6)):
                    await asyncio.sleep(0)
                for task in tasks:
                    if generator.random() < 0.5:
                        task.cancel()
                for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                    if isinstance(outcome, asyncio.CancelledError):
                        cancelled += 1
                    else:
                        assert outcome is None
                        answered += 1

        asyncio.run(storm())
        assert answered + cancelled == 2000 * STORM
        assert min(answered, cancelled) > 100 * STORM


class TestRandomlyTimedOutTasks:
    def test_never_cross_wires(self, stored, keys):
        generator = random.Random(20261122)
        answered = timed_out = 0

        async def request(number):
            nonlocal answered, timed_out
            try:
                async with asyncio.timeout(generator.choice([0, 0.0001, 0.001, 1])):
                    record = await arun(stored.async_client(), read(keys, key_of(number)))
            except TimeoutError:
                timed_out += 1
            else:
                assert record == record_of(number)
                answered += 1

        async def storm():
            for _ in range(20 * STORM):
                await asyncio.gather(*[request(generator.randrange(SESSIONS)) for _ in range(50)])

        asyncio.run(storm())
        assert answered + timed_out == 1000 * STORM
        assert min(answered, timed_out) > 50 * STORM


class TestInterruptedThreads:
    class Interruption(BaseException):
        """What a worker that is told to stop, or a time limit by signal, raises anywhere."""

    def test_never_cross_wires(self, stored, keys, monkeypatch):
        """Every tenth reply is interrupted after it was asked for and before it was read."""
        reply = wires.Wire._reply
        generator = random.Random(20261123)
        interruption = self.Interruption

        def unreliable(wire):
            if generator.random() < 0.1:
                raise interruption
            return reply(wire)

        monkeypatch.setattr(wires.Wire, "_reply", unreliable)
        wrong, interrupted = [], []

        def work(own):
            chosen = random.Random(own)
            for _ in range(500 * STORM):
                number = chosen.randrange(SESSIONS)
                try:
                    record = run(stored.client(), read(keys, key_of(number)))
                except interruption:
                    interrupted.append(number)
                    continue
                if record != record_of(number):
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert len(interrupted) > 100 * STORM

    def test_that_time_out_never_read_a_late_answer(self, server, keys, stored):
        """The server answers after the caller has given up: the answer must not wait for the next caller."""
        hasty = Store.of(Settings(url=server.url, timeout=0.02, retries=0)).connections
        outcomes = {"answered": 0, "timed out": 0}
        for number in range(200):
            if number % 4 == 0:
                with pytest.raises(SessionStoreUnavailable):
                    # Two seconds' worth of blocking for somebody who waits 20 ms.
                    hasty.client().execute(("BLPOP", f"{keys.prefix}:nothing", 2))
                hasty.client()._route.breaker.answered()
                outcomes["timed out"] += 1
                continue
            try:
                record = run(hasty.client(), read(keys, key_of(number % SESSIONS)))
            except SessionStoreUnavailable:
                hasty.client()._route.breaker.answered()
                continue
            assert record == record_of(number % SESSIONS)
            outcomes["answered"] += 1
        assert outcomes["answered"] > 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
class TestAForkUnderLoad:
    def test_never_crosses_wires_between_the_processes(self, stored, keys):
        stop = threading.Event()
        wrong = []

        def load():
            while not stop.is_set():
                number = random.randrange(SESSIONS)
                if run(stored.client(), read(keys, key_of(number))) != record_of(number):
                    wrong.append(number)

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        verdicts = []
        try:
            for own in range(10):
                with warnings.catch_warnings():
                    # Python warns of fork beside threads; pre-forking servers do exactly that.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    child = os.fork()
                if child == 0:
                    verdict = 1
                    try:
                        generator = random.Random(own)
                        numbers = [generator.randrange(SESSIONS) for _ in range(300)]
                        verdict = 0
                        for number in numbers:
                            if run(stored.client(), read(keys, key_of(number))) != record_of(number):
                                verdict = 2
                    finally:
                        os._exit(verdict)
                verdicts.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert verdicts == [0] * 10
        assert not wrong
