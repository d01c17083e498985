"""Does the shop in `testproject` keep its promises, met the way a visitor meets it?

Everything is real: gunicorn, uvicorn and Django's development server in processes of their own, the embedded server
behind them, and a browser's cookie jar in front. Each site has a directory of its own for its database, its sessions
and its temporary files, and no process may outlive the test that started it.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("gunicorn")
pytest.importorskip("uvicorn")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn and embedded:// need a Unix")

PROJECT = Path(__file__).resolve().parent.parent / "testproject"
SECONDS = 20  # any wait is over long before; only a failure lasts that long

PYTHON = sys.executable
SERVERS = {
    "wsgi": [PYTHON, "-m", "gunicorn", "testproject.wsgi", "--bind", "127.0.0.1:0", "--workers", "2"],
    "asgi": [PYTHON, "-m", "uvicorn", "testproject.asgi:application", "--host", "127.0.0.1", "--port", "0"],
}
# Ctrl-C is ignored by what an ignoring shell starts in the background, and by its descendants: undo that.
LISTEN_TO_CTRL_C = [
    PYTHON,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])",
]

HOSTILE_COOKIES = {
    "4000-characters": b"x" * 4000,
    "braces": b"{}{0}{session_key}{{{{}}}}",
    "stars": b"*" * 32,
    "pattern": b"[a-z]*????????[^0]",
    "another-redis-key": b"testproject:session:*\\r\\nFLUSHALL",
    "a-path": b"../../../../etc/passwd",
    "percent-encoded-nul": b"%00%00%00%00%00%00%00%00%00%00%00",
    "a-real-nul": rb'"nul\000nul\000nul\000nul"',
    "percent-encoded-non-ascii": b"%C3%A9%F0%9F%92%A9%C3%A9%F0%9F%92%A9",
    "octal-non-ascii": rb'"\303\251\303\251\377\377\303\251"',
    "bytes-that-are-no-text": b"\xff\xfe\xc3caf\xe9\xf0\x9f\x92",
    "too-short": b"x",
    "empty": b"",
}


# Helpers: places and processes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A directory with everything one site keeps, and the environment that says so."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TESTPROJECT_")}
        return {
            **inherited,
            "DJANGO_SETTINGS_MODULE": "testproject.settings",
            "PYTHONUNBUFFERED": "1",
            "TESTPROJECT_DB": str(self.directory / "db.sqlite3"),
            "TESTPROJECT_REDIS": f"embedded://{self.directory}/redis",
            "TMPDIR": str(self.directory),
            "XDG_RUNTIME_DIR": str(self.directory),
        }

    def processes(self) -> dict[int, str]:
        """`{process id: command line}` of all that was started here and is still there, whoever its parent is."""
        mark = os.fsencode(self.directory)
        found = {}
        if os.path.isdir("/proc/self"):
            for entry in Path("/proc").iterdir():
                with contextlib.suppress(OSError):  # it ended, or belongs to somebody else
                    command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
                    if command and (mark in command or mark in (entry / "environ").read_bytes()):
                        found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        else:
            # With E, the command is followed by the environment.
            listed = subprocess.run(["ps", "-AEww", "-o", "pid=,command="], capture_output=True, check=True)
            for line in listed.stdout.splitlines():
                pid, _, command = line.strip().partition(b" ")
                if mark in command:
                    found[int(pid)] = command.decode(errors="replace")
        return found

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `manage.py` to its end."""
        return subprocess.run(
            [PYTHON, "manage.py", *arguments],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )


@dataclass
class Site:
    """A web server in a session and process group of its own; `url` is known once it listens."""

    place: Place
    command: list[str]
    url: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> str:
        return (self.place.directory / "site.log").read_text(errors="replace")

    def start(self) -> None:
        with open(self.place.directory / "site.log", "wb") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=PROJECT,
                env=self.place.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # What the servers say when they listen; from then on a request waits until somebody takes it.
        until(
            lambda: re.search(r"(?:Listening at: |running on |server at )http://127\.0\.0\.1:\d+", self.log),
            or_fail=lambda: f"{self.command} does not listen:\n{self.log}",
            give_up=lambda: self._process.poll() is not None,
        )
        self.url = re.findall(r"http://127\.0\.0\.1:\d+", self.log)[-1]

    def stop(self) -> None:
        """End the server in good order; by force if it does not go."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def press_ctrl_c(self) -> int:
        """What a terminal does on Ctrl-C: a signal for the whole process group. Gives the exit status."""
        os.killpg(self._process.pid, signal.SIGINT)
        return self._process.wait(SECONDS)


def until(
    condition: Callable[[], Any],
    or_fail: Callable[[], str],
    give_up: Callable[[], bool] = lambda: False,
) -> None:
    """Wait for another process, and fail when it takes too long or there is no hope left."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline or (give_up() and not condition()):
            pytest.fail(or_fail())
        time.sleep(0.02)


