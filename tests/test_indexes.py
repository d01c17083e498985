"""The index of a user's sessions: what lands in it, and that nothing live is ever missing."""

import uuid
from dataclasses import replace

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, aauthenticate, alogin
from django.contrib.auth.models import User
from django.test import AsyncClient, Client, RequestFactory

from django_redis_sessions import held, indexes, operations, scripts, sessions
from django_redis_sessions.backend import SessionEnded, SessionStore
from django_redis_sessions.errors import SessionLimitReached, SessionStoreUnavailable
from django_redis_sessions.executors import run
from django_redis_sessions.expiry import index_score
from django_redis_sessions.keys import digest, user_marker
from django_redis_sessions.operations import (
    MOST_OVER,
    RETENTION,
    Entry,
    Full,
    Move,
    Outcome,
    admit,
    cycle_between_slots,
)

pytestmark = [pytest.mark.usefixtures("store"), pytest.mark.operator]


def signed_in(user_id="1", **data):
    session = SessionStore()
    session.update({SESSION_KEY: user_id, BACKEND_SESSION_KEY: "backend", HASH_SESSION_KEY: "hash", **data})
    session.save()
    return session


def handles(user="1"):
    return {info.handle for info in sessions.of_user(user)}


def handle(session):
    return digest(session.session_key)


@pytest.fixture
def index(store, behind):
    """The members of user 1's index, with their scores."""
    return lambda user="1": dict(behind.zrange(store.keys.index(user_marker(user)), 0, -1, withscores=True))


@pytest.fixture
def clock(monkeypatch):
    """``clock.now`` is what the session store takes for the time."""

    class Clock:
        now = 4_000_000_000

    monkeypatch.setattr(held, "time", lambda: Clock.now)
    return Clock


class TestASignIn:
    def test_is_noted_with_its_user(self, do, index):
        session = SessionStore()
        session["cart"] = 1
        do(session.save)
        assert index() == {}
        session[SESSION_KEY] = "1"
        do(session.save)
        assert set(index()) == {b"=1", handle(session).encode()}

    def test_is_noted_when_it_creates_its_session(self, do, index):
        session = SessionStore()
        session[SESSION_KEY] = "1"
        do(session.create)
        assert handle(session).encode() in index()

    @pytest.mark.parametrize("user_id", ["7", "köln@example.org", str(uuid.UUID(int=7)), "=1", "!", "~x", ""])
    def test_may_have_any_id(self, do, user_id):
        session = signed_in(user_id)
        assert handles(user_id) == {handle(session)}
        assert [info.user_id for info in do(sessions.of_user, user_id)] == [user_id]

    def test_is_found_by_a_model_instance(self, do):
        user = User(pk=1)
        session = signed_in()
        assert [info.handle for info in do(sessions.of_user, user)] == [handle(session)]

    @pytest.mark.django_db
    def test_by_any_view_is_noted(self, runner):
        user = User.objects.create_user("alice", password="wonderland")
        Client().get("/sign-in/")
        Client().force_login(user)
        assert len(handles(user)) == 2

    @pytest.mark.django_db(transaction=True)
    def test_by_an_async_view_is_noted(self, runner):
        user = User.objects.create_user("alice", password="wonderland")

        async def sign_in():
            await AsyncClient().get("/asign-in/")
            request = RequestFactory().get("/")
            request.session = SessionStore()
            await alogin(request, await aauthenticate(username="alice", password="wonderland"))
            await request.session.asave()

        runner.run(sign_in())
        assert len(handles(user)) == 2

    def test_of_another_user_leaves_the_first_ones_index(self, do, behind, index):
        session = signed_in()
        session[SESSION_KEY] = "2"
        do(session.save)
        assert index() == {}
        assert handles("2") == {handle(session)}

    def test_that_is_taken_back_leaves_the_index(self, do, index):
        session = signed_in()
        del session[SESSION_KEY]
        do(session.save)
        assert index() == {}

    def test_without_an_index_is_not_noted(self, configure, do, index):
        configure(USER_INDEX=False)
        session = signed_in()
        do(session.cycle_key)
        do(session.flush)
        assert index() == {}


