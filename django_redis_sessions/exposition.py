"""What do the figures about all sessions look like to Prometheus?

The text format of version 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/), for
node_exporter's textfile collector for example. No session key and no handle is in it: names that come
and go would be new time series each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

#: {name: (type, help)} of all metrics.
METRICS = {
    "redis_sessions_stored": ("gauge", "Stored sessions by kind: logged_in, anonymous, unreadable."),
    "redis_sessions_without_ttl": ("gauge", "Sessions that would stay for ever."),
    "redis_sessions_memory_bytes": ("gauge", "Memory that the records take in Redis."),
    "redis_sessions_record_bytes": ("gauge", "Record size at a quantile; 1 is the largest."),
    "redis_sessions_remaining_life": ("gauge", "Sessions by how long they still live."),
    "redis_sessions_codec": ("gauge", "Sessions by what their records say of themselves."),
    "redis_sessions_is_sample": ("gauge", "1 if the figures above are of some sessions only."),
    "redis_sessions_server_info": ("gauge", "Always 1; the server's name, version and eviction policy."),
    "redis_sessions_server_masters": ("gauge", "Servers that hold sessions."),
    "redis_sessions_server_memory_bytes": ("gauge", "Memory that the servers use for everything."),
    "redis_sessions_server_memory_limit_bytes": ("gauge", "Their limit; 0 is none."),
    "redis_sessions_server_commands_total": ("counter", "Commands since the servers were started."),
    "redis_sessions_server_evicted_total": ("counter", "Keys of any kind that were evicted since then."),
    "redis_sessions_server_expired_total": ("counter", "Keys of any kind that have expired since then."),
    "redis_sessions_server_replicas": ("gauge", "Replicas by state: online, other."),
    "redis_sessions_server_replica_lag_seconds": ("gauge", "Since the slowest replica was heard."),
    "redis_sessions_server_aof_enabled": ("gauge", "1 if every master appends to a file."),
    "redis_sessions_server_persistence_ok": ("gauge", "0 if a write to a disk has failed."),
    "redis_sessions_server_last_save_timestamp_seconds": ("gauge", "When the oldest snapshot was made."),
    "redis_sessions_server_changes_since_save": ("gauge", "Changes since the last snapshots."),
}

# A value with its labels.
_Sample = tuple[str, dict[str, Any], Any]


def exposition(found: dict[str, Any]) -> str:
    """The figures of ``Statistics.as_dict()`` as text; what is not known is left out."""
    lines: list[str] = []
    for name, labels, value in _samples(found):
        if value is None:
            continue
        kind, text = METRICS[name]
        header = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        lines += [] if header[1] in lines else header
        said = ",".join(f'{label}="{_escaped(str(each))}"' for label, each in labels.items())
        lines.append(f"{name}{{{said}}} {_number(value)}" if said else f"{name} {_number(value)}")
    return "\n".join(lines)


def _samples(found: dict[str, Any]) -> Iterator[_Sample]:
    for kind in ("logged_in", "anonymous", "unreadable"):
        yield "redis_sessions_stored", {"kind": kind}, found[kind]
    yield "redis_sessions_without_ttl", {}, found["without_ttl"]
    yield "redis_sessions_memory_bytes", {}, found["memory"] if found["memory_measured"] else None
    for quantile, name in (("0.5", "p50"), ("0.95", "p95"), ("1", "max")):
        yield "redis_sessions_record_bytes", {"quantile": quantile}, found["size"][name]
    for life, count in found["time_to_live"].items():
        yield "redis_sessions_remaining_life", {"life": life}, count
    for codec in found["codecs"]:
        labels = {name: value for name, value in codec.items() if name != "sessions"}
        yield "redis_sessions_codec", labels, codec["sessions"]
    yield "redis_sessions_is_sample", {}, found["sampled"]
    yield from _of_server(found["server"])


def _of_server(server: dict[str, Any]) -> Iterable[_Sample]:
    names = {name: server[name] for name in ("server", "version", "eviction_policy")}
    yield "redis_sessions_server_info", names, 1
    yield "redis_sessions_server_masters", {}, server["masters"]
    yield "redis_sessions_server_memory_bytes", {}, server["used_memory"]
    yield "redis_sessions_server_memory_limit_bytes", {}, server["maxmemory"]
    for name in ("commands", "evicted", "expired"):
        yield f"redis_sessions_server_{name}_total", {}, server[name]
    replication, persistence = server["replication"], server["persistence"]
    online = replication["online"]
    yield "redis_sessions_server_replicas", {"state": "online"}, online
    yield "redis_sessions_server_replicas", {"state": "other"}, replication["replicas"] - online
    yield "redis_sessions_server_replica_lag_seconds", {}, replication["lag"]
    yield "redis_sessions_server_aof_enabled", {}, persistence["aof"]
    yield "redis_sessions_server_persistence_ok", {}, persistence["ok"]
    yield "redis_sessions_server_last_save_timestamp_seconds", {}, persistence["last_save"]
    yield "redis_sessions_server_changes_since_save", {}, persistence["changes_since_save"]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: Any) -> str:
    return str(int(value))
