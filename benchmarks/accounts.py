"""What has a server spent, by its own account?

Seconds of CPU, calls and bytes, as ``INFO`` counts them: whoever else is at work on the machine
hardly moves them, as he moves the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.traffic import RawConnection


@dataclass(frozen=True, slots=True)
class Calls:
    """How often a command was called, and the microseconds it took; a script's are with those of its caller too."""

    calls: int
    us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The counters of a server at some moment, or how much they grew between two."""

    #: Seconds of CPU, of the server itself and of the children that have written its files.
    cpu: float
    children_cpu: float
    commands: Mapping[str, Calls]
    #: Bytes for replicas, for one of them; and of the append-only file.
    replicated: int
    appended: int

    def calls_of(self, name: str) -> int:
        """How often a command was called."""
        return self.commands[name].calls if name in self.commands else 0

    def since(self, before: Account) -> Account:
        """What was spent between ``before`` and now."""
        commands = {}
        for name, now in self.commands.items():
            then = before.commands.get(name, Calls(0, 0))
            if now.calls > then.calls:
                commands[name] = Calls(now.calls - then.calls, now.us - then.us)
        return Account(
            cpu=self.cpu - before.cpu,
            children_cpu=self.children_cpu - before.children_cpu,
            commands=commands,
            replicated=self.replicated - before.replicated,
            appended=self.appended - before.appended,
        )


def account(connection: RawConnection) -> Account:
    """The counters now."""
    info = information(connection)
    return Account(
        cpu=float(info["used_cpu_user"]) + float(info["used_cpu_sys"]),
        children_cpu=float(info["used_cpu_user_children"]) + float(info["used_cpu_sys_children"]),
        commands=dict(calls_in(info)),
        replicated=int(info["master_repl_offset"]),
        appended=int(info.get("aof_current_size", 0)),
    )


def information(connection: RawConnection) -> dict[str, str]:
    """All that ``INFO`` says, by name."""
    text = connection.command("INFO", "all").decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def calls_in(info: Mapping[str, str]) -> list[tuple[str, Calls]]:
    """The command statistics among what ``INFO`` says."""
    found = []
    for name, text in info.items():
        if name.startswith("cmdstat_"):
            values = dict(part.split("=") for part in text.split(","))
            found.append((name.removeprefix("cmdstat_"), Calls(int(values["calls"]), int(values["usec"]))))
    return found