def wait_until_nothing_is_left(place: Place) -> None:
    """The embedded server notices by itself that its last user is gone."""
    until(lambda: not place.processes(), or_fail=lambda: f"still running: {place.processes()}")


def end_by_force(place: Place) -> None:
    """For a `finally`: only what was started in this place, by its process id."""
    for pid in place.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# Helpers: a visitor -------------------------------------------------------------------------------------------------


class Visitor:
    """Somebody with a browser: keeps cookies, follows redirects, sends the CSRF token with every form."""

    def __init__(self, site: Site, session_cookie: str | None = None) -> None:
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


ANONYMOUS = {"user": None, "cart": {}}


# Fixtures -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place where the database and the two logins are ready; copied by all others."""
    place = Place(tmp_path_factory.mktemp("shop"))
    try:
        done = place.manage("demo", "--no-server")
        assert done.returncode == 0, done.stderr
        wait_until_nothing_is_left(place)
        yield place
    finally:
        end_by_force(place)


@pytest.fixture(scope="module")
def new_place(prepared: Place, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Place]:
    def new_place() -> Place:
        place = Place(tmp_path_factory.mktemp("shop"))
        shutil.copy(prepared.directory / "db.sqlite3", place.directory)
        return place

    return new_place


@pytest.fixture(scope="module")
def sites(new_place: Callable[[], Place]) -> Iterator[Callable[[str], Site]]:
    """Gives the running site of each kind, which all tests share."""
    running: dict[str, Site] = {}

    def site_of(kind: str) -> Site:
        if kind not in running:
            running[kind] = Site(new_place(), SERVERS[kind])
            running[kind].start()
        return running[kind]

    try:
        yield site_of
        for site in running.values():
            site.stop()
        for site in running.values():
            wait_until_nothing_is_left(site.place)
    finally:
        for site in running.values():
            site.stop()
            end_by_force(site.place)


@pytest.fixture(params=SERVERS)
def site(request: pytest.FixtureRequest, sites: Callable[[str], Site]) -> Site:
    return sites(request.param)


@pytest.fixture
def visitor(site: Site) -> Iterator[Visitor]:
    with Visitor(site) as visitor:
        yield visitor


@pytest.fixture
def place(new_place: Callable[[], Place]) -> Iterator[Place]:
    """A place for one test, in which nothing is left running."""
    place = new_place()
    try:
        yield place
        wait_until_nothing_is_left(place)
    finally:
        end_by_force(place)


# The promises -------------------------------------------------------------------------------------------------------


class TestAVisitDuringWhichEverythingIsRestarted:
    @pytest.mark.parametrize("kind", SERVERS)
    def test_goes_on_until_the_visitor_signs_out(self, kind, place):
        first, second = Site(place, SERVERS[kind]), Site(place, SERVERS[kind])
        try:
            first.start()
            with Visitor(first) as visitor:
                visitor.send("/cart/add/", product="mug")
                visitor.send("/cart/add/", product="kite")
                visitor.send("/cart/add/", product="mug")
                anonymous_cookie = visitor.session_cookie
                cart = {"mug": 2, "kite": 1}
                assert visitor.remembered == {"user": None, "cart": cart}

                visitor.sign_in("alice", "wonderland")
                cookie = visitor.session_cookie
                assert cookie != anonymous_cookie
                assert visitor.remembered == {"user": "alice", "cart": cart}

                first.stop()
                wait_until_nothing_is_left(place)
                second.start()
                visitor.comes_back_to(second)
                assert visitor.remembered == {"user": "alice", "cart": cart}, second.log
                assert visitor.session_cookie == cookie

                visitor.send("/logout/")
                assert visitor.session_cookie is None
                assert visitor.remembered == ANONYMOUS

            for worthless in (cookie, anonymous_cookie):
                with Visitor(second, session_cookie=worthless) as thief:
                    assert thief.remembered == ANONYMOUS
                    assert thief.session_cookie is None
        finally:
            first.stop()
            second.stop()


