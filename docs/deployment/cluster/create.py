"""Make one cluster of empty nodes: the first half become masters, the others a replica of each.

python create.py one:6379 two:6379 three:6379 four:6379 five:6379 six:6379

Name the nodes so that a master and its replica, three places later, are on different machines.
The password of the user `operator` is taken from the environment variable OPERATOR_PASSWORD.
"""

import os
import socket
import sys
import time
from collections.abc import Callable

import redis

SLOTS = 16_384


def main(addresses: list[str]) -> None:
    """Give out the slots, introduce the nodes to each other, and give each master its replica."""
    if len(addresses) < 6 or len(addresses) % 2:
        raise SystemExit(__doc__)
    nodes = [node_at(address) for address in addresses]
    half = len(nodes) // 2
    masters, replicas = nodes[:half], nodes[half:]

    for number, master in enumerate(masters):
        master.cluster("addslots", *range(SLOTS * number // half, SLOTS * (number + 1) // half))
        master.cluster("set-config-epoch", number + 1)

    host, _, port = addresses[0].rpartition(":")
    for node in nodes[1:]:
        node.cluster("meet", socket.gethostbyname(host), int(port))  # takes no host names
    wait_until(lambda: all(seen_by(node, "cluster_known_nodes") == str(len(nodes)) for node in nodes))

    for master, replica in zip(masters, replicas, strict=True):
        replica.cluster("replicate", master.cluster("myid"))
    # A node that knows a part of the others' slots calls that "ok" as well.
    wait_until(lambda: all(seen_by(node, "cluster_slots_ok") == str(SLOTS) for node in nodes))
    wait_until(lambda: all(seen_by(node, "cluster_state") == "ok" for node in nodes))
    wait_until(lambda: all(node.info("replication")["master_link_status"] == "up" for node in replicas))
    print(f"A cluster of {half} masters and {half} replicas.")


def node_at(address: str) -> redis.Redis:
    host, _, port = address.rpartition(":")
    password = os.environ["OPERATOR_PASSWORD"]
    return redis.Redis(host, int(port), username="operator", password=password, decode_responses=True)


def seen_by(node: redis.Redis, fact: str) -> str:
    return node.cluster("info")[fact]


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("The nodes do not find each other: is the bus port, 10000 higher, open to them?")
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1:])
