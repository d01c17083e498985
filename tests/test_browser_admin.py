"""Does somebody who looks after the site end other people's sessions with a few clicks, in a real browser?"""

from __future__ import annotations

import re

import pytest

from tests.browser import FIREFOX_ON_WINDOWS, SAFARI_ON_IPHONE
from tests.sites import SERVERS

pytest.importorskip("gunicorn")
pytest.importorskip("uvicorn")

LIST = "/admin/django_redis_sessions/session/"


@pytest.fixture(params=SERVERS)
def site(request, browser, sites):
    """The shop; not even started when there is no browser."""
    return sites(request.param)


@pytest.fixture
def admin(site, open_window):
    """Alice's computer, at the list of sessions."""
    window = open_window(site, user_agent=FIREFOX_ON_WINDOWS)
    window.sign_in("alice", "wonderland", at="/admin/login/")
    window.open("/admin/")
    window.page.click("tr.model-session th a")
    return window


@pytest.fixture
def phone(site, open_window):
    """Alice's telephone, in the admin as well."""
    window = open_window(site, user_agent=SAFARI_ON_IPHONE)
    window.sign_in("alice", "wonderland", at="/admin/login/")
    return window


@pytest.fixture
def bob(site, open_window):
    """Bob's computer, in the shop."""
    window = open_window(site, user_agent=FIREFOX_ON_WINDOWS)
    window.sign_in("bob", "builder")
    return window


def row_of(window, name):
    return window.page.locator("#result_list tbody tr").filter(has=window.page.get_by_text(name, exact=True))


class TestEndingASessionFromTheList:
    def test_sends_its_next_click_to_the_login_page(self, admin, phone):
        phone.open("/admin/")
        admin.open(f"{LIST}?q=alice")
        row = row_of(admin, "Safari on iPhone")
        row.locator("input").check()
        assert re.search("selected", row.get_attribute("class"))
        admin.follow(admin.page.get_by_role("button", name="End selected sessions"))
        assert "Are you sure" in admin.page.text_content("#content")
        admin.follow(admin.page.get_by_role("button", name="Yes"))
        assert admin.path == LIST
        assert "1 session was ended." in admin.page.text_content(".messagelist")

        phone.follow(phone.page.locator("tr.model-user th a"))
        assert phone.path.startswith("/admin/login/")
        admin.page.reload()
        assert admin.path == LIST

    def test_of_everybody_on_the_page_signs_out_oneself_too(self, admin, bob):
        admin.page.reload()
        admin.page.check("#action-toggle")
        boxes = admin.page.locator(".action-select")
        assert boxes.count() > 1
        assert all(box.is_checked() for box in boxes.all())
        admin.follow(admin.page.get_by_role("button", name="End selected sessions"))
        assert "you will be signed out" in admin.page.text_content("#content")
        admin.follow(admin.page.get_by_role("button", name="Yes"))
        assert admin.path.startswith("/admin/login/")
        bob.open("/")
        assert not bob.page.get_by_role("button", name="Sign out").is_visible()


class TestEndingAllSessionsOfAUser:
    def test_is_found_by_the_name(self, admin, bob):
        admin.page.fill("#searchbar", "bob")
        admin.page.press("#searchbar", "Enter")
        admin.follow(admin.page.get_by_role("link", name="End all sessions of bob"))
        admin.follow(admin.page.get_by_role("button", name="Yes"))
        assert "ended." in admin.page.text_content(".messagelist")
        bob.open("/")
        assert not bob.page.get_by_role("button", name="Sign out").is_visible()


@pytest.mark.parametrize("site", ["wsgi"], indirect=True)
class TestThePages:
    def test_can_be_walked_by_links_alone(self, admin):
        admin.follow(row_of(admin, "Firefox on Windows").first.get_by_role("link"))
        assert "_auth_user_hash" in admin.page.text_content("#content")
        admin.follow(admin.page.get_by_role("link", name="All sessions of this user"))
        assert "user=" in admin.path
        admin.follow(admin.page.locator(".breadcrumbs a").last)
        assert "django_redis_sessions" in admin.path

    def test_keep_the_words_of_a_device_whole_in_a_narrow_window(self, admin):
        admin.page.set_viewport_size({"width": 1000, "height": 600})
        assert (
            row_of(admin, "Firefox on Windows").locator(".field-device").first.bounding_box()["width"] > 100
        )

    def test_show_a_picture_that_is_drawn(self, admin):
        bar = admin.page.locator(".sessions-overview svg rect.sessions-bar").first
        assert bar.bounding_box()["width"] > 2
        assert bar.evaluate("bar => getComputedStyle(bar).fill") != "rgb(0, 0, 0)"