class TestSigningIn:
    def test_keeps_the_cart_and_makes_the_anonymous_cookie_worthless(self, site, visitor):
        visitor.send("/cart/add/", product="candle")
        before = visitor.session_cookie

        visitor.sign_in("bob", "builder")

        assert visitor.session_cookie != before
        assert visitor.remembered == {"user": "bob", "cart": {"candle": 1}}
        with Visitor(site, session_cookie=before) as thief:
            assert thief.remembered == ANONYMOUS

    def test_with_a_wrong_password_says_so_and_keeps_the_cart(self, visitor):
        visitor.send("/cart/add/", product="candle")

        answer = visitor.send("/login/", username="bob", password="wonderland")

        assert "do not belong together" in answer.text
        assert visitor.remembered == {"user": None, "cart": {"candle": 1}}

    def test_at_the_admin_lets_alice_in(self, visitor):
        assert "Log in" in visitor.see("/admin/").text

        welcome = visitor.send("/admin/login/?next=/admin/", username="alice", password="wonderland")

        assert "Site administration" in welcome.text
        assert "Select user to change" in visitor.see("/admin/auth/user/").text
        assert visitor.remembered["user"] == "alice"

    def test_at_the_admin_keeps_bob_out(self, visitor):
        refusal = visitor.send("/admin/login/?next=/admin/", username="bob", password="builder")

        assert "Site administration" not in refusal.text
        assert visitor.remembered == ANONYMOUS


class TestLookingAround:
    @pytest.mark.parametrize(
        "path", ["/", "/cart/", "/login/", "/session/", "/async/", "/static/shop/shop.css"]
    )
    def test_begins_no_session(self, visitor, path):
        visitor.see(path)

        assert visitor.session_cookie is None

    def test_shows_six_products(self, visitor):
        assert visitor.see("/").text.count("Add to cart") == 6


class TestTheCart:
    def test_takes_a_new_amount_into_the_dict_that_is_already_there(self, visitor):
        visitor.send("/cart/add/", product="mug")
        visitor.send("/cart/add/", product="pencil")

        page = visitor.send("/cart/change/", product="mug", amount=12)

        assert "€ 110" in page.text  # 12 × 9 + 2
        assert visitor.remembered["cart"] == {"mug": 12, "pencil": 1}

    def test_loses_what_is_wanted_no_times(self, visitor):
        visitor.send("/cart/add/", product="mug")
        visitor.send("/cart/add/", product="pencil")
        visitor.send("/cart/change/", product="mug", amount=0)

        assert visitor.remembered["cart"] == {"pencil": 1}

    def test_can_be_emptied(self, visitor):
        visitor.send("/cart/add/", product="mug")

        page = visitor.send("/cart/empty/")

        assert "nothing in it yet" in page.text
        assert visitor.remembered["cart"] == {}

    @pytest.mark.parametrize("path", ["/cart/add/", "/async/add/"])
    def test_takes_nothing_that_is_not_sold(self, visitor, path):
        visitor.send(path, product="<script>", to_be_refused=400)

        assert visitor.session_cookie is None


class TestOneSessionSeenByBothKindsOfViews:
    def test_holds_what_either_has_written(self, visitor):
        visitor.send("/cart/add/", product="kite")
        visitor.send("/async/add/", product="kite")
        visitor.send("/cart/add/", product="mug")

        assert visitor.remembered["cart"] == {"kite": 2, "mug": 1}

    def test_is_shown_alike(self, visitor):
        visitor.send("/async/add/", product="umbrella")
        visitor.sign_in("alice", "wonderland")

        blocking, awaited = visitor.see("/session/").text, visitor.see("/async/").text

        assert facts(blocking) == facts(awaited)
        assert "umbrella" in facts(blocking)
        assert "<strong>alice</strong>" in facts(blocking)

    def test_keeps_its_secrets(self, visitor):
        visitor.sign_in("alice", "wonderland")

        for page in (visitor.see("/session/").text, visitor.see("/async/").text):
            assert f"{visitor.session_cookie[:4]}…" in page
            assert visitor.session_cookie not in page
            assert "_auth_user_hash" in page
            # The hash is 64 hexadecimal digits; the CSRF token, of as many characters, goes beyond f.
            assert re.search(r"\b[0-9a-f]{64}\b", page) is None


