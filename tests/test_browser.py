"""Does a person see and end sessions as promised, in a real browser?

The shop runs in processes of its own under gunicorn and uvicorn; each window is the browser of another person or on
another device. A window whose console complains, about the content security policy for example, fails its test.
"""

import pytest

from tests.browser import FIREFOX_ON_WINDOWS, SAFARI_ON_IPHONE
from tests.sites import SERVERS

pytest.importorskip("gunicorn")
pytest.importorskip("uvicorn")


@pytest.fixture(params=SERVERS)
def site(request, browser, sites):
    """The shop; not even started when there is no browser."""
    return sites(request.param)


@pytest.fixture
def at_home(site, open_window):
    """Bob's computer, signed in; no session of his is left over from another test."""
    window = open_window(site, user_agent=FIREFOX_ON_WINDOWS)
    window.sign_in("bob", "builder")
    if len(devices(window)) > 1:
        window.follow(window.page.get_by_role("button", name="Sign out all other devices"))
    return window


@pytest.fixture
def on_the_way(site, open_window, at_home):
    """Bob's telephone, signed in as well."""
    window = open_window(site, user_agent=SAFARI_ON_IPHONE)
    window.sign_in("bob", "builder")
    return window


def devices(window):
    """What a window's page lists, as the text of each device."""
    window.open("/account/devices/")
    return window.page.get_by_role("listitem").filter(has=window.page.get_by_role("button")).all_inner_texts()


def is_at_the_entrance(window):
    """Whether the next click of somebody on the page of devices leads to the login."""
    window.follow(window.page.get_by_role("link", name="Devices"))
    return window.path == "/login/?next=/account/devices/"


class TestThePageOfDevices:
    def test_is_found_from_every_page_and_marks_this_device(self, at_home, on_the_way):
        at_home.open("/")
        at_home.follow(at_home.page.get_by_role("link", name="Devices"))
        assert at_home.path == "/account/devices/"
        this, other = devices(at_home)
        assert "Firefox on Windows" in this
        assert "this device" in this
        assert "Safari on iPhone" in other
        assert "this device" not in other
        this, other = devices(on_the_way)
        assert "Safari on iPhone" in this
        assert "Firefox on Windows" in other

    def test_comes_with_a_strict_policy_that_it_does_not_break(self, at_home):
        policy = at_home.open("/account/devices/").headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        # Complaints in the console fail every test here; this one would be heard.
        at_home.page.evaluate("document.body.setAttribute('style', 'color: red')")
        (complaint,) = at_home.complaints
        assert "Content Security Policy" in complaint
        at_home.complaints.clear()

    def test_is_not_brought_back_after_signing_out(self, at_home):
        """The button "back" of a browser shows nothing of a page that must not be kept."""
        devices(at_home)
        at_home.follow(at_home.page.get_by_role("banner").get_by_role("button", name="Sign out"))
        at_home.page.go_back()
        assert at_home.path.startswith("/login/")


class TestEndingOneDevice:
    def test_sends_its_next_click_to_the_login(self, at_home, on_the_way):
        devices(on_the_way)
        devices(at_home)
        at_home.follow(
            at_home.page.get_by_role("listitem").filter(has_text="Safari on iPhone").get_by_role("button")
        )
        assert at_home.page.get_by_role("status").inner_text() == "That device is signed out."
        assert len(devices(at_home)) == 1
        assert is_at_the_entrance(on_the_way)

    def test_that_has_ended_itself_meanwhile_is_said_calmly(self, at_home, on_the_way):
        devices(at_home)
        on_the_way.follow(on_the_way.page.get_by_role("banner").get_by_role("button", name="Sign out"))
        at_home.follow(
            at_home.page.get_by_role("listitem").filter(has_text="Safari on iPhone").get_by_role("button")
        )
        assert at_home.page.get_by_role("status").inner_text() == "That session has ended already."
        assert len(devices(at_home)) == 1

    def test_that_is_this_one_signs_out(self, at_home, on_the_way):
        devices(at_home)
        at_home.follow(
            at_home.page.get_by_role("listitem").filter(has_text="this device").get_by_role("button")
        )
        assert at_home.path == "/login/"
        assert len(devices(on_the_way)) == 1


class TestEndingAllOthers:
    def test_keeps_this_one_alone(self, site, at_home, on_the_way, open_window):
        third = open_window(site)
        third.sign_in("bob", "builder")
        alice = open_window(site)
        alice.sign_in("alice", "wonderland")
        for window in (on_the_way, third, alice):
            devices(window)
        assert len(devices(at_home)) == 3
        at_home.follow(at_home.page.get_by_role("button", name="Sign out all other devices"))
        assert at_home.page.get_by_role("status").inner_text() == "2 other devices are signed out."
        assert len(devices(at_home)) == 1
        assert is_at_the_entrance(on_the_way)
        assert is_at_the_entrance(third)
        assert not is_at_the_entrance(alice)
        alice.follow(alice.page.get_by_role("banner").get_by_role("button", name="Sign out"))
