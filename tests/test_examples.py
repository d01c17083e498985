"""Is a person who signs in on the Django site known to every service beside it, and nowhere once signed out?

Everything is real: the shop of `testproject`, the programs in `examples/` as processes on loopback, one Redis server,
and visitors whose browsers send one cookie to all of them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from django_redis_sessions.backend import SessionStore
from tests.servers import RedisServer, free_port
from tests.sites import PYTHON, SECONDS, SERVERS, Place, Site, end_by_force, wait_until_nothing_is_left
from tests.topologies import until
from tests.visitors import Deployment, Visitor

httpx = pytest.importorskip("httpx")
sockets = pytest.importorskip("websockets.sync.client")
from_sockets = pytest.importorskip("websockets.exceptions")
for needed in ("channels", "falcon", "flask", "gunicorn", "starlette", "uvicorn"):
    pytest.importorskip(needed)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn needs a Unix")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
WSGI = [PYTHON, "-m", "gunicorn", "--chdir", str(EXAMPLES), "--bind", "127.0.0.1:0", "--workers", "1"]
ASGI = [PYTHON, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "--host", "127.0.0.1", "--port", "0"]
COMMANDS = {
    "shop": [*SERVERS["wsgi"], "--workers", "1"],
    "falcon": [*WSGI, "falcon_api:app"],
    "flask": [*WSGI, "flask_app:app"],
    "second flask": [*WSGI, "flask_app:app"],
    "starlette": [*ASGI, "starlette_app:app"],
    "channels": [*ASGI, "channels_site:app"],
}
HTTP = ("falcon", "flask", "starlette")
NOBODY = {"user": None, "cart": {}}
CLOSED = 4401  # revocations.CLOSE_CODE


# Helpers ------------------------------------------------------------------------------------------------------------


class Town:
    """The shop and the services, as processes that use one Redis server."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.redis = RedisServer(port=free_port())
        self.sites: dict[str, Site] = {}

    def start(self) -> None:
        self.redis.start()
        for name, command in COMMANDS.items():
            directory = self.place.directory / name.replace(" ", "-")
            directory.mkdir()
            variables = {
                "TESTPROJECT_DB": str(self.place.directory / "db.sqlite3"),
                "TESTPROJECT_REDIS": self.redis.url,
                "SESSIONS_URL": self.redis.url,
                "SESSIONS_PREFIX": "testproject",
                "INSECURE_COOKIES": "1",
            }
            self.sites[name] = Site(Deployment(directory, variables), command)
        # Two at a time: each may take as long as any site, however few processors there are.
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(Site.start, self.sites.values()))

    def stop(self) -> None:
        for site in self.sites.values():
            site.stop()
        self.redis.__exit__(None, None, None)

    def __getitem__(self, name: str) -> Site:
        return self.sites[name]


class Person(Visitor):
    """A visitor of the shop whose browser also calls the services."""

    def __init__(self, town: Town) -> None:
        super().__init__(town["shop"])
        self.town = town

    def ask(self, service: str, method: str = "GET", path: str = "/visitor") -> Any:
        return self.browser.request(method, self.town[service].url + path)

    def known_to(self, service: str) -> dict[str, Any]:
        """What the service knows about this visitor: `{"user": id, "cart": …}`."""
        answer = self.ask(service)
        assert answer.status_code == 200, f"{answer.text}\n{self.town[service].log[-4000:]}"
        return answer.json()

    def put(self, service: str, product: str) -> None:
        answer = self.ask(service, "PUT", f"/cart/{product}")
        assert answer.status_code == 204, f"{answer.text}\n{self.town[service].log[-4000:]}"

    def socket(self) -> Any:
        url = self.town["channels"].url.replace("http", "ws", 1)
        cookie = {"Cookie": f"sessionid={self.session_cookie}"} if self.session_cookie else {}
        return sockets.connect(
            f"{url}/inbox", origin=self.town["channels"].url, additional_headers=cookie, proxy=None,
            open_timeout=SECONDS, close_timeout=SECONDS,
        )  # fmt: skip


def is_closed_with(socket: Any, code: int) -> bool:
    """Whether that is what the other side says next, and the last."""
    with pytest.raises(from_sockets.ConnectionClosed) as closed:
        socket.recv(SECONDS)
    return closed.value.rcvd is not None and closed.value.rcvd.code == code


