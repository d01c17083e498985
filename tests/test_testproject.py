"""Does the shop in `testproject` keep its promises, met the way a visitor meets it?

Everything is real: gunicorn, uvicorn and Django's development server in processes of their own, the embedded server
behind them, and a browser's cookie jar in front. Each site has a directory of its own for its database, its sessions
and its temporary files, and no process may outlive the test that started it.
"""

import re
import socket
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.servers import free_port
from tests.sites import (
    PYTHON,
    SECONDS,
    SERVERS,
    Site,
    wait_until_nothing_is_left,
)
from tests.visitors import ANONYMOUS, Visitor

httpx = pytest.importorskip("httpx")
pytest.importorskip("gunicorn")
pytest.importorskip("uvicorn")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn and embedded:// need a Unix")

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


# Fixtures -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=SERVERS)
def site(request: pytest.FixtureRequest, sites: Callable[[str], Site]) -> Site:
    return sites(request.param)


@pytest.fixture
def visitor(site: Site) -> Iterator[Visitor]:
    with Visitor(site) as visitor:
        yield visitor


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