class TestChoosingWhenTheSessionEnds:
    @pytest.mark.parametrize("path", ["/session/end/", "/async/end/"])
    @pytest.mark.parametrize(("end", "seconds"), [("minutes", 120), ("weeks", 14 * 24 * 60 * 60)])
    def test_gives_the_cookie_that_life(self, visitor, path, end, seconds):
        visitor.send("/cart/add/", product="mug")

        visitor.send(path, end=end)

        assert visitor.session_cookie_ends == pytest.approx(time.time() + seconds, abs=SECONDS)
        assert visitor.remembered["cart"] == {"mug": 1}

    @pytest.mark.parametrize("path", ["/session/end/", "/async/end/"])
    def test_can_leave_it_to_the_browser(self, visitor, path):
        visitor.send("/cart/add/", product="mug")

        page = visitor.send(path, end="browser")

        assert visitor.session_cookie_ends is None
        assert "when the browser closes; the server forgets it 2\xa0weeks after" in page.text
        assert visitor.remembered["cart"] == {"mug": 1}

    @pytest.mark.parametrize("path", ["/session/flush/", "/async/flush/"])
    def test_at_once_makes_the_cookie_worthless(self, site, visitor, path):
        visitor.send("/cart/add/", product="mug")
        cookie = visitor.session_cookie

        visitor.send(path)

        assert visitor.session_cookie is None
        with Visitor(site, session_cookie=cookie) as thief:
            assert thief.remembered == ANONYMOUS


@pytest.mark.parametrize("cookie", HOSTILE_COOKIES.values(), ids=HOSTILE_COOKIES)
class TestAHostileCookie:
    def test_gets_the_pages_of_an_anonymous_visitor(self, visitor, cookie):
        header = {"Cookie": b"sessionid=" + cookie}
        for path in ("/", "/cart/", "/session/", "/async/"):
            answer = visitor.browser.get(path, headers=header)
            assert answer.status_code == 200, answer.text[:2000]
            assert "Sign in" in answer.text
        assert visitor.browser.get("/api/session/", headers=header).json() == ANONYMOUS

    @pytest.mark.parametrize("path", ["/cart/add/", "/async/add/"])
    def test_never_becomes_a_session_key(self, visitor, cookie, path):
        visitor.see("/login/")
        token = visitor.browser.cookies["csrftoken"]

        answer = visitor.browser.post(
            path,
            data={"product": "mug", "csrfmiddlewaretoken": token},
            headers={"Cookie": b"csrftoken=" + token.encode() + b"; sessionid=" + cookie},
            follow_redirects=False,
        )

        assert answer.status_code == 302, answer.text[:2000]
        assert re.fullmatch(r"[a-z0-9]{32}", answer.cookies["sessionid"])


class TestTheDemoCommand:
    def test_welcomes_once_and_leaves_nothing_behind_after_ctrl_c(self, place):
        site = Site(place, [*LISTEN_TO_CTRL_C, PYTHON, "manage.py", "demo", "--port", str(free_port())])
        try:
            site.start()
            assert site.log.count(f"{site.url}/\n") >= 1
            assert site.log.count("The Small Shop opens at") == 1
            assert re.search(r"alice +password +wonderland", site.log)
            assert re.search(r"bob +password +builder", site.log)
            with Visitor(site) as visitor:
                visitor.send("/async/add/", product="mug")
                visitor.sign_in("alice", "wonderland")
                assert visitor.remembered == {"user": "alice", "cart": {"mug": 1}}

            assert site.press_ctrl_c() == 0
            wait_until_nothing_is_left(place)
            assert "Traceback" not in site.log
        finally:
            site.stop()

    def test_can_be_repeated(self, prepared):
        again = prepared.manage("demo", "--no-server")

        assert again.returncode == 0, again.stderr
        assert "wonderland" in again.stdout

    def test_says_when_the_port_is_taken(self, prepared):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            refused = prepared.manage("demo", "--port", str(taken.getsockname()[1]))

        assert refused.returncode == 1
        assert "choose another with --port" in refused.stderr


def facts(page: str) -> str:
    """What a session page says about the session, without the seconds that pass between two pages."""
    told = page[page.index('<section class="card" aria-labelledby="about">') :]
    told = told[: told.index("</section>", told.index('aria-labelledby="inside"'))]
    return re.sub(r"<time.*?</time>", "", told)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
