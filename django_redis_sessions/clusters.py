"""Which node of a cluster does a command go to, and what if it has moved?

The rules are written once, as a generator that asks nodes and receives their replies; a blocking
and an awaiting client perform it. The slots are learnt from ``CLUSTER SLOTS`` and again whenever a
node says that it is not responsible, or does not answer.
"""

from __future__ import annotations

import asyncio
from binascii import crc_hqx
from collections.abc import Callable, Generator
from dataclasses import dataclass
from time import sleep
from typing import Any

import redis

from django_redis_sessions import faults
from django_redis_sessions.awaiting import AwaitingClient
from django_redis_sessions.blocking import BlockingClient
from django_redis_sessions.configuration import Settings, target_of
from django_redis_sessions.errors import SessionStoreError, SessionStoreUnavailable
from django_redis_sessions.operations import Command, Pause

Node = tuple[str, int]
SLOTS = 16384
#: So often a command may be sent somewhere else before it fails.
REDIRECTIONS = 8
_PAUSE = 0.02


def slot_of(key: str | bytes) -> int:
    """The slot of a key: CRC16 (XMODEM) of its hash tag, or of all of it.

    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
    """
    name = key.encode() if isinstance(key, str) else key
    start = name.find(b"{")
    if start >= 0:
        end = name.find(b"}", start + 1)
        if end > start + 1:
            name = name[start + 1 : end]
    return crc_hqx(name, 0) % SLOTS


def key_of(command: Command) -> str | bytes | None:
    """The key that decides where a command goes; None if any node will do."""
    if command[0] in ("EVALSHA", "EVAL"):
        return str(command[3]) if command[2] else None
    if command[0] in ("MEMORY", "OBJECT"):
        return _text(command[2])
    if len(command) < 2 or command[0] in (
        "SCAN",
        "INFO",
        "DBSIZE",
        "PING",
        "PUBLISH",
        "WAIT",
        "CLUSTER",
        "CONFIG",
        "ECHO",
    ):
        return None
    return _text(command[1])


def _text(argument: str | bytes | int) -> str | bytes:
    return argument if isinstance(argument, (str, bytes)) else str(argument)


@dataclass(frozen=True, slots=True)
class Ask:
    """Send these commands to a node in one round trip; the reply is a list of replies and errors of redis-py."""

    node: Node
    commands: list[Command]


Conversation = Generator[list[Ask] | Pause, Any, Any]


class Routing:
    """What is known of a cluster, and how commands find their way; no I/O."""

    def __init__(self, settings: Settings) -> None:
        target = target_of(settings.url)
        self._address = target.address
        self._seeds = list(target.hosts)
        self._slots: list[Node | None] = [None] * SLOTS
        self._is_stale = True

    def perform(self, commands: list[Command]) -> Conversation:
        """The replies to ``commands``, in order; errors of redis-py among them.

        A command without a key belongs to the one before it and goes wherever that one goes, on the
        same connection (WAIT, PUBLISH); a first one goes to any node.
        """
        replies: list[Any] = [None] * len(commands)
        pending = _units(commands)
        trouble: SessionStoreError | None = None
        for attempt in range(REDIRECTIONS):
            if self._is_stale:
                yield from self._learn()
            nodes = self._by_node(commands, pending)
            asks = [
                Ask(node, [commands[index] for unit in units for index in unit])
                for node, units in nodes.items()
            ]
            answers = yield asks
            pending, trouble = [], None
            for ask, units, answer in zip(asks, nodes.values(), answers, strict=True):
                if isinstance(answer, SessionStoreError):
                    trouble = answer
                    self._is_stale = True
                    pending += units
                    continue
                answered = iter(answer)
                for unit in units:
                    for index in unit:
                        replies[index] = next(answered)
                    if not (yield from self._is_settled(ask.node, commands, unit, replies)):
                        pending.append(unit)
            if not pending:
                return replies
            if trouble is not None and attempt:
                raise trouble
            yield Pause(_PAUSE)
        raise trouble or SessionStoreUnavailable(
            f"The cluster {self._address} sent the command from node to node {REDIRECTIONS} times. "
            f"Sessions cannot be read or written now.",
            address=self._address,
        )

    def masters(self) -> Conversation:
        """Every node that owns slots."""
        yield from self._learn()
        return sorted({node for node in self._slots if node is not None})

    def _is_settled(
        self, node: Node, commands: list[Command], unit: list[int], replies: list[Any]
    ) -> Conversation:
        """Whether a unit was answered by the node that is responsible for it; asks the one it is moving to."""
        reply = replies[unit[0]]
        if isinstance(reply, redis.exceptions.MovedError):
            self._slots[reply.slot_id] = (reply.host or node[0], reply.port)
            self._is_stale = True
            return False
        if isinstance(reply, redis.exceptions.AskError):
            there = Ask(
                (reply.host or node[0], reply.port), [("ASKING",), *(commands[index] for index in unit)]
            )
            (answer,) = yield [there]
            if isinstance(answer, SessionStoreError):
                return False
            for index, asked in zip(unit, answer[1:], strict=True):
                replies[index] = asked
            return True
        return not isinstance(reply, redis.exceptions.TryAgainError)

    def _by_node(self, commands: list[Command], units: list[list[int]]) -> dict[Node, list[list[int]]]:
        nodes: dict[Node, list[list[int]]] = {}
        for unit in units:
            key = key_of(commands[unit[0]])
            owner = None if key is None else self._slots[slot_of(key)]
            # A slot nobody serves: any node explains with CLUSTERDOWN.
            nodes.setdefault(owner or self._anybody(), []).append(unit)
        return nodes

    def _anybody(self) -> Node:
        return next((node for node in self._slots if node is not None), self._seeds[0])

    def _learn(self) -> Conversation:
        """Read the slots from the first node that answers."""
        candidates = list(dict.fromkeys([*self._seeds, *(node for node in set(self._slots) if node)]))
        trouble: SessionStoreError | None = None
        for node in candidates:
            (answer,) = yield [Ask(node, [("CLUSTER", "SLOTS")])]
            if isinstance(answer, SessionStoreError):
                trouble = answer
                continue
            (ranges,) = answer
            if isinstance(ranges, redis.RedisError):
                raise faults.translated(ranges, self._address, 0) from ranges
            self._slots = _read(ranges, node)
            self._is_stale = False
            return
        assert trouble is not None
        raise trouble