class TestARotation:
    def test_takes_its_place(self, do, index):
        session = signed_in()
        do(session.cycle_key)
        assert set(index()) == {b"=1", handle(session).encode()}

    def test_after_a_conflict_leaves_only_the_last_name(self, do, index):
        session = signed_in(a=1)
        session.get("a")
        rival = SessionStore(session.session_key)
        rival["b"] = 1
        rival.save()
        do(session.cycle_key)
        assert set(index()) == {b"=1", handle(session).encode()}


class TestASignOut:
    @pytest.mark.parametrize("is_loaded", [True, False])
    def test_leaves_nothing(self, do, behind, prefix, is_loaded):
        session = SessionStore(signed_in().session_key)
        if is_loaded:
            session.get("a")
        do(session.flush)
        assert list(behind.scan_iter(f"{prefix}:*")) == []

    def test_leaves_other_sessions(self, do):
        session, other = signed_in(), signed_in()
        do(session.flush)
        assert handles() == {handle(other)}


class TestTheScore:
    @pytest.mark.parametrize("ttl", [1, 2, 63, 64, 65, 1800, 14 * 86400, 2**31])
    @pytest.mark.parametrize("touched", [1_800_000_000, 1_800_000_001, 1_812_345_678])
    def test_is_never_before_the_end_and_hardly_after(self, ttl, touched):
        late = index_score(touched, ttl) - (touched + ttl)
        assert 0 <= late <= ttl / 64

    def test_of_a_session_that_is_written_all_the_time_is_written_now_and_then(self, clock, do, sent_entries):
        session = signed_in()
        sent_entries.clear()
        for number in range(200):
            clock.now += 1000
            session["n"] = number
            do(session.save)
        assert 200_000 / (14 * 86400 / 64) - 1 <= len(sent_entries) <= 200_000 / (14 * 86400 / 128) + 1

    def test_moves_forward_with_a_session_that_is_only_touched(self, clock, do, index):
        session = signed_in()
        clock.now += 86400 * 7
        do(session.save)
        assert index()[handle(session).encode()] >= clock.now + 14 * 86400

    def test_moves_forward_when_reading_extends_the_life(self, configure, clock, do, index):
        configure(ROLLING=True)
        session = signed_in()
        clock.now += 86400 * 7
        do(SessionStore(session.session_key).load)
        assert index()[handle(session).encode()] >= clock.now + 14 * 86400

    def test_never_moves_back(self, do, index):
        session = signed_in()
        before = index()
        session.set_expiry(60)
        do(session.save)
        assert index() == before


@pytest.fixture
def sent_entries(monkeypatch):
    """The names that were noted in indexes."""
    noted = []
    arguments = Entry.arguments

    def watched(self, name, *former):
        noted.append(name)
        return arguments(self, name, *former)

    monkeypatch.setattr(Entry, "arguments", watched)
    return noted