# Fixtures -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def town(new_place: Any) -> Iterator[Town]:
    place = new_place()
    running = Town(place)
    try:
        running.start()
        yield running
        running.stop()
        wait_until_nothing_is_left(place)
    finally:
        running.stop()
        end_by_force(place)


@pytest.fixture
def person(town: Town) -> Iterator[Person]:
    """Nobody knows who that is."""
    with Person(town) as visitor:
        yield visitor


@pytest.fixture
def alice(person: Person) -> Person:
    """Signed in at the shop, with a mug in the cart."""
    person.send("/cart/add/", product="mug")
    person.sign_in("alice", "wonderland")
    return person


@pytest.fixture
def alices_id(alice: Person) -> str:
    return alice.known_to("falcon")["user"]


# The promise --------------------------------------------------------------------------------------------------------


class TestAPersonWhoSignsInAtTheShop:
    def test_is_known_to_every_service(self, alice, alices_id):
        assert alices_id.isdecimal()
        known = {"user": alices_id, "cart": {"mug": 1}}
        assert [alice.known_to(service) for service in HTTP] == [known] * 3
        with alice.socket() as socket:
            assert json_from(socket) == known

    def test_finds_everywhere_what_one_service_was_told(self, alice, alices_id):
        alice.put("falcon", "kite")
        alice.put("flask", "candle")
        alice.put("starlette", "pencil")
        cart = {"mug": 1, "kite": 1, "candle": 1, "pencil": 1}
        assert [alice.known_to(service)["cart"] for service in HTTP] == [cart] * 3
        assert alice.remembered == {"user": "alice", "cart": cart}
        alice.send("/cart/change/", product="kite", amount=5)
        assert alice.known_to("starlette")["cart"]["kite"] == 5
        with alice.socket() as socket:
            assert json_from(socket)["cart"] == {**cart, "kite": 5}

    def test_is_signed_out_everywhere_at_once_by_signing_out_at_the_shop(self, alice):
        cookie = alice.session_cookie
        with alice.socket() as socket:
            json_from(socket)
            alice.send("/logout/")
            assert is_closed_with(socket, CLOSED)
        assert_nobody(alice.town, cookie)

    @pytest.mark.parametrize("service", HTTP)
    def test_is_signed_out_everywhere_at_once_by_signing_out_at_a_service(self, alice, service):
        cookie = alice.session_cookie
        with alice.socket() as socket:
            json_from(socket)
            assert alice.ask(service, "DELETE").status_code == 204
            assert is_closed_with(socket, CLOSED)
        assert alice.session_cookie is None
        assert_nobody(alice.town, cookie)
        assert alice.remembered == NOBODY

    def test_may_talk_over_the_socket_meanwhile(self, alice):
        with alice.socket() as socket:
            json_from(socket)
            socket.send('{"word": "hello"}')
            assert json_from(socket) == {"said": {"word": "hello"}}


class TestAStranger:
    @pytest.mark.parametrize("service", HTTP)
    def test_gets_a_session_with_the_first_change_that_the_shop_knows(self, person, service):
        assert person.known_to(service) == NOBODY
        assert person.session_cookie is None
        person.put(service, "umbrella")
        assert person.session_cookie_ends is not None
        assert person.remembered == {"user": None, "cart": {"umbrella": 1}}
        person.sign_in("bob", "builder")
        assert person.known_to(service)["cart"] == {"umbrella": 1}
        assert person.known_to(service)["user"].isdecimal()

    @pytest.mark.parametrize("service", HTTP)
    def test_gets_a_cookie_as_django_sets_it(self, person, service):
        answer = person.ask(service, "PUT", "/cart/mug")
        (line,) = [line for line in answer.headers.get_list("set-cookie") if "sessionid=" in line]
        flags = {part.strip().lower() for part in line.split(";")[1:]}
        assert {"httponly", "path=/", "samesite=lax", "max-age=1209600"} <= flags
        assert "cookie" in answer.headers["vary"].lower()

    def test_is_refused_by_the_socket(self, person):
        with pytest.raises(from_sockets.InvalidStatus) as refused:
            person.socket()
        assert refused.value.response.status_code == 403

    @pytest.mark.parametrize("service", HTTP)
    def test_with_a_cookie_of_somebodys_own_making_is_a_stranger(self, town, service):
        with Person(town) as forger:
            forger.browser.cookies.set("sessionid", "a" * 32, domain="127.0.0.1")
            assert forger.known_to(service) == NOBODY
            forger.put(service, "mug")
            assert forger.session_cookie != "a" * 32


