"""The samples of `docs/deployment` do what they are there for: real servers are started from their files."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import redis
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import User
from django.test import Client

from django_redis_sessions import conf, revocations, sessions
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.configuration import problems, settings_from
from django_redis_sessions.errors import SessionStoreUnavailable
from django_redis_sessions.keys import digest
from django_redis_sessions.rights import rights_for
from tests.samples import DEPLOYMENT, PLACEHOLDER, ConfiguredServer, lay_out, password_of, yaml
from tests.servers import free_port
from tests.sites import SECONDS, Site, wait_until_nothing_is_left
from tests.test_documentation import every, page, section
from tests.test_durability import wait_for_the_file
from tests.test_watches import run, saved
from tests.topologies import has_tls, until
from tests.visitors import Visitor

__all__ = ["run"]  # a fixture

#: What a server with sessions is started from; the others are for those that store nothing, or include one.
DATABASES = ("compose/redis.conf", "sentinel/redis.conf", "cluster/node.conf", "tls/redis.conf")
SAMPLES = ("compose", "sentinel", "cluster", "tls")


def names_in(fragment: Path) -> dict[str, Any]:
    """What a file of settings defines."""
    names: dict[str, Any] = {}
    exec(compile(fragment.read_text(), fragment, "exec"), names)  # noqa: S102 - our own sample
    return names


def printed_rights(sample: str) -> list[str]:
    """What ``acl --command --watch`` prints for the settings of a sample, as words."""
    settings = settings_from(names_in(DEPLOYMENT / sample / "settings.py")["SESSION_REDIS"])
    rights = rights_for(settings, command=True, listens=True)
    return [word for rule in rights.rules("django", f"{PLACEHOLDER}django") for word in rule.split()[3:]]


def users_of(sample: str) -> dict[str, list[str]]:
    """``{name: rules}`` of the ACL file of a sample."""
    lines = (DEPLOYMENT / sample / "users.acl").read_text().splitlines()
    assert all(line.startswith("user ") for line in lines), "servers know no comments here"
    return {line.split()[1]: line.split()[2:] for line in lines}


@pytest.fixture
def take_settings(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Gives this project the settings in a file, as if it ended with them."""
    monkeypatch.setenv("SESSION_REDIS_PASSWORD", password_of("django"))

    def take(fragment: Path) -> None:
        names = names_in(fragment)
        assert problems(names["SESSION_REDIS"]) == []
        settings.SESSION_ENGINE = names["SESSION_ENGINE"]
        settings.SESSION_REDIS = names["SESSION_REDIS"]
        conf.store()  # what is wrong is said here

    return take


@pytest.fixture
def use_the_site(db: None, run: Callable[..., Any]) -> Callable[[], Client]:
    """What a site does in its life, with the rights it has; gives a visitor who is signed in."""

    def use() -> Client:
        User.objects.create_user("alice", password="wonderland")
        visitor = Client()
        visitor.get("/write/?cart=full")
        assert visitor.get("/read/").json() == {"cart": "full"}
        visitor.get("/sign-in/")
        assert visitor.get("/who/").content == b"alice"
        assert visitor.get("/read/").json()["cart"] == "full"

        other = Client()
        other.get("/sign-in/")
        (user_id,) = User.objects.values_list("pk", flat=True)
        kept = SessionStore(visitor.cookies["sessionid"].value)
        assert len(sessions.of_user(str(user_id))) == 2
        assert sessions.revoke_user(str(user_id), keep=kept) == 1
        assert other.get("/who/").content == b""
        assert sessions.statistics().census.sessions == 1
        other.get("/sign-in/")
        other.get("/sign-out/")

        async def watch() -> None:
            session = SessionStore()
            session["a"] = 1
            await session.acreate()
            async with revocations.watching(session) as watched:
                await sessions.arevoke(watched.handle)
                assert await watched.ended() == "revoked"

        run(watch())
        return visitor

    return use


def promises_of_the_server(client: redis.Redis) -> dict[str, str]:
    names = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
    return {name: client.config_get(name)[name] for name in names}