def _units(commands: list[Command]) -> list[list[int]]:
    units: list[list[int]] = []
    for index, command in enumerate(commands):
        if units and key_of(command) is None:
            units[-1].append(index)
        else:
            units.append([index])
    return units


def _read(ranges: list[Any], asked: Node) -> list[Node | None]:
    slots: list[Node | None] = [None] * SLOTS
    for first, last, (host, port, *_), *_ in ranges:
        # No name means: the one you reached me by.
        name = host.decode() if isinstance(host, bytes) else host
        slots[first : last + 1] = [(name or asked[0], int(port))] * (last + 1 - first)
    return slots


class BlockingCluster:
    """A cluster with the face of one server, for any number of threads."""

    def __init__(self, settings: Settings, connect: Callable[[Node], BlockingClient]) -> None:
        self.address = target_of(settings.url).address
        self._routing = Routing(settings)
        self._connect = connect
        self._clients: dict[Node, BlockingClient] = {}

    def execute(self, command: Command | list[Command]) -> Any:
        """As ``BlockingClient.execute()``; a list takes one round trip to each node that it concerns."""
        commands = command if isinstance(command, list) else [command]
        replies = [_ours(reply, self.address) for reply in self._run(self._routing.perform(commands))]
        return replies if isinstance(command, list) else _single(replies)

    def nodes(self) -> list[BlockingClient]:
        """A client for each master, to look through all keys."""
        return [self._client(node) for node in self._run(self._routing.masters())]

    def close(self) -> None:
        """Close every idle connection."""
        for client in list(self._clients.values()):
            client.close()

    def _client(self, node: Node) -> BlockingClient:
        try:
            return self._clients[node]
        except KeyError:
            return self._clients.setdefault(node, self._connect(node))

    def _run(self, conversation: Conversation) -> Any:
        try:
            step = conversation.send(None)
            while True:
                if isinstance(step, Pause):
                    sleep(step.seconds)
                    step = conversation.send(None)
                else:
                    step = conversation.send([self._ask(ask) for ask in step])
        except StopIteration as done:
            return done.value

    def _ask(self, ask: Ask) -> Any:
        client = self._client(ask.node)
        try:
            return client.exchange(ask.commands)
        except redis.RedisError as error:
            return client.translated(error)
        except SessionStoreError as error:
            return error


class AwaitingCluster:
    """Async twin of ``BlockingCluster``, for one event loop."""

    def __init__(self, settings: Settings, connect: Callable[[Node], AwaitingClient]) -> None:
        self.address = target_of(settings.url).address
        self._routing = Routing(settings)
        self._connect = connect
        self._clients: dict[Node, AwaitingClient] = {}

    async def execute(self, command: Command | list[Command]) -> Any:
        """Async twin of ``BlockingCluster.execute()``; nodes are asked side by side."""
        commands = command if isinstance(command, list) else [command]
        replies = [_ours(reply, self.address) for reply in await self._run(self._routing.perform(commands))]
        return replies if isinstance(command, list) else _single(replies)

    async def nodes(self) -> list[AwaitingClient]:
        """Async twin of ``BlockingCluster.nodes()``."""
        return [self._client(node) for node in await self._run(self._routing.masters())]

    async def aclose(self) -> None:
        """Close every idle connection."""
        for client in list(self._clients.values()):
            await client.aclose()

    def _client(self, node: Node) -> AwaitingClient:
        if node not in self._clients:
            self._clients[node] = self._connect(node)
        return self._clients[node]

    async def _run(self, conversation: Conversation) -> Any:
        try:
            step = conversation.send(None)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = conversation.send(None)
                elif len(step) == 1:
                    step = conversation.send([await self._ask(step[0])])
                else:
                    step = conversation.send(await asyncio.gather(*map(self._ask, step)))
        except StopIteration as done:
            return done.value

    async def _ask(self, ask: Ask) -> Any:
        client = self._client(ask.node)
        try:
            return await client.exchange(ask.commands)
        except redis.RedisError as error:
            return client.translated(error)
        except SessionStoreError as error:
            return error


def _single(replies: list[Any]) -> Any:
    if isinstance(replies[0], SessionStoreError):
        raise replies[0]
    return replies[0]


def _ours(reply: Any, address: str) -> Any:
    return faults.translated(reply, address, 0) if isinstance(reply, redis.RedisError) else reply
