"""The admin's pages of sessions, with Django's test client: what is shown, to whom, and what can be ended."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client, override_settings
from django.utils import translation

from django_redis_sessions import admin as pages
from django_redis_sessions import listing, overview, sessions
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.blocking import BlockingClient
from django_redis_sessions.census import LIFE_LABELS, Census
from django_redis_sessions.errors import SessionStoreRefused, SessionStoreUnavailable
from django_redis_sessions.keys import digest
from django_redis_sessions.models import Session

pytestmark = [
    pytest.mark.operator,
    pytest.mark.usefixtures("store", "with_middleware"),
    pytest.mark.django_db,
    pytest.mark.urls("tests.admin_urls"),
]

LIST = "/admin/django_redis_sessions/session/"
END = f"{LIST}end/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
ATTACK = "<script>alert(1)</script>"
UNKNOWN = "x" * 24


@pytest.fixture(params=["django.contrib.sessions", "django_redis_sessions"])
def with_middleware(request, settings):
    """Under Django's middleware and under ours."""
    settings.MIDDLEWARE = [
        f"{request.param}.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]


@pytest.fixture
def boss():
    return User.objects.create_superuser("boss", "boss@example.com", "secret")


@pytest.fixture
def client(boss):
    client = Client()
    client.force_login(boss)
    return client


@pytest.fixture
def alice():
    return User.objects.create_user("alice", "alice@example.com", "wonderland")


@pytest.fixture
def staff():
    """``staff("view", "delete")``: the client of somebody who may do that, and nothing else."""

    def with_permissions(*actions):
        user = User.objects.create_user("staff", is_staff=True)
        for action in actions:
            ours = Permission.objects.filter(content_type__app_label="django_redis_sessions")
            user.user_permissions.add(ours.get(codename=f"{action}_session"))
        client = Client()
        client.force_login(user)
        return client

    return with_permissions


def stored(user_id=None, address=None, agent=None, **data):
    """The handle of a new session."""
    session = SessionStore()
    session.update(data)
    if user_id is not None:
        session["_auth_user_id"] = str(user_id)
        session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
        session["_auth_user_hash"] = "f" * 64
    if address or agent:
        session["_session_device"] = {
            name: value for name, value in (("address", address), ("agent", agent)) if value
        }
    session.save()
    return digest(session.session_key)


def own(client):
    """The handle of a client's session."""
    return digest(client.session.session_key)


def handles(response):
    """The sessions that a list shows."""
    found = re.findall(r'name="_selected_action" value="([^"]+)"', response.content.decode())
    assert len(found) == len(set(found))
    return set(found)


def next_page(response):
    found = re.search(r'<a href="([^"]+)" rel="next">', response.content.decode())
    return found and unescape(found[1])


def page_of(handle):
    # As the admin quotes what stands in its addresses.
    return f"{LIST}{handle.replace('_', '_5F')}/change/"


def confirm(client, url=END, **data):
    return client.post(url, {**data, "post": "yes"}, follow=True)


def is_there(handle):
    return sessions.get(handle) is not None


class TestThePermissions:
    @pytest.mark.parametrize(
        ("actions", "may_see", "may_end"),
        [
            ((), False, False),
            (("view",), True, False),
            (("delete",), False, False),
            (("view", "delete"), True, True),
        ],
        ids=str,
    )
    def test_decide_what_can_be_seen_and_done(self, staff, alice, actions, may_see, may_end):
        handle = stored(alice.pk)
        client = staff(*actions)
        seen = 200 if may_see else 403
        for url, offer in ((LIST, "End selected sessions"), (page_of(handle), "End this session")):
            response = client.get(url)
            assert response.status_code == seen
            assert (offer in response.content.decode()) is (may_see and may_end)
            assert client.post(url).status_code == (405 if may_end else 403)
        delete = page_of(handle).replace("change", "delete")
        for url, data in ((END, {"_selected_action": handle}), (END, {"user": alice.pk}), (delete, {})):
            assert client.get(url, data).status_code == (200 if may_end else 403)
            assert client.post(url, data).status_code == (200 if may_end else 403)
        assert is_there(handle)
        assert confirm(client, delete).status_code == (200 if may_end else 403)
        assert is_there(handle) is not may_end

    @pytest.mark.parametrize("url", [LIST, END, page_of(UNKNOWN), f"{LIST}{UNKNOWN}/"])
    def test_are_those_of_staff_only(self, url, alice):
        visitor = Client()
        for _ in range(2):
            response = visitor.get(url)
            assert response.status_code == 302
            assert response["Location"].startswith("/admin/login/")
            visitor.force_login(alice)

    def test_never_let_anybody_add_or_change(self, client):
        assert client.get(f"{LIST}add/", follow=True).redirect_chain
        index = client.get("/admin/").content.decode()
        assert f'href="{LIST}"' in index
        assert f"{LIST}add/" not in index

    def test_do_without_the_page_where_nothing_may_be_done(self, staff):
        assert LIST not in staff().get("/admin/").content.decode()

    def test_are_not_enough_without_the_token_of_the_form(self, boss):
        client = Client(enforce_csrf_checks=True)
        client.force_login(boss)
        handle = stored()
        assert confirm(client, _selected_action=handle).status_code == 403
        assert is_there(handle)


class TestTheList:
    def test_shows_users_devices_and_addresses(self, client, alice):
        stored(alice.pk, "192.0.2.7", FIREFOX)
        stored(cart=1)
        text = client.get(LIST).content.decode()
        for part in (
            "alice",
            "192.0.2.7",
            "Firefox",
            "Linux",
            "Anonymous",
            "this is you",
            "just now",
            "bytes",
        ):
            assert part in text

    def test_tells_times_in_words(self, client):
        handle = stored()
        now = datetime.now(UTC)
        seen = {}
        for minutes in (-1, 0, 3, 300):
            info = replace(sessions.get(handle), last_seen=now - timedelta(minutes=minutes, seconds=1))
            seen[minutes] = listing.Row(info, None, False).last_seen_ago.replace("\xa0", " ")
        assert seen == {-1: "just now", 0: "just now", 3: "3 minutes ago", 300: "5 hours ago"}

    def test_shows_a_deleted_user_by_the_id(self, client, alice):
        stored(alice.pk)
        old = alice.pk
        alice.delete()
        assert f"Deleted user {old}" in client.get(LIST).content.decode()

    def test_asks_for_all_users_of_a_page_at_once(self, client, django_assert_max_num_queries):
        for number in range(30):
            stored(User.objects.create_user(f"user{number}").pk)
        client.get(LIST)
        # The reader, the permissions that the admin's index asks for, and the users.
        with django_assert_max_num_queries(4):
            client.get(LIST)

    @pytest.mark.parametrize("who", ["", "users", "anonymous"])
    def test_visits_every_session_once(self, client, who):
        users, anonymous = {own(client)}, set()
        for number in range(400):
            users.add(stored(number)) if number % 3 else anonymous.add(stored(number=number))
        found, url, visited = set(), f"{LIST}?who={who}", 0
        while url:
            response = client.get(url)
            assert not found & handles(response)
            found |= handles(response)
            visited += 1
            url = next_page(response)
            url = url and (url if url.startswith("/") else LIST + url)
        assert found == {"": users | anonymous, "users": users, "anonymous": anonymous}[who]
        assert visited > 1

    def test_says_so_when_there_is_nothing(self, client, behind, prefix):
        with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies"):
            client.force_login(User.objects.get(username="boss"))
            text = client.get(LIST).content.decode()
        for key in behind.scan_iter(f"{prefix}:r:*"):
            behind.unlink(key)
        with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies"):
            text = client.get(LIST).content.decode()
        assert "There are no sessions." in text
        assert "End selected" not in text

    def test_goes_on_where_one_page_of_redis_has_nothing(self, client, monkeypatch):
        wanted = sessions.get(stored())
        found = [[], [], [wanted]]

        def page(cursor, *, anonymous):
            return sessions.Page(found.pop(0), "0-7" if found else None)

        monkeypatch.setattr(sessions, "page", page)
        assert handles(client.get(LIST)) == {wanted.handle}
        found = [[]] * listing.MOST_FETCHES + [[wanted]]
        response = client.get(LIST)
        assert "None among those that were looked at." in response.content.decode()
        assert handles(client.get(LIST + next_page(response).removeprefix(LIST))) == {wanted.handle}

    @pytest.mark.parametrize(
        "query",
        [
            "cursor=nonsense",
            "cursor=%00",
            "cursor=-1",
            "cursor=" + "9" * 200,
            "cursor=" + "9" * 1000,
            "cursor=%F0%9F%92%A9",
            "who=everybody",
            "seen=-1",
            "seen=nonsense",
            "seen=" + "9" * 400,
            "q=%00",
            "q=" + "x" * 1000,
            "q=%ED%A0%80",
            "q=*",
            "q=" + UNKNOWN,
            "q=1.2.3.4/99",
            "q=1.2.3.4/8/8",
            "q=::::",
            "q=" + "9" * 100,
            "q=-1",
            "user=%00",
            "user=" + "x" * 1000,
            "user=nobody",
            "user=" + "9" * 100,
            "user=%2F..%2F",
        ],
    )
    def test_answers_bad_addresses_calmly(self, client, query):
        response = client.get(f"{LIST}?{query}", follow=True)
        assert response.status_code == 200
        assert "<h1>Sessions</h1>" in response.content.decode()


class TestASearch:
    @pytest.mark.parametrize("text", ["alice", "alice@example.com", "ALICE@example.com", " alice ", "id"])
    def test_finds_the_sessions_of_a_user(self, client, alice, text):
        hers = {stored(alice.pk), stored(alice.pk)}
        stored(User.objects.create_user("bob").pk)
        response = client.get(LIST, {"q": str(alice.pk) if text == "id" else text})
        assert handles(response) == hers
        assert "End all sessions of alice" in response.content.decode()
        assert f'href="/admin/auth/user/{alice.pk}/change/"' in response.content.decode()

    def test_finds_a_user_that_was_deleted_by_the_id(self, client, alice):
        handle, old = stored(alice.pk), alice.pk
        alice.delete()
        response = client.get(LIST, {"q": old})
        assert handles(response) == {handle}
        assert "does not exist any more" in response.content.decode()
        assert not handles(client.get(LIST, {"q": old + 1}))

    def test_finds_everybody_with_one_e_mail_address(self, client, alice):
        bob = User.objects.create_user("bob", "alice@example.com")
        both = {stored(alice.pk), stored(bob.pk)}
        assert handles(client.get(LIST, {"q": "alice@example.com"})) == both

    def test_for_a_handle_leads_to_the_session(self, client):
        handle = stored()
        response = client.get(LIST, {"q": handle})
        assert response.status_code == 302
        assert handle in client.get(response["Location"]).content.decode()

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("192.0.2.7", {"a"}),
            ("192.0.2.", {"a", "b"}),
            ("192.0.2.0/29", {"a"}),
            ("2001:db8::1", {"c"}),
            ("2001:DB8::/32", {"c"}),
            ("2001:0db8:0:0::1", {"c"}),
            ("198.51.100.1", set()),
        ],
    )
    def test_for_an_address_looks_through_sessions(self, client, text, expected):
        made = {
            "a": stored(1, "192.0.2.7"),
            "b": stored(1, "192.0.2.77"),
            "c": stored(2, "2001:db8::1"),
            "d": stored(3, "no address"),
        }
        response = client.get(LIST, {"q": text})
        assert handles(response) == {made[name] for name in expected}
        assert "That was the last one." in response.content.decode()

    def test_for_an_address_stops_and_goes_on_when_asked(self, client, monkeypatch):
        monkeypatch.setattr(listing, "LOOKED_THROUGH", 100)
        wanted = {stored(number, f"192.0.2.{number % 100}") for number in range(400)}
        wanted = {handle for handle in wanted if sessions.get(handle).address == "192.0.2.7"}
        found, url, seen = set(), f"{LIST}?q=192.0.2.7", []
        while url:
            response = client.get(url)
            text = response.content.decode()
            found |= handles(response)
            seen.append(int(re.search(r"Looked through (\d+) sessions so far", text)[1]))
            url = next_page(response)
            assert bool(url) == ("Go on" in text)
        assert found == wanted
        assert len(wanted) == 4
        assert seen == sorted(seen)
        assert seen[-1] == 401
        assert len(seen) > 2

    @pytest.mark.parametrize("gone", [False, True])
    def test_without_an_index_looks_through_sessions(self, client, alice, configure, gone):
        configure(USER_INDEX=False)
        hers = {stored(alice.pk) for _ in range(3)}
        text = {"user": alice.pk} if gone else {"q": "alice"}
        if gone:
            alice.delete()
        response = client.get(LIST, text)
        assert handles(response) == hers
        assert "Looked through 4 sessions so far" in response.content.decode()
        assert "End all sessions of" not in response.content.decode()

    def test_without_an_index_says_why_a_user_cannot_be_signed_out_everywhere(self, client, alice, configure):
        configure(USER_INDEX=False)
        response = client.get(END, {"user": alice.pk})
        assert response.status_code == 503
        assert "USER_INDEX" in response.content.decode()

    def test_gives_up_for_now_after_so_many_calls(self, client, monkeypatch):
        monkeypatch.setattr(sessions, "page", lambda *_, **__: sessions.Page([], "0-7"))
        response = client.get(LIST, {"q": "192.0.2.7"})
        assert "Go on" in response.content.decode()

    def test_keeps_the_filter(self, client, alice):
        stored(alice.pk)
        assert not handles(client.get(LIST, {"q": "alice", "who": "anonymous"}))
        assert handles(client.get(LIST, {"q": "alice", "who": "users"}))