class TestTheFlaskApplication:
    def test_keeps_its_sessions_over_a_restart_and_in_a_second_instance(self, person, town):
        person.put("flask", "kite")
        town["flask"].stop()
        assert person.known_to("second flask")["cart"] == {"kite": 1}
        person.put("second flask", "mug")
        town["flask"].start()
        assert person.known_to("flask")["cart"] == {"kite": 1, "mug": 1}


class TestAnOutageOfRedis:
    def test_is_a_503_everywhere_and_costs_nobody_the_cookie(self, alice, town):
        cookie = alice.session_cookie
        town.redis.stop()
        try:
            for service in HTTP:
                for method, path in (("GET", "/visitor"), ("PUT", "/cart/kite"), ("DELETE", "/visitor")):
                    answer = alice.ask(service, method, path)
                    assert answer.status_code == 503, service
                    assert answer.headers["retry-after"] == "2"
                    assert "set-cookie" not in answer.headers
        finally:
            town.redis.start()
        assert alice.session_cookie == cookie
        # The server has kept nothing, and each service takes up to a second to find that it is back.
        for service in HTTP:
            until(lambda asked=service: alice.ask(asked).status_code == 200)
            assert alice.known_to(service) == NOBODY


class TestASessionThatEndsDuringARequest:
    """In this process, so that it ends at the right moment: the service has opened it and not yet saved."""

    @pytest.fixture
    def loaded(self, server, prefix, store, monkeypatch):
        monkeypatch.setenv("SESSIONS_URL", server.url)
        monkeypatch.setenv("SESSIONS_PREFIX", prefix)

        def load(name):
            spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            for method in ("open", "aopen"):
                monkeypatch.setattr(module.client, method, ending(getattr(module.client, method)))
            return module

        def ending(opened):
            if not asyncio.iscoroutinefunction(opened):
                return lambda cookie: ended(opened(cookie))

            async def awaited(cookie):
                return ended(await opened(cookie))

            return awaited

        def ended(session):
            SessionStore(session.key).flush()
            return session

        return load

    @pytest.fixture
    def cookies(self, store):
        session = SessionStore()
        session["cart"] = {"mug": 1}
        session.save()
        return {"sessionid": session.session_key}

    @pytest.mark.parametrize("name", ["falcon_api", "flask_app"])
    def test_is_not_brought_back(self, loaded, cookies, name):
        module = loaded(name)
        with httpx.Client(
            transport=httpx.WSGITransport(module.app), base_url="http://shop", cookies=cookies
        ) as browser:
            answer = browser.put("/cart/kite")
        assert answer.status_code == 400
        assert "set-cookie" not in answer.headers
        assert dict(SessionStore(cookies["sessionid"]).items()) == {}
        module.client.close()

    def test_is_not_brought_back_by_an_asynchronous_service(self, loaded, cookies, runner):
        module = loaded("starlette_app")

        async def use():
            transport = httpx.ASGITransport(module.app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://shop", cookies=cookies
            ) as browser:
                return await browser.put("/cart/kite")

        answer = runner.run(use())
        assert answer.status_code == 400
        assert "set-cookie" not in answer.headers
        assert dict(SessionStore(cookies["sessionid"]).items()) == {}


def json_from(socket: Any) -> Any:
    return json.loads(socket.recv(SECONDS))


def assert_nobody(town: Town, cookie: str) -> None:
    """Whoever has such a cookie is nobody, at any service."""
    with Person(town) as thief:
        thief.browser.cookies.set("sessionid", cookie, domain="127.0.0.1")
        assert [thief.known_to(service) for service in HTTP] == [NOBODY] * 3
        with pytest.raises(from_sockets.InvalidStatus):
            thief.socket()
        assert thief.remembered == NOBODY
