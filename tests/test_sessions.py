"""What an operator sees of sessions, one by one, and how they are ended and reported."""

import json
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

from django_redis_sessions import announcements, conf, errors, held, indexes, sessions, signals
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.keys import digest, user_marker
from django_redis_sessions.sessions import looking, sweeping

pytestmark = [pytest.mark.usefixtures("store"), pytest.mark.operator]

BAD_HANDLES = (
    "",
    "x",
    "A" * 23,
    "A" * 25,
    "A" * 23 + "\n",
    "A" * 23 + "ü",
    "*" * 24,
    "../../../../../../../etc/",
    "A" * 24,
    None,
    42,
    b"A" * 24,
)


def signed_in(user_id="1", **data):
    session = SessionStore()
    session.update({SESSION_KEY: user_id, BACKEND_SESSION_KEY: "backend", HASH_SESSION_KEY: "hash", **data})
    session.save()
    return session


def anonymous(**data):
    session = SessionStore()
    session.update(data)
    session.save()
    return session


def handle(session):
    return digest(session.session_key)


class TestASession:
    def test_is_described_without_a_credential(self, do):
        device = {"address": "203.0.113.7", "agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}
        session = signed_in("42", cart=[1, 2], _session_device=device)
        info = do(sessions.get, handle(session), current=session)
        assert info.handle == handle(session)
        assert session.session_key not in repr(info)
        assert (info.user_id, info.is_anonymous, info.is_readable, info.is_current) == (
            "42",
            False,
            True,
            True,
        )
        assert (info.address, info.user_agent) == (device["address"], device["agent"])
        now = datetime.now(UTC)
        assert now - timedelta(seconds=60) < info.created == info.last_seen <= now
        assert info.expires == info.last_seen + timedelta(days=14)
        assert info.size == len(conf.store().connections.client().execute(("GET", record(session))))

    def test_of_nobody_is_anonymous(self, do):
        info = do(sessions.get, handle(anonymous(a=1)))
        assert (info.user_id, info.is_anonymous, info.is_current) == (None, True, False)

    def test_that_cannot_be_read_is_still_shown_and_ended(self, do, store, behind):
        session = signed_in()
        behind.set(record(session), b"\x01nonsense", ex=60)
        info = do(sessions.get, handle(session))
        assert (info.is_readable, info.user_id, info.size) == (False, None, 9)
        assert do(sessions.data, handle(session)) == {}
        assert do(sessions.revoke, handle(session)) is True

    def test_whose_body_alone_is_damaged_is_found_with_its_user(self, do, store, behind):
        session = signed_in()
        whole = behind.get(record(session))
        behind.set(record(session), whole[:-3] + b"???", ex=60)
        (info,) = do(sessions.of_user, "1")
        assert (info.handle, info.is_readable, info.is_anonymous) == (handle(session), False, False)
        assert do(sessions.revoke_user, "1") == 1

    def test_gives_its_data(self, do):
        assert do(sessions.data, handle(anonymous(a=1))) == {"a": 1}

    @pytest.mark.parametrize("bad", BAD_HANDLES, ids=repr)
    def test_that_does_not_exist_is_none(self, do, bad):
        kept = signed_in()
        assert do(sessions.get, bad) is None
        assert do(sessions.data, bad) is None
        assert do(sessions.revoke, bad) is False
        assert kept.exists(kept.session_key)

    @pytest.mark.parametrize(
        "current", [None, "", "short", "x" * 200, 42, SessionStore()], ids=lambda value: type(value).__name__
    )
    def test_is_nobodys_current_one(self, do, current):
        session = signed_in()
        (info,) = do(sessions.of_user, "1", current=current)
        assert (info.handle, info.is_current) == (handle(session), False)

    def test_is_found_under_plain_keys_too(self, configure, do):
        configure(KEYS="plain")
        session = signed_in()
        assert do(sessions.get, handle(session), current=session).is_current
        assert [info.handle for info in do(sessions.of_user, "1")] == [handle(session)]
        assert do(sessions.get, "A" * 24) is None
        assert do(sessions.revoke, handle(session)) is True
        assert do(sessions.of_user, "1") == []


def record(session):
    return conf.store().keys.record(session.session_key)


class TestGoingThroughAll:
    @pytest.fixture
    def hundreds(self):
        made = {handle(signed_in(str(number))): str(number) for number in range(180)}
        made |= {handle(anonymous(n=number)): None for number in range(170)}
        return made

    def test_finds_every_one(self, hundreds, do, way, runner):
        assert self.all(way, runner) == hundreds
        assert do(sessions.count) == len(hundreds)

    @pytest.mark.parametrize("wanted", [True, False])
    def test_finds_every_one_of_a_kind(self, hundreds, way, runner, wanted):
        found = self.all(way, runner, anonymous=wanted)
        assert found == {name: user for name, user in hundreds.items() if (user is None) == wanted}

    def test_is_done_page_by_page(self, hundreds, do):
        cursor, pages, found = None, 0, {}
        while pages == 0 or cursor is not None:
            page = do(sessions.page, cursor)
            cursor, pages = page.next, pages + 1
            found |= {info.handle: info.user_id for info in page.infos}
            assert len(page.infos) <= looking.FULL_PAGE + 2 * 100
        assert found == hundreds
        assert pages > 1

    @pytest.mark.parametrize(
        "cursor", ["", "x", "0", "-1", "0-", "9-0", "0-99999999999999999999", "0-1-2", "0-\n1", "٠-١"]
    )
    def test_from_a_wrong_place_starts_anew(self, do, cursor):
        session = anonymous()
        assert [info.handle for info in do(sessions.page, cursor).infos] == [handle(session)]

    def test_of_none_is_an_empty_page(self, do):
        assert do(sessions.page) == sessions.Page([], None)

    def all(self, way, runner, **kind):
        if way == "blocking":
            return {info.handle: info.user_id for info in sessions.iterate(**kind)}

        async def collect():
            return {info.handle: info.user_id async for info in sessions.aiterate(**kind)}

        return runner.run(collect())


class TestEndingAll:
    def test_leaves_nobody(self, do, behind, prefix):
        for number in range(20):
            signed_in(str(number % 3))
            anonymous()
        assert do(sessions.revoke_all) == 40
        assert list(behind.scan_iter(f"{prefix}:*")) == []

    def test_lets_people_sign_in_meanwhile(self, do, monkeypatch):
        monkeypatch.setattr(held, "time", lambda: 4_000_000_000)
        session = signed_in()
        assert do(sessions.revoke_all) == 0
        assert [info.handle for info in sessions.of_user("1")] == [handle(session)]

    def test_ends_what_cannot_be_read(self, do, behind):
        behind.set(record(anonymous()), b"nonsense", ex=60)
        assert do(sessions.revoke_all) == 1


class TestPurging:
    def test_takes_ended_sessions_out_of_the_index(self, do, behind, prefix):
        signed_in("1")
        kept = signed_in("2")
        assert do(sessions.purge, user="1") == 1
        assert {key.decode() for key in behind.scan_iter(f"{prefix}:u:*")} == {
            conf.store().keys.index(user_marker("2"))
        }
        assert sessions.of_user("2")[0].handle == handle(kept)


class TestWithoutAnIndex:
    @pytest.mark.parametrize(
        ("function", "arguments"),
        [("of_user", ["1"]), ("revoke_user", ["1"]), ("sweep", []), ("reindex", [])],
    )
    def test_nobody_knows_whose_sessions_are_whose(self, configure, do, function, arguments):
        configure(USER_INDEX=False)
        with pytest.raises(errors.SessionStoreMisconfigured, match="USER_INDEX"):
            do(getattr(sessions, function), *arguments)

    def test_single_sessions_are_seen_and_ended(self, configure, do, monkeypatch):
        configure(USER_INDEX=False)
        session = signed_in()
        monkeypatch.setattr(indexes, "forget", None)  # there is nothing to be forgotten
        assert do(sessions.get, handle(session)).user_id == "1"
        assert do(sessions.revoke, handle(session)) is True


@pytest.fixture
def heard():
    """The signals that were sent: ``[(name, {argument: value})]``."""
    said = []
    receivers = []
    for name in ("session_created", "session_rotated", "session_revoked", "session_expired"):

        def receive(sender, name=name, **arguments):
            said.append((name, {key: value for key, value in arguments.items() if key != "signal"}))

        receivers.append((getattr(signals, name), receive))
        receivers[-1][0].connect(receive)
    yield said
    for signal, receive in receivers:
        signal.disconnect(receive)


@pytest.fixture
def published(behind, store):
    """``published(3)`` gives what was announced since the test began, which should be 3 messages.

    On a cluster messages that were published by way of several nodes may overtake one another.
    """
    with behind.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(store.keys.channel)
        subscription.get_message(timeout=5)

        def messages(number):
            found = []
            deadline = monotonic() + 10
            while len(found) < number and monotonic() < deadline:
                message = subscription.get_message(timeout=0.2)
                found += [] if message is None else [json.loads(message["data"])]
            behind.publish(store.keys.channel, '"end"')
            while (message := subscription.get_message(timeout=5)) is not None:
                if message["data"] == b'"end"':
                    break
                found.append(json.loads(message["data"]))
            return found

        yield messages


class TestWhatIsTold:
    def test_when_a_visitor_comes_and_signs_in_and_out(self, do, heard, published):
        session = SessionStore()
        session["cart"] = 1
        do(session.save)
        first = handle(session)
        do(session.cycle_key)
        second = handle(session)
        session[SESSION_KEY] = "7"
        do(session.save)
        session["a"] = 1
        do(session.save)
        do(session.cycle_key)
        third = handle(session)
        do(session.flush)
        assert heard == [
            ("session_created", {"user_id": None, "handle": first}),
            ("session_rotated", {"user_id": None, "handle": second, "old_handle": first}),
            ("session_created", {"user_id": "7", "handle": second}),
            ("session_rotated", {"user_id": "7", "handle": third, "old_handle": second}),
            ("session_revoked", {"user_id": "7", "handle": third, "reason": "logout"}),
        ]
        expected = [
            {"event": "rotated", "handle": first, "to": second, "user": None},
            {"event": "rotated", "handle": second, "to": third, "user": "7"},
            {"event": "revoked", "handle": third, "user": "7", "reason": "logout"},
        ]
        assert sorted(published(3), key=json.dumps) == sorted(expected, key=json.dumps)

    def test_when_an_operator_ends_a_session(self, do, heard, published):
        session = signed_in("7")
        heard.clear()
        do(sessions.revoke, handle(session), reason="stolen")
        assert heard == [("session_revoked", {"user_id": "7", "handle": handle(session), "reason": "stolen"})]
        assert published(1) == [
            {"event": "revoked", "handle": handle(session), "user": "7", "reason": "stolen"}
        ]

    def test_when_all_of_a_user_end(self, do, heard, published):
        made = {handle(signed_in("7")) for _ in range(2)}
        heard.clear()
        do(sessions.revoke_user, "7")
        assert {arguments["handle"] for name, arguments in heard if name == "session_revoked"} == made
        said = published(3)
        assert {"event": "user", "user": "7"} in said
        assert {message["handle"] for message in said if message["event"] == "revoked"} == made

    def test_when_all_but_one_end(self, do, published):
        kept, other = signed_in("7"), signed_in("7")
        do(sessions.revoke_user, "7", keep=kept)
        assert [message["handle"] for message in published(1)] == [handle(other)]

    def test_when_all_sessions_end(self, do, published):
        signed_in("7")
        do(sessions.revoke_all)
        assert published(1) == [{"event": "all"}]

    def test_when_a_limit_ends_one(self, configure, do, heard):
        configure(MAX_SESSIONS_PER_USER=1)
        first = signed_in("7")
        heard.clear()
        second = SessionStore()
        second[SESSION_KEY] = "7"
        do(second.save)
        assert [(name, arguments["handle"]) for name, arguments in heard] == [
            ("session_revoked", handle(first)),
            ("session_created", handle(second)),
        ]

    def test_nothing_when_nothing_was_there(self, do, heard, published):
        do(SessionStore().delete, "x" * 32)
        do(sessions.revoke, "A" * 24)
        assert heard == published(0) == []

    def test_by_a_receiver_that_fails_disturbs_nobody(self, do, caplog):
        def fail(**_):
            raise ValueError("broken receiver")

        signals.session_created.connect(fail)
        try:
            do(SessionStore().save)
        finally:
            signals.session_created.disconnect(fail)
        assert "broken receiver" in caplog.text

    def test_a_receiver_may_end_the_session(self, do):
        """As one does that allows no second device."""
        ended = []

        def end(handle, user_id, **_):
            if user_id is not None:
                ended.append(sessions.revoke(handle))

        signals.session_created.connect(end)
        try:
            session = SessionStore()
            session[SESSION_KEY] = "1"
            do(session.save)
        finally:
            signals.session_created.disconnect(end)
        assert ended == [True]
        assert sessions.of_user("1") == []


class TestASweep:
    @pytest.fixture
    def expire(self, store, behind):
        """Lets sessions run out, as if their time had passed."""

        def expire(*expired, user="1"):
            for session in expired:
                behind.unlink(record(session))
                behind.zadd(store.keys.index(user_marker(user)), {handle(session): 1_700_000_000})

        return expire

    def test_reports_each_once(self, do, expire, heard):
        sessions_of_two = signed_in("1"), signed_in("2")
        live = signed_in("1")
        expire(sessions_of_two[0])
        expire(sessions_of_two[1], user="2")
        heard.clear()
        told = []
        assert do(sessions.sweep, lambda *reported: told.append(reported)) == 2
        found = {(arguments["user_id"], arguments["handle"]) for _, arguments in heard}
        assert found == {("1", handle(sessions_of_two[0])), ("2", handle(sessions_of_two[1]))} == set(told)
        assert do(sessions.sweep) == 0
        assert [info.handle for info in sessions.of_user("1")] == [handle(live)]

    def test_of_a_receiver_that_fails_is_repeated(self, do, expire, monkeypatch, heard, caplog):
        expired = signed_in()
        expire(expired)
        failures = [ValueError("broken receiver")]

        def fail_once(**_):
            if failures:
                raise failures.pop()

        signals.session_expired.connect(fail_once)
        try:
            assert do(sessions.sweep) == 0
            assert "broken receiver" in caplog.text
            assert do(sessions.sweep) == 0, "it is somebody else's for a minute"
            later = sweeping.time() + indexes.LEASE + 1
            monkeypatch.setattr(sweeping, "time", lambda: later)
            assert do(sessions.sweep) == 1
        finally:
            signals.session_expired.disconnect(fail_once)

    def test_shares_its_work_with_others(self, do, expire, heard):
        expired = [signed_in(str(number)) for number in range(30)]
        for number, session in enumerate(expired):
            expire(session, user=str(number))
        heard.clear()
        in_turn = []

        def also_sweep(**_):
            if not in_turn:
                in_turn.append(None)
                in_turn.append(sessions.sweep())

        signals.session_expired.connect(also_sweep)
        try:
            mine = do(sessions.sweep)
        finally:
            signals.session_expired.disconnect(also_sweep)
        assert mine + in_turn[1] == 30
        reported = [arguments["handle"] for name, arguments in heard if name == "session_expired"]
        assert sorted(reported) == sorted(map(handle, expired))

    def test_spares_a_session_that_lives_on(self, do, store, behind):
        """As one does that was extended while the index was off."""
        session = signed_in()
        behind.zadd(store.keys.index(user_marker("1")), {handle(session): 1_700_000_000})
        assert do(sessions.sweep) == 0
        assert [info.handle for info in sessions.of_user("1")] == [handle(session)]

    def test_finishes_a_revocation_that_broke_off(self, do, store, behind):
        session = signed_in()
        name = store.keys.index(user_marker("1"))
        behind.zrem(name, handle(session))
        behind.zadd(name, {f"~{handle(session)}": 1_700_000_000})
        assert do(sessions.sweep) == 0
        assert not behind.exists(record(session))
        assert not behind.exists(name)

    def test_reports_nothing_that_was_ended(self, do, heard):
        do(signed_in().flush)
        sessions.revoke(handle(signed_in()))
        sessions.revoke_user("1")
        heard.clear()
        assert do(sessions.sweep) == 0
        assert heard == []


def test_messages_are_the_announcements_that_are_decoded():
    message = announcements.revoked("A" * 24, "7", "logout")
    assert announcements.decode(message) == announcements.Revoked("A" * 24, "7", "logout")