class TestTheFiles:
    def test_are_all_shown_on_the_page(self):
        shown = every(r"^```\{literalinclude\} deployment/(.+)$", page("deployment.md"))
        there = {
            path.relative_to(DEPLOYMENT).as_posix()
            for path in DEPLOYMENT.rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }
        assert sorted(shown) == sorted(there)

    @pytest.mark.parametrize("sample", SAMPLES)
    def test_give_the_site_the_printed_rights_and_no_other(self, sample, monkeypatch):
        monkeypatch.setenv("SESSION_REDIS_PASSWORD", password_of("django"))
        assert users_of(sample)["django"] == printed_rights(sample)

    @pytest.mark.parametrize("sample", SAMPLES)
    def test_let_nobody_in_without_a_name_and_load_what_is_stored(self, sample):
        """Redis performs the transactions in the append-only file as this user, and skips what it may not do."""
        assert users_of(sample)["default"] == ["off", "resetpass", "~*", "&*", "+@all"]

    @pytest.mark.parametrize("path", DATABASES)
    def test_lose_no_session_to_eviction_or_a_restart(self, path):
        lines = set((DEPLOYMENT / path).read_text().splitlines())
        assert {"appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"} <= lines
        assert {"aclfile /etc/redis/users.acl"} <= lines


class TestTheComposeFile:
    @pytest.fixture
    def compose(self) -> Any:
        return yaml((DEPLOYMENT / "compose/compose.yaml").read_text())

    @pytest.fixture
    def mounted(self, compose, tmp_path) -> Iterator[ConfiguredServer]:
        """The server as the file has it: its command, with the volumes where they would be mounted."""
        service, home, port = compose["services"]["sessions"], tmp_path / "mounted", free_port()
        (tmp_path / "sessions").mkdir()
        places = {}
        for volume in service["volumes"]:
            source, target, *mode = volume.split(":")
            is_file = source.startswith("./")
            assert mode == (["ro"] if is_file else [])
            assert is_file or source in compose["volumes"]
            places[target] = home / source if is_file else tmp_path / source
        program, configuration = service["command"]
        assert program == "valkey-server"
        read = places.pop(configuration)
        inside = {f" {target}\n": f" {place}\n" for target, place in places.items()}
        addresses = {"port 6379": f"port {port}", "sessions:6379": f"127.0.0.1:{port}"}
        lay_out("compose", home, inside | addresses)
        with ConfiguredServer(read, port=port) as server:
            yield server

    def test_is_read_here_as_yaml_is(self, compose):
        pyyaml = pytest.importorskip("yaml")
        assert pyyaml.safe_load((DEPLOYMENT / "compose/compose.yaml").read_text()) == compose

    def test_gives_the_site_what_its_settings_ask_for(self, compose):
        web, settings = compose["services"]["web"], (DEPLOYMENT / "compose/settings.py").read_text()
        assert set(every(r'os\.environ\["(\w+)"\]', settings)) == set(web["environment"])
        assert every(r"redis://(\w+):6379", settings) == list(web["depends_on"])
        assert web["depends_on"]["sessions"]["condition"] == "service_healthy"
        assert "ports" not in compose["services"]["sessions"]

    def test_starts_a_server_for_the_settings_beside_it(self, mounted, take_settings, use_the_site):
        take_settings(mounted.home / "settings.py")
        visitor = use_the_site()
        wait_for_the_file(mounted)
        mounted.kill()
        mounted.start()
        until(lambda: visitor.get("/who/").content == b"alice")
        with mounted.client() as operator:
            # Protected mode would refuse whoever is not on this machine.
            assert "nopass" not in operator.acl_getuser("default")["flags"]
            assert promises_of_the_server(operator) == {
                "appendonly": "yes",
                "appendfsync": "everysec",
                "maxmemory": str(256 * 2**20),
                "maxmemory-policy": "noeviction",
            }

    def test_has_a_user_that_learns_its_health_and_nothing_else(self, mounted):
        with mounted.client("health", "any") as health:
            assert health.ping()
            with pytest.raises(redis.exceptions.NoPermissionError):
                health.get("session:r:any")
        nobody = redis.Redis(port=mounted.port, protocol=2, retry=None)
        with nobody, pytest.raises(redis.AuthenticationError):
            nobody.ping()

    @pytest.mark.skipif(not shutil.which("redis-cli"), reason="there is no redis-cli to ask with")
    def test_asks_for_its_health_in_a_way_that_can_fail(self, compose, mounted):
        kind, line = compose["services"]["sessions"]["healthcheck"]["test"]
        assert kind == "CMD-SHELL"
        assert line.startswith("valkey-cli ")
        asked = line.replace("valkey-cli", f"redis-cli -p {mounted.port}")
        assert subprocess.run(["sh", "-c", asked], timeout=SECONDS).returncode == 0
        mounted.kill()
        done = subprocess.run(["sh", "-c", asked], timeout=SECONDS, capture_output=True)
        assert done.returncode == 1


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., ConfiguredServer]]:
    """Starts one of several servers of a sample, in a directory of its own."""
    with ExitStack() as stack:

        def start(
            path: str, number: int, port: int, hosts: Mapping[str, str], *arguments: str, **options: Any
        ) -> ConfiguredServer:
            sample, file = path.split("/")
            home = tmp_path / f"{file}{number}"
            places = dict.fromkeys(("/etc/redis", "/var/lib/redis"), str(home))
            usual = "26379" if arguments else "6379"
            lay_out(sample, home, {**hosts, **places, f"\nport {usual}": f"\nport {port}"})
            return stack.enter_context(ConfiguredServer(home / file, *arguments, port=port, **options))

        yield start


