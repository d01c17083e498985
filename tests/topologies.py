"""Sentinel services and clusters of real servers on loopback, started and stopped by the tests."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

import redis
from redis.cluster import ClusterNode, RedisCluster

from django_redis_sessions.embedded import find_server
from django_redis_sessions.errors import SessionStoreError
from tests.servers import RedisServer, free_port

QUICK = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
PASSWORD = "of the sentinels"

#: Milliseconds of silence after which a server is taken for dead: more than a busy machine makes of it, and what
#: suits a test that kills one.
PATIENT, IMPATIENT = 15_000, 1_000


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait for a condition that other processes bring about."""
    deadline = monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (
            redis.RedisError,
            redis.exceptions.RedisClusterException,
            SessionStoreError,
            OSError,
            KeyError,
        ):
            pass
        if monotonic() > deadline:
            raise RuntimeError("That did not come about.")
        sleep(0.02)


class Group:
    """Several servers that start and stop together."""

    #: What ``OPTIONS`` need to reach them.
    options: dict[str, object] = {}

    def __init__(self, *options: str, number: int) -> None:
        self._stack = ExitStack()
        self.servers = [RedisServer(*options, port=free_port()) for _ in range(number)]

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                self._stack.enter_context(server)
            self.join()
        except BaseException:
            self._stack.close()
            for server in self.servers:  # also those that were not started any more
                server.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def join(self) -> None:
        """Make one deployment of the servers."""

    def at(self, port: int) -> RedisServer:
        """The server that listens there."""
        return next(server for server in self.servers if server.port == port)


class SentinelService(Group):
    """One primary, three replicas (so that two may die), three sentinels that want a password of their own."""

    def __init__(self, *, silence_ms: int = PATIENT) -> None:
        self._silence_ms = silence_ms
        super().__init__(*QUICK, number=4)

    def join(self) -> None:
        primary, *replicas = self.servers
        for replica in replicas:
            with replica.client() as client:
                client.execute_command("REPLICAOF", "127.0.0.1", primary.port)
        with primary.client() as client:
            until(lambda: client.info("replication")["connected_slaves"] == 3)
        self.sentinels = [_Sentinel(primary.port, self._silence_ms) for _ in range(3)]
        for sentinel in self.sentinels:
            self._stack.enter_context(sentinel)
        until(lambda: all(sentinel.sees_all() for sentinel in self.sentinels))

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/sessions/0?sentinel_password={PASSWORD.replace(' ', '%20')}"

    def primary(self) -> RedisServer:
        """Whom the first sentinel takes for the primary."""
        with self.sentinels[0].client() as client:
            return self.at(int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "sessions")[1]))

    def is_in_sync(self) -> bool:
        """Whether every server that lives follows the primary and has what it has."""
        living = [server for server in self.servers if server.process is not None]
        with self.client() as client:
            info = client.info("replication")
        replicas = [value for name, value in info.items() if re.fullmatch(r"slave\d+", name)]
        return (
            info["role"] == "master"
            and len(replicas) == len(living) - 1
            and all(
                replica["state"] == "online" and replica["offset"] == info["master_repl_offset"]
                for replica in replicas
            )
        )

    def client(self, **options: Any) -> redis.Redis:
        return self.primary().client(**options)


class _Sentinel:
    """One sentinel process; a context manager."""

    def __init__(self, primary: int, silence_ms: int) -> None:
        self.port = free_port()
        self._primary = primary
        self._silence_ms = silence_ms

    def __enter__(self) -> Self:
        self._home = RedisServer()
        directory = self._home.directory
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {directory}",
            f"requirepass {PASSWORD.join(chr(34) * 2)}",
            f"sentinel sentinel-pass {PASSWORD.join(chr(34) * 2)}",
            f"sentinel monitor sessions 127.0.0.1 {self._primary} 2",
            f"sentinel down-after-milliseconds sessions {self._silence_ms}",
            "sentinel failover-timeout sessions 3000",
        ]
        (directory / "sentinel.conf").write_text("\n".join(lines) + "\n")
        with open(directory / "log", "wb") as log:
            self.process = subprocess.Popen(
                [find_server().path, str(directory / "sentinel.conf"), "--sentinel"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._home.__exit__(None, None, None)

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=PASSWORD, retry=None, protocol=2, decode_responses=True)

    def sees_all(self) -> bool:
        with self.client() as client:
            reply = client.execute_command("SENTINEL", "MASTERS")
        (found,) = reply.values() if isinstance(reply, dict) else [_pairs(row) for row in reply]
        return int(found["num-slaves"]) == 3 and int(found["num-other-sentinels"]) == 2


def _pairs(row: Any) -> dict[str, Any]:
    return row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True))


