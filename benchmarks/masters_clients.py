"""Who asks the masters?

``python -m benchmarks.masters_clients`` is one of several processes. It reads a ``Job`` as JSON, says
``ready`` when it has prepared it, does it when it reads another line, and tells what came of it.

A job is done in one of two ways. "store" does what a request does: one session after the other is
loaded, or loaded and saved, by the session store. That costs a client several times the CPU that it
costs a server. "prepared" sends the bytes that the session store would send, which were packed
beforehand, many at a time, and only counts the bytes of the replies: so one client can keep
several servers busy.
"""

from __future__ import annotations

import gc
import json
import random
import selectors
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from time import perf_counter, process_time

import hiredis

from benchmarks.sizing_servers import sessions_at
from benchmarks.traffic import packed
from django_redis_sessions import conf, operations
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.clusters import SLOTS, slot_of
from django_redis_sessions.keys import digest
from django_redis_sessions.records import revision_of

#: Operations that are sent in one piece, and pieces for each master that are on their way at a time.
PIECE, PIECES = 50, 2


@dataclass(frozen=True, slots=True)
class Job:
    """Do one operation on random ones of these sessions for some seconds, on a cluster whose masters have these
    ports and equal shares of the slots, in their order."""

    way: str
    operation: str
    url: str
    ports: Sequence[int]
    session_keys: Sequence[str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """Operations, the seconds they took, and this process's CPU."""

    operations: int
    seconds: float
    cpu: float


def prepared(job: Job) -> Callable[[], Done]:
    """What does the job, when all that may come before is done; sessions have to be on its cluster."""
    return {"store": _by_the_store, "prepared": _by_lines}[job.way](job)


def _by_the_store(job: Job) -> Callable[[], Done]:
    dice = random.Random()

    def load() -> None:
        SessionStore(dice.choice(job.session_keys)).load()

    def load_and_save() -> None:
        session = SessionStore(dice.choice(job.session_keys))
        session["visits"] = dice.random()
        session.save()

    operate = load_and_save if job.operation == "load + save" else load
    # For the connections: with so many sessions, each master is met.
    for _ in range(20 * len(job.ports)):
        operate()

    def perform() -> Done:
        done, cpu, start = 0, process_time(), perf_counter()
        while (seconds := perf_counter() - start) < job.seconds:
            operate()
            done += 1
        return Done(done, seconds, process_time() - cpu)

    return perform


def _by_lines(job: Job) -> Callable[[], Done]:
    lines: list[Line] = []
    for number, port in enumerate(job.ports):
        owned = [key for key in job.session_keys if _master_of(key, len(job.ports)) == number]
        # Each line has sessions of its own, so that its saves find what it has saved before.
        lines += [Line(port, job.operation, owned[at::PIECES]) for at in range(PIECES)]

    def perform() -> Done:
        with selectors.DefaultSelector() as selector:
            for line in lines:
                selector.register(line.socket, selectors.EVENT_READ, line)
            done, cpu, start = 0, process_time(), perf_counter()
            for line in lines:
                line.send()
            while selector.get_map():
                for ready, _ in selector.select():
                    if not ready.data.is_answered():
                        continue
                    done += PIECE
                    if perf_counter() - start < job.seconds:
                        ready.data.send()
                    else:
                        selector.unregister(ready.fileobj)
            seconds, spent = perf_counter() - start, process_time() - cpu
        for line in lines:
            line.socket.close()
        return Done(done, seconds, spent)

    return perform


class Line:
    """A connection to one master and the pieces that are sent over it, again and again."""

    def __init__(self, port: int, operation: str, session_keys: Sequence[str]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pieces = []
        for at in range(0, len(session_keys) - PIECE + 1, PIECE):
            turns = [_turns(operation, key) for key in session_keys[at : at + PIECE]]
            for turn in zip(*turns, strict=True):
                commands = [command for said in turn for command in said]
                piece = b"".join(map(packed, commands))
                pieces.append((piece, self._length_of_replies(piece, len(commands))))
        if not pieces:
            raise RuntimeError("There are too few sessions.")
        self._pieces = cycle(pieces)
        self._missing = 0

    def send(self) -> None:
        """Send the next piece."""
        piece, self._missing = next(self._pieces)
        self.socket.sendall(piece)

    def is_answered(self) -> bool:
        """Whether all replies to the piece have come, after more of them were read."""
        self._missing -= len(self.socket.recv(262_144))
        if self._missing < 0:
            raise RuntimeError("A master has answered something else than before.")
        return self._missing == 0

    def _length_of_replies(self, piece: bytes, commands: int) -> int:
        """Send the piece once, see that everything was found and done, and how long the replies are."""
        reader, length = hiredis.Reader(), 0
        self.socket.sendall(piece)
        while commands:
            received = self.socket.recv(262_144)
            length += len(received)
            reader.feed(received)
            while (reply := reader.gets()) is not False:
                commands -= 1
                if reply is None or isinstance(reply, Exception) or reply == 0:
                    raise RuntimeError(f"A master answered {reply!r}.")
        return length


def _turns(operation: str, session_key: str) -> list[list[tuple[str | bytes | int, ...]]]:
    """What the session store says; when it saves, first another record of the same session, then the old one."""
    store = conf.store()
    get = ("GET", store.keys.record(session_key))
    if operation == "load":
        return [[get]]
    stored = store.connections.client().execute(get)
    header, payload = store.codec.open(stored, digest(session_key))
    other = store.codec.seal(payload, header, digest(session_key))
    turns = []
    for before, after in ((stored, other), (other, stored)):
        saving = next(operations.save(store.keys, session_key, revision_of(before), after, header))
        assert isinstance(saving, tuple)
        turns.append([get, saving])
    return turns


def _master_of(session_key: str, masters: int) -> int:
    slot = slot_of(conf.store().keys.record(session_key))
    return next(at for at in range(masters) if slot < (at + 1) * SLOTS // masters)


def main() -> None:
    import django

    django.setup()
    gc.disable()
    for line in sys.stdin:
        job = Job(**json.loads(line))
        with sessions_at(job.url):
            perform = prepared(job)
            print("ready", flush=True)
            sys.stdin.readline()
            print(json.dumps(asdict(perform())), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