class TestTheSentinels:
    def test_lead_to_whichever_server_is_the_primary(self, started, take_settings, use_the_site):
        ports, watching = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
        hosts = {
            f"{host}.example.com:26379": f"127.0.0.1:{port}"
            for host, port in zip(("one", "two", "three"), watching, strict=True)
        } | {"one.example.com 6379": f"127.0.0.1 {ports[0]}"}
        first = started("sentinel/redis.conf", 0, ports[0], hosts)
        servers = [
            first,
            *(started("sentinel/replica.conf", number, ports[number], hosts) for number in (1, 2)),
        ]
        with first.client() as primary:
            until(lambda: primary.info("replication")["min_slaves_good_slaves"] == 2)
        sentinels = [
            started("sentinel/sentinel.conf", number, port, hosts, "--sentinel", operator="sentinel")
            for number, port in enumerate(watching)
        ]
        with sentinels[0].client() as sentinel:
            until(lambda: sees(sentinel, "num-slaves") == "2")
            until(lambda: sees(sentinel, "num-other-sentinels") == "2")

            take_settings(first.home / "settings.py")
            visitor = use_the_site()
            for server in servers:
                with server.client() as client:
                    assert promises_of_the_server(client)["maxmemory-policy"] == "noeviction"

            # Until the sentinel has heard from the replicas themselves, it finds none of them good enough.
            until(lambda: sentinel.execute_command("SENTINEL", "FAILOVER", "mymaster"))
            until(lambda: int(primary_of(sentinel)) != first.port)
        with first.client() as replica:
            until(lambda: replica.info("replication")["role"] == "slave")
            until(lambda: replica.info("replication")["master_link_status"] == "up")
        until(lambda: visitor.get("/who/").content == b"alice")
        until(lambda: visitor.get("/sign-out/").content == b"signed out")


def sees(sentinel: redis.Redis, fact: str) -> str:
    reply = sentinel.execute_command("SENTINEL", "MASTER", "mymaster")
    found = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
    return str(found[fact])


def primary_of(sentinel: redis.Redis) -> str:
    return sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")[1]