class Cluster(Group):
    """Three masters, or as many as are asked for, with a replica each unless nobody needs one."""

    def __init__(self, *, masters: int = 3, are_replicated: bool = True, silence_ms: int = PATIENT) -> None:
        self._masters = masters
        self._silence_ms = silence_ms
        super().__init__(
            *QUICK, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
            "--cluster-node-timeout", str(IMPATIENT), "--cluster-require-full-coverage", "no",
            number=masters * (1 + are_replicated),
        )  # fmt: skip

    def join(self) -> None:
        masters, replicas = self.servers[: self._masters], self.servers[self._masters :]
        for number, master in enumerate(masters):
            slots = range(number * 16384 // len(masters), (number + 1) * 16384 // len(masters))
            with master.client() as client:
                for at in range(0, len(slots), 2000):
                    client.execute_command("CLUSTER", "ADDSLOTS", *slots[at : at + 2000])
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in self.servers[1:]:
            with server.client() as client:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.servers[0].port)
        known = str(len(self.servers))
        until(lambda: all(self._info(server)["cluster_known_nodes"] == known for server in self.servers))
        # Without replicas there is nobody to introduce.
        for master, replica in zip(masters, replicas, strict=bool(replicas)):
            with master.client(decode_responses=True) as client:
                name = client.execute_command("CLUSTER", "MYID")
            with replica.client() as client:
                until(lambda name=name, client=client: client.execute_command("CLUSTER", "REPLICATE", name))
        # A node that knows a part of the others' slots calls that "ok" as well.
        until(lambda: all(self._info(server)["cluster_slots_ok"] == "16384" for server in self.servers))
        until(lambda: all(self._info(server)["cluster_state"] == "ok" for server in self.servers))
        until(lambda: all(self.is_in_sync(replica) for replica in replicas))
        self._wait_until_heard()
        for server in self.servers:
            with server.client() as client:
                client.config_set("cluster-node-timeout", self._silence_ms)

    def _wait_until_heard(self) -> None:
        """What is published on a node is lost on its way to one that it has met only just now."""
        with ExitStack() as stack:
            clients = [stack.enter_context(server.client()) for server in self.servers]
            heard: dict[Any, set[bytes]] = {}
            for client in clients:
                listener = stack.enter_context(client.pubsub(ignore_subscribe_messages=True))
                listener.subscribe("who is heard")
                heard[listener] = set()

            def all_are_heard() -> bool:
                for number, client in enumerate(clients):
                    client.publish("who is heard", number)
                for listener, whom in heard.items():
                    while message := listener.get_message():
                        whom.add(message["data"])
                return all(len(whom) == len(clients) for whom in heard.values())

            until(all_are_heard)

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:2])

    def client(self, **options: Any) -> RedisCluster:
        living = [server for server in self.servers if server.process is not None]
        nodes = [ClusterNode("127.0.0.1", server.port) for server in living]
        return RedisCluster(startup_nodes=nodes, protocol=2, **options)

    def master_of(self, key: str) -> RedisServer:
        """The server that owns the key's slot."""
        with self.client() as client:
            return self.at(client.get_node_from_key(key).port)

    @staticmethod
    def _info(server: RedisServer) -> dict[str, str]:
        with server.client(decode_responses=True) as client:
            reply = client.execute_command("CLUSTER", "INFO")
        return reply if isinstance(reply, dict) else dict(line.split(":") for line in reply.split())

    @staticmethod
    def is_in_sync(replica: RedisServer) -> bool:
        with replica.client() as client:
            return client.info("replication").get("master_link_status") == "up"


def has_tls() -> bool:
    """Whether the server program was built with TLS: then it looks for the certificate it is told to use."""
    arguments = ["--port", "0", "--tls-port", str(free_port())]
    for name in ("cert", "key", "ca-cert"):
        arguments += [f"--tls-{name}-file", "/nowhere"]
    asked = subprocess.run(
        [find_server().path, *arguments], check=False, capture_output=True, text=True, timeout=10
    )
    return "Failed to load certificate" in asked.stdout


class TlsServer(RedisServer):
    """A server that speaks TLS alone, to clients with a certificate, as a user with a password."""

    def __init__(self, directory: Path) -> None:
        import trustme

        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(directory / "ca.pem"))
        for name in ("server", "client"):
            issued = authority.issue_cert("localhost", "127.0.0.1")
            issued.private_key_and_cert_chain_pem.write_to_path(str(directory / f"{name}.pem"))
        self.certificates = directory
        self.tls_port = free_port()
        super().__init__(
            "--tls-port", str(self.tls_port), "--tls-cert-file", str(directory / "server.pem"),
            "--tls-key-file", str(directory / "server.pem"), "--tls-ca-cert-file", str(directory / "ca.pem"),
            "--tls-auth-clients", "yes",
        )  # fmt: skip

    @property
    def url(self) -> str:
        return f"rediss://localhost:{self.tls_port}/0"

    @property
    def options(self) -> dict[str, object]:  # type: ignore[override]
        """What ``OPTIONS`` need to reach it."""
        place = str(self.certificates) + os.sep
        return {
            "ssl_ca_certs": f"{place}ca.pem",
            "ssl_certfile": f"{place}client.pem",
            "ssl_keyfile": f"{place}client.pem",
        }