class TestTheFigures:
    def test_are_in_the_picture_and_in_its_description(self, client):
        for _ in range(3):
            stored()
        text = client.get(LIST).content.decode()
        assert "7 to 14 days: 4" in text
        assert 'role="img"' in text

    def test_are_asked_for_once_a_minute(self, store, monkeypatch):
        asked, now = [], [0.0]
        monkeypatch.setattr(sessions, "statistics", lambda sample: asked.append(sample) or len(asked))
        figures = overview.Figures(lambda: now[0])
        assert [figures.statistics(), figures.statistics()] == [1, 1]
        now[0] = overview.KEPT
        assert figures.statistics() == 2
        figures.forget()
        assert figures.statistics() == 3
        assert asked == [overview.SAMPLE] * 3

    def test_say_so_when_they_are_from_a_sample(self, client, monkeypatch):
        monkeypatch.setattr(overview, "SAMPLE", 100)
        for _ in range(700):
            stored()
        text = client.get(LIST).content.decode()
        assert re.search(r"more than \d+", text)
        assert re.search(r"from a sample of \d+ sessions", text)

    def test_name_the_bars_as_the_census_does(self):
        with translation.override("en"):
            assert [str(name) for name in overview.LIFE_NAMES] == list(LIFE_LABELS)

    def test_make_bars_of_whole_numbers_that_fit(self):
        census = Census(lives=[0, 1, 1000, 500, 3, 0])
        bars = overview.bars(census)
        assert [bar.length for bar in bars] == [0, 2, overview.BAR_LONGEST, overview.BAR_LONGEST // 2, 2, 0]
        assert all(bar.after < overview.PICTURE_WIDTH and bar.baseline < overview.height() for bar in bars)
        assert [bar.length for bar in overview.bars(Census())] == [0] * 6

    def test_stay_whole_numbers_in_languages_that_group_digits(self, client, settings):
        settings.USE_THOUSAND_SEPARATOR = True
        monkeypatched = client.get(LIST, headers={"accept-language": "de"}).content.decode()
        assert f'viewBox="0 0 {overview.PICTURE_WIDTH} {overview.height()}"' in monkeypatched


class TestOneSession:
    def test_shows_its_data_without_secrets(self, client, alice):
        handle = stored(alice.pk, "192.0.2.7", FIREFOX, cart={"mug": 2}, api={"token": "hunter2"})
        text = client.get(page_of(handle)).content.decode()
        for part in (
            "alice",
            "192.0.2.7",
            FIREFOX,
            "mug",
            "_auth_user_hash",
            "••••",
            "All sessions of this user",
        ):
            assert part in text
        assert "hunter2" not in text
        assert "f" * 64 not in text

    def test_links_to_a_user_whom_the_reader_may_see(self, client, staff, alice, monkeypatch):
        handle = stored(alice.pk)
        from django.contrib import admin
        from django.contrib.auth.admin import UserAdmin

        assert admin.site.is_registered(User)
        assert isinstance(admin.site.get_model_admin(User), UserAdmin)
        link = f"/admin/auth/user/{alice.pk}/change/"
        assert link in client.get(page_of(handle)).content.decode()
        assert link not in staff("view").get(page_of(handle)).content.decode()

    @pytest.mark.parametrize(
        "address",
        [
            page_of(UNKNOWN),
            page_of("short"),
            page_of("x" * 2000),
            f"{LIST}{UNKNOWN}/",
            f"{LIST}../../{UNKNOWN}/change/",
            f"{LIST}%00/change/",
            f"{LIST}%F0%9F%92%A9/change/",
            f"{LIST}<script>/change/",
            f"{LIST}*/change/",
            f"{LIST}{UNKNOWN}/delete/",
        ],
    )
    def test_that_is_gone_or_never_was_leads_to_the_list(self, client, address):
        response = client.get(address, follow=True)
        assert response.status_code == 200
        assert response.redirect_chain[-1][0] == LIST
        assert "It may have ended." in response.content.decode()

    def test_that_cannot_be_read_says_so_and_can_be_ended(self, client, behind, store):
        handle = stored(cart=1)
        behind.set(f"{store.keys.prefix}:r:{handle}", b"\x01 no record", ex=60)
        assert "cannot be read" in client.get(LIST).content.decode()
        text = client.get(page_of(handle)).content.decode()
        assert "cannot be read" in text
        assert "End this session" in text
        assert confirm(client, page_of(handle).replace("change", "delete")).status_code == 200
        assert not is_there(handle)

    def test_that_holds_nothing_says_so(self, client):
        assert "Nothing is stored" in client.get(page_of(stored())).content.decode()


class TestEndingSessions:
    def test_that_were_selected_asks_first_and_notes_each_in_the_log(self, client, boss, alice):
        chosen, kept = [stored(alice.pk, "192.0.2.7", FIREFOX), stored()], stored()
        asked = client.post(END, {"_selected_action": chosen})
        assert asked.status_code == 200
        assert "end these 2 sessions" in asked.content.decode()
        assert is_there(chosen[0])
        assert not LogEntry.objects.exists()

        done = confirm(client, _selected_action=chosen)
        assert done.redirect_chain == [(LIST, 302)]
        assert "2 sessions were ended." in done.content.decode()
        assert [is_there(handle) for handle in (*chosen, kept)] == [False, False, True]
        entries = LogEntry.objects.filter(action_flag=DELETION, user=boss)
        assert {entry.object_id for entry in entries} == set(chosen)
        (hers,) = entries.filter(object_id=chosen[0])
        assert "alice" in hers.object_repr
        assert "192.0.2.7" not in hers.object_repr
        assert hers.content_type.model_class() is Session
        assert client.get("/admin/").status_code == 200

    def test_of_one_user_ends_them_all(self, client, alice):
        hers, other = [stored(alice.pk) for _ in range(3)], stored()
        asked = client.get(END, {"user": alice.pk})
        assert "all sessions of alice" in asked.content.decode()
        done = confirm(client, user=alice.pk)
        assert "3 sessions were ended." in done.content.decode()
        assert not any(map(is_there, hers))
        assert is_there(other)
        assert LogEntry.objects.count() == 3

    def test_of_a_user_who_was_deleted_meanwhile_works_as_well(self, client, alice):
        handle, old = stored(alice.pk), alice.pk
        alice.delete()
        assert f"Deleted user {old}" in client.get(END, {"user": old}).content.decode()
        assert "1 session was ended." in confirm(client, user=old).content.decode()
        assert not is_there(handle)

    def test_signs_the_other_person_out(self, client, alice):
        hers = Client()
        hers.force_login(alice)
        confirm(client, _selected_action=own(hers))
        assert "_auth_user_id" not in hers.session

    @pytest.mark.parametrize("way", ["selected", "user", "one"])
    def test_of_ones_own_signs_out_calmly(self, client, boss, way, settings):
        settings.SESSION_SAVE_EVERY_REQUEST = True
        mine, other = own(client), stored()
        url, data = {
            "selected": (END, {"_selected_action": [mine, other]}),
            "user": (END, {"user": boss.pk}),
            "one": (page_of(mine).replace("change", "delete"), {}),
        }[way]
        assert "you will be signed out" in client.post(url, data).content.decode()
        done = confirm(client, url, **data)
        assert done.status_code == 200
        assert done.redirect_chain[-1][0].startswith("/admin/login/")
        assert not is_there(mine)
        assert is_there(other) is (way != "selected")
        assert LogEntry.objects.filter(user=boss, object_id=mine).exists()
        client.force_login(boss)
        assert client.get(LIST).status_code == 200

    @pytest.mark.parametrize(
        "data",
        [
            {},
            {"_selected_action": UNKNOWN},
            {"_selected_action": ["", "*", "\0", "x" * 5000, "💩", UNKNOWN]},
            {"user": "nobody"},
            {"user": "\0"},
            {"user": "x" * 5000},
            {"user": "💩"},
            {"user": "9" * 100},
        ],
        ids=lambda data: str(data)[:40],
    )
    def test_that_are_none_says_so(self, client, data):
        kept = stored()
        for post in ("", "yes"):
            response = client.post(END, {**data, "post": post}, follow=True)
            assert response.status_code == 200
            assert re.search("No sessions were selected|have ended already", response.content.decode())
        assert is_there(kept)
        assert not LogEntry.objects.exists()

    def test_that_ended_between_question_and_answer_counts_the_others(self, client):
        here, gone = stored(), stored()
        sessions.revoke(gone)
        assert "1 session was ended." in confirm(client, _selected_action=[here, gone]).content.decode()

    def test_that_all_ended_in_between_notes_none(self, client, monkeypatch):
        monkeypatch.setattr(sessions, "revoke", lambda handle: False)
        assert "0 sessions were ended." in confirm(client, _selected_action=stored()).content.decode()
        assert not LogEntry.objects.exists()

    def test_needs_a_confirmation_by_post(self, client):
        handle = stored()
        client.get(END, {"_selected_action": handle, "post": "yes"})
        client.get(page_of(handle).replace("change", "delete"), {"post": "yes"})
        assert is_there(handle)

    def test_notes_what_was_ended_before_an_outage(self, client, monkeypatch):
        chosen = [stored(), stored(), stored()]
        revoke, left = sessions.revoke, [2]

        def fail_late(handle):
            if not left[0]:
                raise SessionStoreUnavailable("gone")
            left[0] -= 1
            return revoke(handle)

        monkeypatch.setattr(sessions, "revoke", fail_late)
        assert confirm(client, _selected_action=chosen).status_code == 503
        assert LogEntry.objects.count() == 2


class TestAnOutage:
    @pytest.mark.parametrize("url", [LIST, END, page_of(UNKNOWN), f"{LIST}?q=alice", f"{LIST}{UNKNOWN}/"])
    @pytest.mark.parametrize("debug", [True, False])
    def test_is_a_calm_page(self, client, configure, url, debug, settings):
        settings.DEBUG = debug
        configure(URL="unix:///nowhere/redis.sock")
        response = client.get(url)
        assert response.status_code == 503
        assert response["Retry-After"]
        assert "Temporarily unavailable" in response.content.decode()
        assert not response.cookies

    @pytest.mark.parametrize("name", ["statistics", "page", "get", "data", "of_user"])
    def test_in_the_middle_of_a_page_is_one_too(self, client, monkeypatch, name):
        def fail(*_, **__):
            raise SessionStoreUnavailable("gone")

        handle = stored()
        client.get(LIST)
        pages.admin.site.get_model_admin(Session)._figures.forget()
        monkeypatch.setattr(sessions, name, fail)
        url = {"get": page_of(handle), "data": page_of(handle), "of_user": f"{LIST}?user=1"}.get(name, LIST)
        assert client.get(url).status_code == 503

    def test_of_rights_alone_says_what_was_refused(self, client, monkeypatch):
        def refuse(*_, **__):
            raise SessionStoreRefused("no permissions to run the 'scan' command")

        monkeypatch.setattr(sessions, "page", refuse)
        response = client.get(LIST)
        assert response.status_code == 503
        assert "no permissions to run" in response.content.decode()


class TestTheCost:
    """As docs/admin.md says."""

    @pytest.fixture
    def trips(self, known_scripts, monkeypatch):
        execute, sent = BlockingClient.execute, []
        monkeypatch.setattr(
            BlockingClient, "execute", lambda self, command: sent.append(command) or execute(self, command)
        )

        def count(send, *given):
            sent.clear()
            assert send(*given).status_code in (200, 302)
            return len(sent)

        return count

    def test_of_each_page_is_a_few_round_trips(self, client, alice, trips):
        chosen = [stored(alice.pk, "192.0.2.7") for _ in range(3)]
        stored()
        pages.admin.site.get_model_admin(Session)._figures.forget()
        assert trips(client.get, LIST) <= 9
        assert trips(client.get, LIST) == 3
        assert trips(client.get, LIST, {"q": "alice"}) == 3
        assert trips(client.get, LIST, {"q": "192.0.2.7"}) == 3
        assert trips(client.get, page_of(chosen[0])) == 3
        assert trips(client.post, END, {"_selected_action": chosen[:2]}) == 3
        assert trips(client.post, END, {"user": alice.pk}) == 3
        assert trips(client.post, END, {"_selected_action": chosen[:2], "post": "yes"}) <= 11
        assert trips(client.post, END, {"user": alice.pk, "post": "yes"}) <= 10


class Strict(HTMLParser):
    """Finds what `default-src 'self'` would refuse."""

    def __init__(self, text):
        super().__init__()
        self.refused, self._tag = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._tag = tag
        given = dict(attributes)
        for name, value in attributes:
            if name == "style" or name.startswith("on"):
                self.refused.append((tag, name))
            if name in ("src", "href", "action") and re.match(r"\s*(javascript|data|https?|//)", value or ""):
                self.refused.append((tag, value))
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.refused.append((tag, ""))

    def handle_data(self, data):
        if self._tag == "script" and data.strip():
            self.refused.append(("script", data))

    def handle_endtag(self, tag):
        self._tag = ""


class TestThePages:
    @pytest.fixture
    def texts(self, client):
        user = User.objects.create_user(ATTACK, ATTACK)
        handle = stored(user.pk, ATTACK, ATTACK, **{ATTACK: ATTACK, "list": [{ATTACK: ATTACK}]})
        gone = stored(ATTACK)
        return [
            client.get(url, follow=True).content.decode()
            for url in (
                LIST,
                f"{LIST}?q={ATTACK}",
                f"{LIST}?user={user.pk}",
                f"{LIST}?user={ATTACK}",
                f"{LIST}?q=192.0.2.7",
                page_of(handle),
                page_of(gone),
                page_of(ATTACK),
                f"{END}?user={user.pk}",
                f"{END}?_selected_action={handle}&_selected_action={gone}",
                "/admin/",
            )
        ]

    def test_never_run_what_visitors_have_sent(self, texts):
        assert any("&lt;script&gt;alert(1)" in text for text in texts)
        for text in texts:
            assert ATTACK not in text

    def test_need_nothing_but_files_of_the_site(self, texts):
        for text in texts:
            assert Strict(text).refused == []

    def test_are_proven_by_a_check_that_finds_something(self):
        text = '<p style="x" onclick="x"><style></style><script>x</script><a href="javascript:x">'
        assert len(Strict(text).refused) == 6

    def test_have_the_way_back(self, client):
        text = client.get(page_of(stored())).content.decode()
        assert f'href="{LIST}"' in text
        assert 'href="/admin/django_redis_sessions/"' in text
        assert client.get("/admin/django_redis_sessions/").status_code == 200

    def test_never_show_a_session_key(self, client):
        session = SessionStore()
        session["a"] = 1
        session.save()
        for url in (LIST, page_of(digest(session.session_key))):
            text = client.get(url).content.decode()
            assert session.session_key not in text
            assert client.session.session_key not in text


class TestInAnotherLanguage:
    @pytest.mark.parametrize(
        ("language", "words"),
        [
            ("de", ("Sitzungen beenden", "Anonym", "Firefox auf Linux", "Gelöschter Benutzer 8", "Läuft ab")),
            ("fr", ("Terminer les", "Connecté", "Firefox sur Linux", "Utilisateur supprimé 8", "Expiration")),
        ],
    )
    def test_the_list_is_translated(self, client, settings, language, words):
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
        stored(8, agent=FIREFOX)
        shown = client.get(LIST, headers={"accept-language": language}).content.decode()
        assert [word for word in words if word not in shown] == []

    def test_no_other_app_lends_its_words(self, client, settings):
        """Catalogues are one: ``django.contrib.sessions`` has "Sessions" in German too, and stands before us."""
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
        shown = client.get(LIST, headers={"accept-language": "de"}).content.decode()
        assert re.search(r"<h1>\s*Sitzungen\s*</h1>|<h2>\s*Sitzungen\s*</h2>", shown)
        assert not re.search(r">\s*Sessions\s*<", shown)

    def test_the_log_stays_in_english(self, client, alice, settings):
        """It is read by other people than those who have ended a session."""
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
        handle = stored(alice.pk, agent=FIREFOX)
        client.post(END, {"_selected_action": handle, "post": "yes"}, headers={"accept-language": "de"})
        assert LogEntry.objects.get().object_repr == f"alice · Firefox on Linux · {handle}"