class TestTheCluster:
    def test_is_made_of_six_nodes_and_used(self, started, take_settings, use_the_site):
        ports = [free_port() for _ in range(6)]
        hosts = {
            f"{host}.example.com:6379": f"127.0.0.1:{port}"
            for host, port in zip(("one", "two", "three"), ports[:3], strict=True)
        }
        nodes = [started("cluster/node.conf", number, port, hosts) for number, port in enumerate(ports)]
        done = subprocess.run(
            [sys.executable, nodes[0].home / "create.py", *(f"localhost:{port}" for port in ports)],
            env={**os.environ, "OPERATOR_PASSWORD": password_of("operator")},
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "A cluster of 3 masters and 3 replicas.\n"

        take_settings(nodes[0].home / "settings.py")
        use_the_site()
        for node in nodes:
            with node.client() as client:
                assert promises_of_the_server(client)["maxmemory-policy"] == "noeviction"
                assert client.cluster("info")["cluster_slots_assigned"] == "16384"

    @pytest.mark.parametrize("number", [0, 4, 7])
    def test_is_not_made_of_a_number_that_cannot_be(self, number):
        done = subprocess.run(
            [sys.executable, DEPLOYMENT / "cluster/create.py", *["localhost:1"] * number],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 1
        assert "python create.py one:6379" in done.stderr


class TestTls:
    @pytest.fixture
    def certificates(self, tmp_path) -> Path:
        """What the script makes, for the host that this machine can be reached at."""
        if not shutil.which("openssl"):
            pytest.skip("there is no openssl to make certificates with")
        script = (DEPLOYMENT / "tls/certificates.sh").read_text()
        assert "DNS:redis.example.com" in script
        home = tmp_path / "certificates"
        home.mkdir()
        (home / "certificates.sh").write_text(script.replace("redis.example.com", "localhost"))
        done = subprocess.run(
            ["sh", "certificates.sh"], cwd=home, capture_output=True, text=True, timeout=SECONDS * 3
        )
        assert done.returncode == 0, done.stderr
        return home

    @pytest.fixture
    def server_knows_tls(self) -> None:
        if not has_tls():
            pytest.skip("this server program was built without TLS; REDIS_SERVER can name one that was not")

    def test_has_certificates_that_are_good_for_one_side_each(self, certificates):
        for name, good, bad in (
            ("server", "sslserver", "sslclient"),
            ("client", "sslclient", "sslserver"),
        ):
            for purpose, status in ((good, 0), (bad, 2)):
                done = subprocess.run(
                    [
                        "openssl",
                        "verify",
                        "-x509_strict",
                        "-CAfile",
                        "ca.crt",
                        "-purpose",
                        purpose,
                        f"{name}.crt",
                    ],
                    cwd=certificates,
                    capture_output=True,
                )
                assert done.returncode == status, (name, purpose, done.stderr)
            assert (certificates / f"{name}.key").stat().st_mode & 0o077 == 0

    def test_and_a_name_are_needed_by_the_site(
        self, server_knows_tls, certificates, tmp_path, take_settings, use_the_site, settings
    ):
        port, home = free_port(), tmp_path / "server"
        replacements = {
            "tls-port 6380": f"tls-port {port}",
            "redis.example.com:6380": f"localhost:{port}",
            "/etc/redis/users.acl": f"{home}/users.acl",
            "/etc/redis": str(certificates),
            "/etc/mysite": str(certificates),
            "/var/lib/redis": str(home),
        }
        lay_out("tls", home, replacements)
        operator = {
            "ssl": True,
            "host": "localhost",
            "ssl_ca_certs": f"{certificates}/ca.crt",
            "ssl_certfile": f"{certificates}/client.crt",
            "ssl_keyfile": f"{certificates}/client.key",
        }
        with ConfiguredServer(home / "redis.conf", port=port, **operator):
            take_settings(home / "settings.py")
            use_the_site()

            given = settings.SESSION_REDIS
            without = {name: value for name, value in given["OPTIONS"].items() if "file" not in name}
            for refused in (
                {"URL": given["URL"], "OPTIONS": without},  # no certificate
                {**given, "URL": given["URL"].replace("localhost", "127.0.0.1")},  # another host than it says
                {**given, "URL": given["URL"].replace("rediss", "redis"), "OPTIONS": {}},  # no TLS
            ):
                settings.SESSION_REDIS = refused
                with pytest.raises(SessionStoreUnavailable):
                    SessionStore().create()


@pytest.mark.skipif(sys.platform == "win32", reason="gunicorn and embedded:// need a Unix")
class TestAWebServer:
    """The command lines of the page, with the shop of `testproject` in place of the reader's site."""

    def command(self, program: str) -> list[str]:
        text = section(page("deployment.md"), f"## {program}")
        (line,) = every(rf"^\$ ({program} .+)$", text)
        replaced = {
            "mysite.wsgi": "testproject.wsgi",
            "mysite.asgi:application": "testproject.asgi:application",
            "gunicorn.conf.py": str(DEPLOYMENT / "gunicorn/gunicorn.conf.py"),
        }
        return [sys.executable, "-m", *(replaced.get(word, word) for word in shlex.split(line))]

    def test_of_gunicorn_serves_a_login(self, place):
        pytest.importorskip("gunicorn")
        self.serve(Site(place, [*self.command("gunicorn"), "--bind", "127.0.0.1:0"]))

    def test_of_uvicorn_serves_a_login(self, place):
        pytest.importorskip("uvicorn")
        command = self.command("uvicorn")
        for option, value in (("--host", "127.0.0.1"), ("--port", "0")):
            command[command.index(option) + 1] = value
        self.serve(Site(place, command))

    def serve(self, site: Site) -> None:
        pytest.importorskip("httpx")
        try:
            site.start()
            address = ("127.0.0.1", int(site.url.rpartition(":")[2]))
            # uvicorn names its address before its workers listen there.
            until(lambda: socket.create_connection(address).close() is None)
            with Visitor(site) as visitor:
                visitor.sign_in("bob", "builder")
                cookie = visitor.session_cookie
            # Each a connection of its own, so that different workers answer.
            for _ in range(8):
                with Visitor(site, cookie) as again:
                    assert again.remembered["user"] == "bob"
        finally:
            site.stop()
        wait_until_nothing_is_left(site.place)

    def test_of_gunicorn_has_as_many_connections_as_the_page_says(self):
        names: dict[str, Any] = {}
        text = (DEPLOYMENT / "gunicorn/gunicorn.conf.py").read_text()
        exec(compile(text, "gunicorn.conf.py", "exec"), names)  # noqa: S102 - our own sample
        product = names["workers"] * names["threads"]
        assert f"{names['workers']} x {names['threads']} = {product} at the server" in text


class Backend(BaseBackend):
    """Signs in without a database, whose connections in Channels' threads nobody would close."""

    def get_user(self, user_id: int) -> User | None:
        return ALICE if user_id == ALICE.pk else None


ALICE = User(pk=7, username="alice")


class Browser(ApplicationCommunicator):
    """A browser's side of a WebSocket: what it sends when a page of this host opens one."""

    def __init__(self, application: Any, cookie: str, origin: str = "https://testserver") -> None:
        headers = [(b"origin", origin.encode()), (b"cookie", f"sessionid={cookie}".encode())]
        super().__init__(application, {"type": "websocket", "path": "/inbox/", "headers": headers})

    async def connect(self) -> Any:
        """The first answer."""
        await self.send_input({"type": "websocket.connect"})
        return await self.receive_output(SECONDS)

    async def leave(self) -> None:
        await self.send_input({"type": "websocket.disconnect", "code": 1001})
        await self.wait(SECONDS)


# Channels closes old connections of the database around each message.
@pytest.mark.django_db(transaction=True)
class TestChannels:
    @pytest.fixture
    def application(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        """The sample in a project of the name it is written for."""
        pytest.importorskip("channels")
        lay_out("channels", tmp_path / "mysite", {})
        monkeypatch.syspath_prepend(tmp_path)
        try:
            yield import_module("mysite.asgi").application
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "mysite"]:
                del sys.modules[name]

    @pytest.fixture
    def cookie(self, store: Any, settings: Any) -> str:
        """That of somebody who is signed in."""
        settings.AUTHENTICATION_BACKENDS = [f"{__name__}.{Backend.__name__}"]
        session = saved(
            **{
                SESSION_KEY: str(ALICE.pk),
                BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[0],
                HASH_SESSION_KEY: ALICE.get_session_auth_hash(),
            }
        )
        return str(session.session_key)

    def test_serves_who_is_signed_in_until_the_session_ends(self, application, cookie, run):
        async def use() -> None:
            browser = Browser(application, cookie)
            assert (await browser.connect())["type"] == "websocket.accept"
            await browser.send_input({"type": "websocket.receive", "text": '"hello"'})
            said = await browser.receive_output(SECONDS)
            assert said["text"] == '{"for": "alice", "said": "hello"}'
            await sessions.arevoke(digest(cookie))
            closed = await browser.receive_output(SECONDS)
            assert (closed["type"], closed["code"]) == ("websocket.close", 4401)
            await browser.wait(SECONDS)

        run(use())

    def test_refuses_strangers_and_other_sites(self, application, cookie, run):
        async def use() -> None:
            for browser in (
                Browser(application, saved(a=1).session_key),
                Browser(application, "unknown" * 5),
                Browser(application, cookie, origin="https://elsewhere.example.com"),
            ):
                assert (await browser.connect())["type"] == "websocket.close"
                await browser.leave()

        run(use())

    def test_leaves_http_to_django(self, application, cookie, run):
        headers = [(b"host", b"testserver"), (b"cookie", f"sessionid={cookie}".encode())]

        async def use() -> None:
            browser = ApplicationCommunicator(
                application, {"type": "http", "method": "GET", "path": "/who/", "headers": headers}
            )
            await browser.send_input({"type": "http.request"})
            assert (await browser.receive_output(SECONDS))["status"] == 200
            assert (await browser.receive_output(SECONDS))["body"] == b"alice"
            await browser.wait(SECONDS)

        run(use())