class TestTheIndex:
    def test_lives_as_long_as_its_youngest_session_and_an_hour(self, do, store, behind):
        signed_in()
        short = SessionStore()
        short[SESSION_KEY] = "1"
        short.set_expiry(60)
        do(short.save)
        ttl = behind.ttl(store.keys.index(user_marker("1")))
        assert 14 * 86400 + RETENTION - 5 <= ttl <= 14 * 86400 * 65 / 64 + RETENTION

    def test_of_a_million_sign_ins_does_not_grow_without_bound(self, store, behind):
        """Each lasts a minute, and there are a hundred in a second; every thousandth is really made."""
        client = store.connections.client()
        name = store.keys.index(user_marker("1"))
        entry = {"user": user_marker("1"), "user_id": "1", "began_us": 1}
        sizes = []
        for second in range(0, 10_000, 10):
            now = 4_000_000_000 + second
            # What nine hundred and ninety-nine others have left.
            behind.zadd(name, {f"{second}-{number}": now + 60 for number in range(999)})
            run(client, admit(store.keys, f"session-{second}", Entry(score=now + 60, now=now, **entry)))
            sizes.append(behind.zcard(name))
        assert max(sizes) <= 7 * 1000 + MOST_OVER + 1
        # Nor does it when nobody looks for a day.
        now += 86400
        run(client, admit(store.keys, "the-last-one", Entry(score=now + 60, now=now, **entry)))
        assert behind.zcard(name) == 2

    def test_does_not_show_what_is_over(self, do, store, behind, index):
        session, lost = signed_in(), signed_in()
        behind.unlink(store.keys.record(lost.session_key))
        assert [info.handle for info in do(sessions.of_user, "1")] == [handle(session)]
        # The sweeper has still to report it.
        assert index()[handle(lost).encode()] < index()[handle(session).encode()]

    def test_does_not_show_a_record_of_somebody_else(self, do, store, behind):
        session, other = signed_in(), signed_in("2")
        record = behind.get(store.keys.record(other.session_key))
        behind.set(store.keys.record(session.session_key), record, ex=60)
        assert do(sessions.of_user, "1") == []

    def test_that_was_lost_is_made_again(self, do, store, behind):
        found = {handle(signed_in()) for _ in range(3)}
        SessionStore().create()
        behind.unlink(store.keys.index(user_marker("1")))
        assert do(sessions.reindex) == 3
        assert handles() == found

    def test_shows_the_last_active_first(self, clock, do):
        first, second = signed_in(), signed_in()
        clock.now += 100
        first["a"] = 1
        first.save()
        assert [info.handle for info in do(sessions.of_user, "1")] == [handle(first), handle(second)]


class TestALimit:
    def test_ends_those_that_would_end_first(self, configure, clock, do):
        configure(MAX_SESSIONS_PER_USER=2)
        made = []
        for _ in range(4):
            clock.now += 3 * 86400
            session = SessionStore()
            session[SESSION_KEY] = "1"
            do(session.save)
            made.append(handle(session))
        assert handles() == set(made[2:])

    def test_refuses_a_sign_in(self, configure, do, behind, store):
        configure(MAX_SESSIONS_PER_USER=2, ON_LIMIT="refuse")
        kept = {handle(signed_in()) for _ in range(2)}
        session = SessionStore()
        session["cart"] = 1
        session.save()
        session[SESSION_KEY] = "1"
        with pytest.raises(SessionLimitReached) as caught:
            do(session.save)
        assert caught.value.limit == 2
        assert handles() == kept
        assert dict(SessionStore(session.session_key).items()) == {"cart": 1}

    def test_leaves_no_record_of_a_session_that_was_refused_when_it_was_made(
        self, configure, do, behind, prefix
    ):
        configure(MAX_SESSIONS_PER_USER=1, ON_LIMIT="refuse")
        signed_in()
        session = SessionStore()
        session[SESSION_KEY] = "1"
        with pytest.raises(SessionLimitReached):
            do(session.create)
        assert len(list(behind.scan_iter(f"{prefix}:r:*"))) == 1

    @pytest.mark.parametrize("policy", ["oldest-out", "refuse"])
    def test_does_not_count_what_is_over(self, configure, do, store, behind, policy):
        configure(MAX_SESSIONS_PER_USER=1, ON_LIMIT=policy)
        behind.unlink(store.keys.record(signed_in().session_key))
        session = SessionStore()
        session[SESSION_KEY] = "1"
        do(session.save)
        assert handles() == {handle(session)}

    def test_that_comes_late_ends_very_many(self, configure, do, store, behind):
        signed_in()
        behind.zadd(store.keys.index(user_marker("1")), {f"lost-{at}": 10_000_000_000 for at in range(9000)})
        configure(MAX_SESSIONS_PER_USER=1)
        session = SessionStore()
        session[SESSION_KEY] = "1"
        do(session.save)
        assert handles() == {handle(session)}

    @pytest.mark.parametrize("policy", ["oldest-out", "refuse"])
    def test_lets_a_session_be_saved_and_rotated(self, configure, clock, do, policy):
        configure(MAX_SESSIONS_PER_USER=1, ON_LIMIT=policy)
        session = signed_in()
        clock.now += 7 * 86400
        session["a"] = 1
        do(session.save)
        do(session.cycle_key)
        assert handles() == {handle(session)}

    @pytest.mark.django_db
    def test_is_told_to_the_visitor_who_stays_anonymous(self, configure, settings):
        settings.MIDDLEWARE = [
            "django_redis_sessions.middleware.SessionMiddleware",
            *settings.MIDDLEWARE[1:],
        ]
        configure(MAX_SESSIONS_PER_USER=1, ON_LIMIT="refuse")
        user = User.objects.create_user("alice", password="wonderland")
        Client().get("/sign-in/")
        visitor = Client()
        visitor.get("/write/?cart=full")
        response = visitor.get("/sign-in/")
        assert response.status_code == 403
        assert "Sign out on one of them" in response.content.decode()
        assert visitor.get("/read/").json() == {"cart": "full"}
        as_json = visitor.get("/sign-in/", headers={"accept": "application/json"})
        assert (as_json.status_code, as_json.json()) == (403, {"error": "too many sessions", "limit": 1})
        assert len(handles(user)) == 1

    def test_of_a_full_index_is_what_the_operation_says(self, perform, store):
        entry = {"user": user_marker("1"), "user_id": "1", "now": 1000, "began_us": 1, "limit": 1}
        names = store.keys.name("session-1"), store.keys.name("session-2")
        assert perform(admit(store.keys, "session-1", Entry(score=2000, **entry))) is Outcome.DONE
        assert perform(admit(store.keys, "session-2", Entry(score=2000, **entry))) == Full(names[:1])


