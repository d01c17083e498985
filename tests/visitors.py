"""Who visits the shop in `testproject`, and who goes on clicking while it is deployed anew?

A pytest plugin: `conftest` names it. Deployments run side by side, as in a rolling deployment the new one is there
before the old one goes. A customer signs in once, then clicks without a pause, and expects to find everything as it
was left, whichever deployment answers.
"""

import itertools
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.servers import RedisServer
from tests.sites import SECONDS, SERVERS, Place, Site, until

ROOT = Path(__file__).resolve().parent.parent
PRODUCTS = ("mug", "notebook", "pencil", "candle", "umbrella", "kite")
ANONYMOUS = {"user": None, "cart": {}}
MOST = 99  # pieces of one product, says the shop
# One worker each: two deployments at a time are processes enough, and those who click leave a core to others.
SERVER = [*SERVERS["wsgi"], "--workers", "1"]


# Helpers ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deployment(Place):
    """A directory for one deployment's log and temporary files; what it keeps is where the others keep it."""

    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **self.variables}

    def run(self, *arguments: str) -> dict[str, Any]:
        """What `redis_sessions` says it has done."""
        done = self.manage("redis_sessions", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


class Visitor:
    """Somebody with a browser: keeps cookies, follows redirects, sends the CSRF token with every form."""

    def __init__(self, site: Site, session_cookie: str | None = None) -> None:
        httpx = pytest.importorskip("httpx")
        self.site = site
        self.browser = httpx.Client(
            base_url=site.url,
            follow_redirects=True,
            timeout=SECONDS,
            trust_env=False,  # no proxy between this machine and itself
            verify=False,  # plain HTTP; loading the certificates of the world takes 0.05 s each time
        )
        if session_cookie is not None:
            self.browser.cookies.set("sessionid", session_cookie, domain="127.0.0.1")

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.browser.close()

    @property
    def session_cookie(self) -> str | None:
        return self.browser.cookies.get("sessionid")

    @property
    def session_cookie_ends(self) -> float | None:
        """When the browser forgets the cookie, in seconds since 1970; None for when it is closed."""
        return next(cookie.expires for cookie in self.browser.cookies.jar if cookie.name == "sessionid")

    @property
    def remembered(self) -> dict[str, Any]:
        """What the shop knows about this visitor: `{"user": …, "cart": …}`."""
        return self.see("/api/session/").json()

    def see(self, path: str) -> Any:
        return self._answered(self.browser.get(path))

    def send(self, path: str, *, to_be_refused: int | None = None, **fields: Any) -> Any:
        if "csrftoken" not in self.browser.cookies:
            self.see("/login/")
        fields["csrfmiddlewaretoken"] = self.browser.cookies["csrftoken"]
        return self._answered(self.browser.post(path, data=fields), to_be_refused or 200)

    def sign_in(self, name: str, password: str) -> None:
        self.send("/login/", username=name, password=password)

    def comes_back_to(self, site: Site) -> None:
        """The same browser at a shop that was opened again, at another port."""
        self.site = site
        self.browser.base_url = site.url

    def _answered(self, response: Any, status: int = 200) -> Any:
        assert response.status_code == status, (
            f"{response.url}: {response.text[:2000]}\n{self.site.log[-4000:]}"
        )
        return response


class Customer(Visitor):
    """Signs in, then clicks without a pause, in a thread, and expects to find everything as it was left."""

    def __init__(self, site: Site, name: str, password: str, threads: ThreadPoolExecutor) -> None:
        super().__init__(site)
        self.clicks = 0
        self._login = name, password
        self._cart: dict[str, int] = {}
        self._threads = threads
        self._next_site = site
        self._goes_home = threading.Event()
        self._visit: Future[None] | None = None

    def visit(self, site: Site) -> None:
        """Come, and click until `go_home()`; or go on at another deployment, from the next click on."""
        self._next_site = site
        if self._visit is None:
            self._goes_home.clear()
            self._visit = self._threads.submit(self._click_on)

    def reach(self, clicks: int) -> None:
        """Wait for so many clicks; fails as the visit has, if it has."""
        until(
            lambda: self.clicks >= clicks or self._visit.done(),
            or_fail=lambda: f"click {self.clicks} has no end:\n{self.site.log[-4000:]}",
        )
        if self._visit.done():
            self._visit.result()

    def go_home(self) -> None:
        """Keep the cookie and come back some time."""
        self._goes_home.set()
        self._visit.result(SECONDS)
        self._visit = None

    def sign_out(self) -> str:
        """The cookie that was worth something until now."""
        self.go_home()
        cookie = self.session_cookie
        self.send("/logout/")
        assert self.session_cookie is None
        return cookie

    def leave_for_good(self) -> None:
        """For a `finally`: whatever has happened."""
        self._goes_home.set()

    def _click_on(self) -> None:
        if not self._cart:
            self._arrive()
        while not self._goes_home.is_set():
            if self.site is not self._next_site:
                self.comes_back_to(self._next_site)
            self._click()

    def _arrive(self) -> None:
        self._put("mug", 1)
        self.sign_in(*self._login)

    def _click(self) -> None:
        """The amounts tell each click from those before it."""
        expected = {"user": self._login[0], "cart": self._cart}
        assert self.remembered == expected, f"after {self.clicks} clicks:\n{self.site.log[-4000:]}"
        self._put(PRODUCTS[self.clicks % len(PRODUCTS)], self.clicks % MOST + 1)
        self.clicks += 1

    def _put(self, product: str, amount: int) -> None:
        self.send("/cart/change/", product=product, amount=amount)
        self._cart[product] = amount


def go_on(customers: Iterable[Customer]) -> None:
    """Everybody has clicked since this was called; a click that was under way does not count."""
    goals = [(customer, customer.clicks + 2) for customer in customers]
    for customer, clicks in goals:
        customer.reach(clicks)


def visit(site: Site, customers: Iterable[Customer]) -> None:
    """Everybody has come here, from home or another deployment, and has clicked."""
    for customer in customers:
        customer.visit(site)
    go_on(customers)


def go_home(customers: Iterable[Customer]) -> None:
    for customer in customers:
        customer.go_home()


def assert_strangers(cookies: list[str], *sites: Site) -> None:
    """Whoever has such a cookie is nobody, and loses it."""
    for site in sites:
        for cookie in cookies:
            with Visitor(site, session_cookie=cookie) as thief:
                assert thief.remembered == ANONYMOUS
                assert thief.session_cookie is None


# Fixtures -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def deploy(place: Place) -> Iterator[Callable[..., Site]]:
    """Starts the site of one deployment with these environment variables, beside those that run already."""
    sites: list[Site] = []

    with RedisServer() as server:
        shared = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "TESTPROJECT_DB": str(place.directory / "db.sqlite3"),
            "TESTPROJECT_REDIS": server.url,
        }

        def deploy(title: str, **variables: str) -> Site:
            directory = place.directory / title
            directory.mkdir()
            sites.append(Site(Deployment(directory, {**shared, **variables}), SERVER))
            sites[-1].start()
            return sites[-1]

        try:
            yield deploy
        finally:
            for site in sites:
                site.stop()


@pytest.fixture
def new_customers(deploy: object) -> Iterator[Callable[[Site, int], list[Customer]]]:
    """So many, who have no session yet. `deploy` is there so that sites are stopped later."""
    customers: list[Customer] = []
    logins = itertools.cycle([("alice", "wonderland"), ("bob", "builder")])

    with ThreadPoolExecutor(max_workers=32) as threads:

        def new_customers(site: Site, number: int) -> list[Customer]:
            new = [Customer(site, *next(logins), threads) for _ in range(number)]
            customers.extend(new)
            return new

        try:
            yield new_customers
        finally:
            for customer in customers:
                customer.leave_for_good()
    for customer in customers:
        customer.browser.close()
