"""How is a sample of `docs/deployment` run here, with nothing changed but its addresses, paths and passwords?"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from django_redis_sessions.embedded import find_server
from tests.topologies import until

DEPLOYMENT = Path(__file__).resolve().parents[1] / "docs" / "deployment"
#: What every password of the samples begins with; the name of its user follows.
PLACEHOLDER = "password-of-"


def password_of(user: str) -> str:
    """What the placeholder of this user's password becomes here."""
    return f"secret/of:{user}"


def lay_out(sample: str, home: Path, replacements: Mapping[str, str]) -> Path:
    """Copy a sample to ``home``, with other passwords and these texts in place of those; gives ``home``.

    A text that stands in no file of the sample is an error: then the sample has changed, or the test is wrong.
    """
    home.mkdir(parents=True)
    missing = set(replacements)
    for original in (DEPLOYMENT / sample).iterdir():
        if original.is_dir():  # Python's cache
            continue
        text = re.sub(rf"{PLACEHOLDER}(\w+)", lambda found: password_of(found[1]), original.read_text())
        for old, new in replacements.items():
            if old in text:
                missing.discard(old)
            text = text.replace(old, new)
        copy = home / original.name
        copy.write_text(text)
        copy.chmod(original.stat().st_mode)
    assert not missing, f"not in {sample}: {missing}"
    return home


class ConfiguredServer:
    """One server process that knows nothing but its configuration file; a context manager."""

    def __init__(
        self, configuration: Path, *arguments: str, port: int, operator: str = "operator", **connection: Any
    ) -> None:
        self.port = port
        self._operator = operator
        self.home = configuration.parent
        self._command = [find_server().path, str(configuration), *arguments]
        self._log = configuration.with_suffix(".log")
        self._connection = connection
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start the process and wait until its operator can come in."""
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._log.parent
            )
        try:
            until(self.answers, seconds=15)
        except RuntimeError as error:
            self.kill()
            raise RuntimeError(self._log.read_text()) from error

    def kill(self) -> None:
        """End the process with no time to tidy up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def answers(self) -> bool:
        """Whether it does; raises what a client is told otherwise."""
        with self.client() as client:
            return bool(client.ping())

    def client(self, user: str | None = None, password: str | None = None) -> redis.Redis:
        """A connection as one of the users in the sample's files, or as whoever may do everything."""
        name = user or self._operator
        return redis.Redis(
            port=self.port, username=name, password=password or password_of(name),
            retry=None, protocol=2, decode_responses=True, **self._connection,
        )  # fmt: skip


def yaml(text: str) -> Any:
    """What a YAML file says, as far as the samples go: mappings, lists of scalars, and lists as in JSON.

    PyYAML is not needed for that; where it is installed, a test compares the two.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return _block(lines, 0)


def _block(lines: list[str], indent: int) -> Any:
    if lines and lines[0].lstrip().startswith("- "):
        return [_scalar(line.strip()[2:]) for line in lines]
    found = {}
    for head, body in _entries(lines, indent):
        name, _, value = head.strip().partition(":")
        found[name] = _block(body, _indent(body[0])) if body else _scalar(value.strip())
    return found


def _entries(lines: list[str], indent: int) -> Iterator[tuple[str, list[str]]]:
    starts = [number for number, line in enumerate(lines) if _indent(line) == indent]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield lines[start], lines[start + 1 : end]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _scalar(text: str) -> Any:
    if not text:
        return None
    return json.loads(text) if text[0] in '"[' or text.isdigit() else text