class TestARevocation:
    """Beats every race: whatever is under way, no session of the user is left."""

    COMMANDS = range(1, 8)

    @pytest.mark.parametrize("before", COMMANDS)
    def test_of_a_user_beside_a_sign_in(self, do, interrupt, before):
        session = SessionStore()
        session["cart"] = 1
        session.save()
        with interrupt(by=lambda: sessions.revoke_user("1"), before=before) as race:
            request = SessionStore(session.session_key)
            do(request.load)
            ended = self.ends(do, request.cycle_key)
            request[SESSION_KEY] = "1"
            ended = ended or self.ends(do, request.save)
        assert len(handles()) == (0 if race.happened else 1)
        assert self.owners() == handles()

    @pytest.mark.parametrize("before", COMMANDS)
    def test_of_a_user_beside_a_sign_in_that_makes_a_session(self, do, interrupt, before):
        with interrupt(by=lambda: sessions.revoke_user("1"), before=before) as race:
            request = SessionStore()
            request[SESSION_KEY] = "1"
            self.ends(do, request.create)
        assert len(handles()) == (0 if race.happened else 1)
        assert self.owners() == handles()

    @pytest.mark.parametrize("before", COMMANDS)
    @pytest.mark.parametrize("what", ["save", "cycle_key"])
    def test_of_a_user_beside_a_request(self, do, interrupt, before, what):
        key = signed_in(a=1).session_key
        with interrupt(by=lambda: sessions.revoke_user("1"), before=before) as race:
            request = SessionStore(key)
            do(request.load)
            request["a"] = 2
            self.ends(do, getattr(request, what))
        assert len(handles()) == (0 if race.happened else 1)
        assert self.owners() == handles()

    @pytest.mark.parametrize("before", COMMANDS)
    @pytest.mark.parametrize("what", ["save", "cycle_key"])
    def test_of_one_session_beside_its_request(self, do, interrupt, before, what):
        key = signed_in(a=1).session_key
        said = []
        with interrupt(by=lambda: said.append(sessions.revoke(digest(key))), before=before) as race:
            request = SessionStore(key)
            do(request.load)
            request["a"] = 2
            self.ends(do, getattr(request, what))
        assert said == ([True] if race.happened else [])
        assert len(handles()) == (0 if race.happened else 1)
        assert self.owners() == handles()

    @pytest.mark.parametrize("before", range(1, 12))
    def test_beside_which_a_request_rotates(self, do, interrupt, before):
        """The other way round: the revocation is the one that is interrupted."""
        key = signed_in(a=1).session_key
        rotate = self.rotates(key)
        with interrupt(by=rotate, before=before):
            do(sessions.revoke, digest(key))
        assert handles() == self.owners() == set()

    @pytest.mark.parametrize("before", range(1, 12))
    @pytest.mark.parametrize("how", ["revoke_user", "revoke_all"])
    def test_of_many_beside_which_a_request_rotates(self, do, interrupt, before, how):
        key = signed_in(a=1).session_key
        rotate = self.rotates(key)
        with interrupt(by=rotate, before=before):
            do(getattr(sessions, how), *(["1"] if how == "revoke_user" else []))
        assert handles() == self.owners() == set()

    @pytest.mark.parametrize("before", range(1, 12))
    def test_that_breaks_off_is_finished_by_the_next(self, do, interrupt, before):
        for _ in range(3):
            signed_in()

        def break_off():
            raise ConnectionResetError

        with interrupt(by=break_off, before=before) as race:
            try:
                do(sessions.revoke_user, "1")
            except ConnectionResetError:
                assert not race.happened
                do(sessions.revoke_user, "1")
        assert handles() == self.owners() == set()

    def test_keeps_the_session_that_is_named(self, do, index):
        kept, other = signed_in(), signed_in()
        assert do(sessions.revoke_user, "1", keep=SessionStore(kept.session_key)) == 1
        assert handles() == {handle(kept)}
        assert other.exists(other.session_key) is False

    def test_keeps_what_requests_of_the_kept_session_do(self, do):
        """They have begun before, but nobody meant them."""
        kept = signed_in(a=1)
        request = SessionStore(kept.session_key)
        request.get("a")
        sessions.revoke_user("1", keep=kept.session_key)
        do(request.cycle_key)
        request["a"] = 2
        do(request.save)
        assert handles() == {handle(request)}

    def test_lets_its_own_request_sign_in(self, do):
        """As a reset of the password does that ends all sessions and signs in at once."""
        request = SessionStore()
        request["reset"] = "token"
        request.save()
        do(sessions.revoke_user, "1", keep=request)
        do(request.cycle_key)
        request[SESSION_KEY] = "1"
        do(request.save)
        assert handles() == {handle(request)}

    def test_lets_others_sign_in_afterwards(self, do):
        do(sessions.revoke_user, "1")
        session = signed_in()
        assert handles() == {handle(session)}

    def test_notes_when_it_has_come_to_its_end(self, do, store, behind, monkeypatch):
        """Until then, who is still in the index need not have been kept."""
        monkeypatch.setattr(indexes, "BATCH", 1)
        kept = signed_in()
        signed_in()
        index = store.keys.index(user_marker("1"))
        ends = []
        forget = indexes.forget

        def forgetting(*args):
            ends.append(behind.zscore(index, "!!"))
            return forget(*args)

        monkeypatch.setattr(indexes, "forget", forgetting)
        do(sessions.revoke_user, "1", keep=kept)
        assert ends == [None]
        assert behind.zscore(index, "!!") == behind.zscore(index, "!") > 0

    def test_of_more_sessions_than_fit_in_one_command(self, do, monkeypatch):
        monkeypatch.setattr(indexes, "BATCH", 7)
        kept = signed_in()
        for _ in range(30):
            signed_in()
        assert do(sessions.revoke_user, "1", keep=kept) == 30
        assert handles() == {handle(kept)}

    def test_leaves_little_behind(self, do, store, behind, prefix):
        signed_in()
        do(sessions.revoke_user, "1")
        (left,) = behind.scan_iter(f"{prefix}:*")
        assert left.decode() == store.keys.index(user_marker("1"))
        assert behind.ttl(left) <= RETENTION

    def rotates(self, session_key):
        rival = SessionStore(session_key)
        rival.get("a")

        def rotate():
            try:
                rival.cycle_key()
            except SessionEnded:
                pass

        return rotate

    def ends(self, do, method):
        try:
            do(method)
        except SessionEnded:
            return True
        return False

    def owners(self, user="1"):
        """The handles of all stored sessions of the user, found without the index."""
        return {info.handle for info in sessions.iterate() if info.user_id == user}

    @pytest.mark.parametrize("number", [9000])
    def test_of_very_many_is_tidied_up(self, configure, do, store, behind, number):
        name = store.keys.index(user_marker("1"))
        signed_in()
        behind.zadd(name, {f"lost-{at}": 10_000_000_000 for at in range(number)})
        assert do(sessions.purge, user="1") == 1
        assert behind.exists(name) == 0

    def test_leaves_what_is_over_to_the_sweeper(self, clock, do, index):
        session = signed_in()
        clock.now = 1_700_000_000
        over = signed_in()
        do(sessions.revoke_user, "1")
        assert handle(over).encode() in index()
        assert handle(session).encode() not in index()


