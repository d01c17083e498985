"""``redis_sessions list``, ``show`` and ``revoke``: sessions one by one, by their handles."""

import io
import json
import re

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError

from django_redis_sessions import people, sessions, walks
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.errors import SessionStoreRefused, SessionStoreUnavailable
from django_redis_sessions.keys import digest
from django_redis_sessions.masking import MASK
from django_redis_sessions.records import LIFE_OFFSET, header_of, life
from django_redis_sessions.sessions import Page, looking
from django_redis_sessions.sessions.ranking import _Ranking

pytestmark = pytest.mark.operator


def call(*arguments, **options):
    out, err = io.StringIO(), io.StringIO()
    call_command("redis_sessions", *arguments, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def listed(*arguments):
    found = json.loads(call("list", *arguments, "--json")[0])
    return [each["handle"] for each in found["sessions"]], found["next"]


def begin(user=None, size=0, **data):
    session = SessionStore()
    if user:
        session["_auth_user_id"] = str(user)
    session.update(data)
    if size:
        session["filling"] = "".join(f"{number:x}" for number in range(size))
    session.save()
    return session


def handle_of(session):
    return digest(session.session_key)


@pytest.fixture
def alice(db):
    return User.objects.create_user("alice", "alice@example.com")


@pytest.mark.django_db
class TestListing:
    def test_names_every_session_and_shows_no_session_key(self, store, alice):
        made = [begin(), begin(alice.pk), begin("4711")]
        out, err = call("list")
        assert {handle_of(session) for session in made} == set(
            re.findall(r"^([\w-]{24})  ", out, re.MULTILINE)
        )
        assert re.search(rf"{handle_of(made[0])}  anonymous ", out)
        assert re.search(rf"{handle_of(made[1])}  alice ", out)
        assert re.search(rf"{handle_of(made[2])}  4711 ", out)
        assert not any(session.session_key in out for session in made)
        assert err == ""

    def test_says_when_there_is_nothing(self, store):
        assert call("list")[0] == "No sessions.\n"
        assert listed() == ([], None)

    def test_tells_programs_everything_about_each(self, store, alice):
        session = begin(alice.pk, _redis_sessions={})
        (found,) = json.loads(call("list", "--json")[0])["sessions"]
        assert found["handle"] == handle_of(session)
        assert (found["user"], found["username"], found["anonymous"]) == (str(alice.pk), "alice", False)
        assert found["created"] <= found["last_seen"] < found["expires"]

    def test_filters_by_who_is_signed_in(self, store, alice):
        anonymous, hers, other = begin(), begin(alice.pk), begin("4711")
        assert listed("--anonymous")[0] == [handle_of(anonymous)]
        assert set(listed("--logged-in")[0]) == {handle_of(hers), handle_of(other)}
        for spelling in (str(alice.pk), "alice", "ALICE@example.com"):
            assert listed("--user", spelling)[0] == [handle_of(hers)]
        assert listed("--user", "4711")[0] == [handle_of(other)]

    def test_without_an_index_finds_a_users_sessions_too(self, configure, alice):
        configure(USER_INDEX=False)
        hers = begin(alice.pk)
        begin("4711")
        assert listed("--user", "alice")[0] == [handle_of(hers)]

    def test_refuses_a_user_that_nobody_is(self, store):
        with pytest.raises(CommandError, match="no such user"):
            call("list", "--user", "nobody")

    def test_refuses_to_guess_among_several(self, store, alice):
        User.objects.create_user("bob", "alice@example.com")
        with pytest.raises(CommandError, match=r"Several users may be meant.*\d, \d"):
            call("list", "--user", "alice@example.com")

    def test_needs_no_database_for_primary_keys(self, store, monkeypatch):
        def down(_):
            raise OperationalError("the database is down")

        monkeypatch.setattr(people, "matching", down)
        monkeypatch.setattr(people, "named", down)
        session = begin("42")
        out, err = call("list", "--user", "42")
        assert re.search(rf"{handle_of(session)}  42 ", out)
        assert err.count("The database cannot be asked") == 2


class TestSorting:
    @pytest.fixture
    def some(self, store, behind):
        """Three sessions that differ in size, age and rest."""
        made = [begin(size=size) for size in (10, 400, 90)]
        for session, age in zip(made, (50, 900, 7000), strict=True):
            name = store.keys.record(session.session_key)
            header = header_of(behind.get(name))
            behind.setrange(name, LIFE_OFFSET, life(header.touched - age, header.ttl))
        return [handle_of(session) for session in made]

    def test_puts_the_largest_first(self, some):
        assert listed("--sort", "size") == ([some[1], some[2], some[0]], None)

    def test_puts_the_longest_idle_first(self, some):
        assert listed("--sort", "idle") == ([some[2], some[1], some[0]], None)

    def test_goes_on_behind_the_last_page(self, some):
        page, cursor = listed("--sort", "size", "--limit", "2")
        assert page == [some[1], some[2]]
        assert listed("--sort", "size", "--limit", "2", "--cursor", cursor) == ([some[0]], None)
        assert f"--cursor {cursor}" in call("list", "--sort", "size", "--limit", "2")[1]

    def test_refuses_the_cursor_of_another_order(self, some):
        _, cursor = listed("--sort", "size", "--limit", "1")
        for arguments in (["--sort", "idle", "--cursor", cursor], ["--sort", "idle", "--cursor", "x"]):
            with pytest.raises(CommandError, match="sorted by idle"):
                call("list", *arguments)
        with pytest.raises(CommandError, match="without --sort"):
            call("list", "--cursor", cursor)

    def test_sorts_by_age_and_keeps_no_more_than_a_page(self, store, monkeypatch):
        monkeypatch.setattr(walks, "PAGE", 10)
        made = {handle_of(begin()) for _ in range(100)}
        pages, cursor = [], ""
        while cursor is not None:
            page, cursor = listed("--sort", "created", "--limit", "30", "--cursor", cursor)
            pages.append(page)
        assert [len(page) for page in pages] == [30, 30, 30, 10]
        assert {handle for page in pages for handle in page} == made

    def test_a_users_sessions_too(self, store, do):
        small, large = begin("7", size=10), begin("7", size=400)
        page = do(sessions.ranked, "size", 1, user="7")
        assert [info.handle for info in page.infos] == [handle_of(large)]
        page = do(sessions.ranked, "size", 1, user="7", cursor=page.next)
        assert ([info.handle for info in page.infos], page.next) == ([handle_of(small)], None)
        assert do(sessions.ranked, "size", 1, user="7", anonymous=True).infos == []

    def test_knows_its_orders_alone(self, store):
        with pytest.raises(ValueError, match="order is 'colour'"):
            sessions.ranked("colour")

    def test_leaves_out_what_is_no_session(self, store, behind):
        name = f"{store.keys.prefix}:r:no-record"
        behind.set(name, "x" * 5000, ex=60)
        session = begin()
        page, _ = listed("--sort", "size")
        assert len(page) == 2
        assert listed("--sort", "created")[0][0] == handle_of(session)
        assert "unreadable" in call("list", "--sort", "idle")[0]


class TestARanking:
    def test_overlooks_what_ceases_to_be_a_session_meanwhile(self, store):
        """Played by hand: one key goes between two looks, another is replaced by another kind of key."""
        ranking = _Ranking("size", 5, None, None, None)
        name = f"{store.keys.prefix}:r:{'x' * 24}".encode()
        assert [command[0] for command in ranking.commands([name] * 3)] == ["GETRANGE"] * 3 + ["STRLEN"] * 3
        other = SessionStoreRefused("WRONGTYPE")
        ranking.receive([b"start", b"", other, other, 0, other])
        with pytest.raises(StopIteration) as done:
            ranking.infos().send(None)
        assert ranking.page([done.value.value]) == Page([], None)


class TestPaging:
    def test_shows_exactly_as_many_as_asked_for_and_every_one_once(self, store, do, monkeypatch):
        monkeypatch.setattr(walks, "LOOK", 10)
        made = {handle_of(begin()) for _ in range(60)}
        seen, cursor = [], ""
        while cursor is not None:
            page = do(sessions.page, cursor, limit=7)
            assert len(page.infos) == 7 or page.next is None or len(page.infos) < 7
            seen += [info.handle for info in page.infos]
            cursor = page.next
        assert sorted(seen) == sorted(made)

    def test_misses_nobody_when_others_come_and_go(self, store):
        made = [begin() for _ in range(20)]
        page, cursor = listed("--limit", "5")
        assert len(page) == 5
        gone = next(session for session in made if handle_of(session) == page[-1])
        gone.delete()
        seen = set(page)
        while cursor is not None:
            page, cursor = listed("--limit", "5", "--cursor", cursor)
            seen |= set(page)
        assert seen >= {handle_of(session) for session in made}

    def test_looks_on_until_the_page_is_full(self, store, monkeypatch):
        monkeypatch.setattr(looking, "MOST_LOOKS", 1)
        monkeypatch.setattr(walks, "LOOK", 5)
        for _ in range(40):
            begin()
        assert len(listed("--limit", "30")[0]) == 30


@pytest.mark.django_db
class TestShowing:
    def test_tells_the_facts_and_the_data_with_secrets_masked(self, store, alice):
        session = begin(alice.pk, cart={"teapot": 1}, api_token="hush", _auth_user_hash="abc")
        out, _ = call("show", handle_of(session))
        assert f"Session        {handle_of(session)}\n" in out
        assert f"  user         {alice.pk} (alice)\n" in out
        assert '"teapot": 1' in out
        assert f"  api_token: {MASK}\n" in out
        assert "hush" not in out
        assert session.session_key not in out

    def test_tells_programs_the_same(self, store):
        session = begin(password="hush", theme="dark")
        found = json.loads(call("show", handle_of(session), "--json")[0])
        assert found["data"] == {"password": MASK, "theme": "dark"}
        assert found["anonymous"] is True

    def test_says_that_nobody_is_signed_in_and_nothing_is_in_it(self, store):
        session = SessionStore()
        session.create()
        out, _ = call("show", handle_of(session))
        assert "nobody is signed in" in out
        assert "No data." in out

    def test_does_not_hide_a_session_that_cannot_be_read(self, store, behind):
        session = begin()
        behind.set(store.keys.record(session.session_key), b"\x01 damaged", ex=60)
        assert "cannot be read" in call("show", handle_of(session))[0]

    def test_an_unknown_handle_is_an_error(self, store):
        with pytest.raises(CommandError, match="no session with this handle") as caught:
            call("show", "x" * 24)
        assert caught.value.returncode == 1

    def test_a_session_key_is_no_handle_and_is_not_repeated(self, store):
        session = begin()
        for arguments in (["show", session.session_key], ["revoke", session.session_key, "--no-input"]):
            with pytest.raises(CommandError, match="no handle") as caught:
                call(*arguments)
            assert session.session_key not in str(caught.value)

    def test_a_handle_may_begin_like_an_option(self, store, monkeypatch):
        asked = []
        monkeypatch.setattr(sessions, "get", asked.append)
        monkeypatch.setattr(sessions, "data", asked.append)
        for name in ("-v" + "x" * 22, "--" + "x" * 22):
            with pytest.raises(CommandError, match="no session"):
                call("show", name)
        assert asked[::2] == ["-v" + "x" * 22, "--" + "x" * 22]

    def test_what_others_have_written_commands_no_terminal(self, store):
        session = begin(**{"na\x1b[31mme": "value"})
        assert "\x1b" not in call("show", handle_of(session))[0]


@pytest.mark.django_db
class TestRevoking:
    @pytest.fixture
    def made(self, store, alice):
        return [begin(alice.pk), begin(alice.pk), begin("4711"), begin()]

    def left(self):
        return sessions.count()

    def test_by_handle_ends_those_and_names_the_unknown(self, made):
        handles = [handle_of(made[0]), handle_of(made[3]), "x" * 24]
        out, err = call("revoke", *handles, "--no-input")
        assert out == "2 sessions ended.\n"
        assert f"{'x' * 24} is no session" in err
        assert self.left() == 2
        found = json.loads(call("revoke", *handles, "--no-input", "--json")[0])
        assert (found["ended"], found["unknown"]) == (0, handles)

    def test_of_a_user_ends_all_but_the_kept(self, made):
        out, _ = call("revoke", "--user", "alice", "--keep", handle_of(made[0]), "--no-input")
        assert out == "1 session ended.\n"
        assert made[0].exists(made[0].session_key)
        assert not made[1].exists(made[1].session_key)
        assert call("revoke", "--user", "alice", "--no-input")[0] == "1 session ended.\n"

    def test_of_everybody_ends_all(self, made):
        assert call("revoke", "--all", "--no-input")[0] == "4 sessions ended.\n"
        assert self.left() == 0

    def test_of_everybody_but_one_keeps_and_announces_it(self, made, behind, prefix):
        listener = behind.pubsub(ignore_subscribe_messages=True)
        listener.subscribe(f"{prefix}:revocations")
        listener.get_message(timeout=5)
        assert call("revoke", "--all", "--keep", handle_of(made[0]), "--no-input")[0] == "3 sessions ended.\n"
        heard = [json.loads(listener.get_message(timeout=5)["data"]) for _ in range(3)]
        listener.close()
        assert made[0].exists(made[0].session_key)
        assert {each["event"] for each in heard} == {"revoked"}
        assert {each["handle"] for each in heard} == {handle_of(session) for session in made[1:]}

    def test_keeps_a_session_under_plain_keys_too(self, configure):
        configure(KEYS="plain")
        kept, other = begin("7"), begin("7")
        assert (
            call("revoke", "--user", "7", "--keep", handle_of(kept), "--no-input")[0] == "1 session ended.\n"
        )
        begin()
        assert call("revoke", "--all", "--keep", handle_of(kept), "--no-input")[0] == "1 session ended.\n"
        assert kept.exists(kept.session_key)
        assert not other.exists(other.session_key)

    @pytest.mark.parametrize("arguments", [["--user", "alice"], ["--all"], []])
    def test_counts_only_in_a_dry_run(self, made, arguments):
        if not arguments:
            arguments = [handle_of(made[0]), "x" * 24]
        keep = ["--keep", handle_of(made[0])] if arguments[0].startswith("--") else []
        found = json.loads(call("revoke", *arguments, *keep, "--dry-run", "--json")[0])
        expected = {"--user": 1, "--all": 3}.get(arguments[0], 1)
        assert (found["ended"], found["matched"]) == (0, expected)
        assert self.left() == 4

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--all", "--user", "1"],
            ["x" * 24, "--all"],
            ["x" * 24, "--keep", "y" * 24],
            ["--all", "--reason", "theft"],
            ["--user", "1", "--reason", "x" * 129],
            ["--user", "1", "--keep", "short"],
        ],
    )
    def test_refuses_what_contradicts_itself(self, made, arguments):
        with pytest.raises(CommandError):
            call("revoke", *arguments, "--no-input")
        assert self.left() == 4

    @pytest.mark.parametrize("whose", [["--user", "1"], ["--all"]], ids=["user", "all"])
    @pytest.mark.parametrize("how", [[], ["--dry-run"]], ids=["really", "dry"])
    def test_ends_nothing_where_what_is_to_be_kept_is_not_there(self, made, whose, how):
        with pytest.raises(CommandError, match="Nothing was done: what --keep names is no session"):
            call("revoke", *whose, *how, "--keep", "y" * 24, "--no-input")
        assert self.left() == 4

    @pytest.mark.parametrize(
        ("arguments", "question"),
        [
            (["x" * 24], "This ends 1 session for good"),
            (["x" * 24, "y" * 24], "This ends 2 sessions for good"),
            (["--user", "4711", "--keep", "y" * 24], "all sessions but one of user 4711"),
            (["--all"], "EVERY session and signs everybody out"),
        ],
    )
    def test_asks_first(self, made, monkeypatch, arguments, question):
        monkeypatch.setattr("builtins.input", lambda: "n")
        err = io.StringIO()
        with pytest.raises(CommandError, match="Nothing was done"):
            call_command("redis_sessions", "revoke", *arguments, stderr=err)
        assert question in err.getvalue()
        assert self.left() == 4

    def test_tells_the_reason(self, made, monkeypatch):
        reasons = []
        monkeypatch.setattr(sessions, "revoke", lambda handle, reason: reasons.append(reason) or True)
        call("revoke", "x" * 24, "--reason", "theft", "--no-input")
        call("revoke", "x" * 24, "--no-input", verbosity=0)
        assert reasons == ["theft", "revoked"]

    def test_of_a_user_needs_an_index(self, configure):
        configure(USER_INDEX=False)
        with pytest.raises(CommandError, match="USER_INDEX"):
            call("revoke", "--user", "4711", "--no-input")


def test_a_project_without_users_in_its_database_knows_primary_keys(store, settings, monkeypatch):
    from django_redis_sessions.management import users

    monkeypatch.setattr(users.apps, "is_installed", lambda name: False)
    session = begin("42")
    assert listed("--user", "42")[0] == [handle_of(session)]


def test_an_outage_is_reported(store, monkeypatch):
    def down(*_, **__):
        raise SessionStoreUnavailable("Redis is away.")

    monkeypatch.setattr(sessions, "page", down)
    with pytest.raises(CommandError, match="Redis is away"):
        call("list")
