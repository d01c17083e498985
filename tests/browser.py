"""How does a test, or a tool, look at a site with a real browser?

A pytest plugin like `sites`: the fixture ``open_window`` opens windows that share nothing, each like the browser of
another person. What is missing, Playwright or a browser, skips the test and is named.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.sites import SECONDS, Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Playwright, Response

#: Tried in this order; the variable ``CHROMIUM`` names another one.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Nothing is asked of anybody but the site, and a container needs no second sandbox.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FIREFOX_ON_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0"
SAFARI_ON_IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.6 Mobile/15E148 Safari/604.1"
)


class Missing(Exception):
    """There is no browser to look with; the message says what to install."""


def executable(playwright: Playwright) -> str:
    """The program file of a Chromium; raises ``Missing``."""
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None) or playwright.chromium.executable_path
    if not Path(found).exists():
        raise Missing(f"There is no browser: install Debian's chromium, or name one in CHROMIUM ({found}).")
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser without a window. Until it ends, this thread has a running event loop."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise Missing("Playwright is missing; the extra `browser` installs it.") from error
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable(playwright), headless=True, args=list(ARGUMENTS)
        )
        try:
            yield browser
        finally:
            browser.close()


class Window:
    """A window with its own cookies, and everything that its page complains about.

    ``page`` is Playwright's, for all that is not here.
    """

    def __init__(self, context: BrowserContext, site: Site) -> None:
        context.set_default_timeout(SECONDS * 1000)
        self.site = site
        self.context = context
        self.page = context.new_page()
        #: Errors in the console: refused by the content security policy, or raised in a script.
        self.complaints: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    @property
    def path(self) -> str:
        """Where this window is, without scheme and host."""
        return self.page.url.removeprefix(self.site.url)

    def open(self, path: str) -> Response:
        """Go to an address of the site, which answers with a page."""
        response = self.page.goto(self.site.url + path)
        assert response is not None
        assert response.ok, f"{path}: {response.status}\n{self.site.log[-4000:]}"
        return response

    def follow(self, button: Locator) -> None:
        """Click on what leads to another page, and wait until that is there, behind any redirection.

        A click alone only begins to leave the page.
        """
        with self.page.expect_navigation():
            button.click()

    def sign_in(self, name: str, password: str, at: str = "/login/") -> None:
        """Sign in with the form of the shop, or with that of the admin (``at="/admin/login/"``)."""
        self.open(at)
        self.page.fill("#id_username", name)
        self.page.fill("#id_password", password)
        self.page.press("#id_password", "Enter")
        self.page.wait_for_url(lambda url: at not in url)

    def close(self) -> None:
        self.context.close()

    def _note(self, message: Any) -> None:
        # A page that is answered with 403 or 503 is an error in the console as well, and seen by its test.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module; ended with it, because no other event loop can run beside Playwright's."""
    with pytest.MonkeyPatch.context() as patch:
        # Fixtures of other plugins may look at a database while Playwright's loop runs in this thread.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        running = chromium()
        try:
            browser = running.__enter__()
        except Missing as error:
            pytest.skip(str(error))
        yield browser
        running.__exit__(None, None, None)


@pytest.fixture
def open_window(browser: Browser) -> Iterator[Callable[..., Window]]:
    """``open_window(site, user_agent=…)``; options are those of Playwright's ``new_context()``.

    A complaint in the console of any of them fails the test.
    """
    windows: list[Window] = []

    def open_one(site: Site, **options: Any) -> Window:
        windows.append(Window(browser.new_context(locale="en-GB", timezone_id="UTC", **options), site))
        return windows[-1]

    yield open_one
    complaints = [complaint for window in windows for complaint in window.complaints]
    for window in windows:
        window.close()
    assert complaints == []