class TestWhatFailsAfterwards:
    """What has happened is not reported as a failure because something behind it has failed."""

    @pytest.fixture
    def failing(self, monkeypatch):
        """``failing(SCRIPT, "COMMAND")``: Redis cannot be reached for these from now on."""

        def set_up(*these):
            digests = {one.digest for one in these if isinstance(one, scripts.Script)}
            said = operations.run_scripts

            def fails(script, calls):
                if script.digest in digests:
                    raise SessionStoreUnavailable("The server has gone.")
                return (yield from said(script, calls))

            monkeypatch.setattr(operations, "run_scripts", fails)

        return set_up

    def test_a_rotation_between_servers_has_succeeded(self, perform, store, behind, failing, caplog):
        """Else the visitor would keep a key that is worthless."""
        keys = replace(store.keys, are_spread=True)
        session = signed_in()
        entry = Entry(user=user_marker("1"), user_id="1", score=2 * 10**9, now=10**9, began_us=1)
        failing(scripts.FORGET)
        move = Move(session.session_key, "n" * 32, entry=entry)
        record = behind.get(keys.record(session.session_key))
        assert perform(cycle_between_slots(keys, move, b"", record, 60)) is Outcome.DONE
        assert behind.exists(keys.record("n" * 32))
        assert "still in its user's index" in caplog.text

    def test_a_sign_out_has_succeeded(self, do, failing, caplog):
        session = SessionStore(signed_in().session_key)
        failing(scripts.FORGET)
        do(session.flush)
        assert handles() == set()
        assert "still in its user's index" in caplog.text

    def test_a_revocation_has_succeeded(self, do, failing):
        session = signed_in()
        failing(scripts.FORGET)
        assert do(sessions.revoke, handle(session)) is True
        assert handles() == set()

    @pytest.mark.usefixtures("known_scripts")
    def test_a_revocation_is_one_though_nobody_hears_of_it(self, do, interrupt, caplog):
        session = signed_in()

        def go():
            raise SessionStoreUnavailable("The server has gone.")

        with interrupt(by=go, before=3):
            assert do(sessions.revoke, handle(session)) is True
        assert "not announced" in caplog.text


class TestALostAnswer:
    def test_of_a_sign_in_is_made_good_by_repeating_it(self, perform, store):
        entry = Entry(user=user_marker("1"), user_id="1", score=2000, now=1000, began_us=1, limit=1)
        assert perform(admit(store.keys, "session-1", entry)) is Outcome.DONE
        assert perform(admit(store.keys, "session-1", entry)) is Outcome.DONE


@pytest.mark.parametrize("number", [0, 1, 250])
def test_of_a_user_gives_every_session_once(do, number):
    made = {handle(signed_in()) for _ in range(number)}
    found = [info.handle for info in do(sessions.of_user, "1")]
    assert (len(found), set(found)) == (number, made)


def test_batches_are_what_the_docstrings_say():
    assert indexes.BATCH == 100
    assert operations.RETENTION == 3600
