"""Walks that lose their connection, or are stopped, go on where they were."""

import io
import json
import re

import pytest
from django.core.management import CommandError, call_command

from django_redis_sessions import footing, indexes, sessions, walks
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.blocking import BlockingClient
from django_redis_sessions.errors import SessionStoreMisconfigured, SessionStoreUnavailable
from django_redis_sessions.footing import Footing, Pace, Place, Replaced
from django_redis_sessions.management.subcommands import purge
from django_redis_sessions.operations import Pause
from tests.servers import RedisServer

pytestmark = pytest.mark.operator

GONE = SessionStoreUnavailable("Redis is away.")


class TestAPlace:
    @pytest.mark.parametrize(
        "text", ["", "0123456789ab:77", "0123456789ab:done,ba9876543210:18446744073709551615"]
    )
    def test_is_text_that_can_be_gone_on_from(self, text):
        assert str(Place.parsed(text)) == text

    @pytest.mark.parametrize(
        "text", ["x", "0123456789ab", "0123456789ab:", "0123456789ab:77,", "0:1", "a" * 50]
    )
    def test_is_nothing_else(self, text):
        with pytest.raises(ValueError, match="not where a walk"):
            Place.parsed(text)


def played(operation, *replies):
    """What an operation says when it is sent these replies, of which errors are thrown."""
    said = [operation.send(None)]
    for reply in replies:
        try:
            said.append(operation.throw(reply) if isinstance(reply, Exception) else operation.send(reply))
        except StopIteration as done:
            return said, done.value
    return said, operation


class TestAFooting:
    WHO = ("INFO", "server")
    HERE, ELSEWHERE = (f"run_id:{letter * 40}\r\n".encode() for letter in "ab")

    def standing(self, patience=1):
        made = Footing(Pace(patience=patience))
        _, done = played(made.settle(), [self.HERE])
        assert done is None
        assert made.run_id == "a" * 12
        return made

    def test_asks_again_when_the_same_process_is_back(self):
        said, reply = played(
            self.standing().ask(("GET", "k")), GONE, None, GONE, None, [self.HERE], [self.HERE, b"v"]
        )
        assert reply == b"v"
        asked = [self.WHO, ("GET", "k")]
        assert said == [asked, Pause(0.1), [self.WHO], Pause(0.2), [self.WHO], asked]

    def test_waits_for_a_server_that_is_still_loading(self):
        _, reply = played(
            self.standing().ask(("GET", "k")), [self.HERE, GONE], None, [self.HERE], [self.HERE, b"v"]
        )
        assert reply == b"v"

    def test_begins_again_with_another_process(self):
        standing = self.standing()
        with pytest.raises(Replaced):
            played(standing.ask(("GET", "k")), GONE, None, [self.ELSEWHERE])
        assert standing.run_id == "b" * 12

    def test_begins_again_with_another_process_that_has_come_without_a_word(self):
        with pytest.raises(Replaced):
            played(self.standing().ask([("GET", "k")]), [self.ELSEWHERE, b"v"])

    def test_takes_no_missing_value_for_another_process(self):
        def operation():
            return (yield ("GET", "k"))

        assert played(self.standing().ask(("GET", "k")), [self.HERE, None])[1] is None
        assert played(self.standing().take(operation()), [self.HERE, None])[1] is None

    def test_begins_again_when_it_may_not_know(self):
        standing = self.standing()
        refused = SessionStoreMisconfigured("No permission.")
        with pytest.raises(Replaced):
            played(standing.ask([("GET", "k")]), [refused, b"v"])
        assert standing.run_id == ""
        asking, said = standing.ask([("GET", "k")]), []
        said += [asking.send(None), asking.send([GONE]), asking.send(None)]
        with pytest.raises(Replaced):
            asking.send([refused])
        assert said == [[("GET", "k")], Pause(0.1), [self.WHO]]
        _, reply = played(standing.ask([("GET", "k")]), [b"v"])
        assert reply == [b"v"]

    def test_takes_one_answer_that_is_missing_for_all(self):
        _, reply = played(
            self.standing().ask([("GET", "k"), ("GET", "l")]),
            [self.HERE, b"v", GONE],
            None,
            [self.HERE],
            [self.HERE, b"v", b"w"],
        )
        assert reply == [b"v", b"w"]

    def test_waits_longer_each_time_and_not_for_ever(self):
        operation, rests = self.standing(patience=20).ask(("GET", "k")), []
        operation.send(None)
        try:
            while True:
                rests.append(operation.throw(GONE).seconds)
                operation.send(None)
        except SessionStoreUnavailable as error:
            ended_with = error
        assert ended_with is GONE
        assert rests[:4] == [0.1, 0.2, 0.4, 0.8]
        assert max(rests) == footing.LONGEST_REST
        assert 20 <= sum(rests) < 30

    def test_does_not_wait_unless_told(self):
        with pytest.raises(SessionStoreUnavailable):
            played(Footing().ask(("GET", "k")), GONE)

    def test_takes_whole_operations(self):
        def operation():
            try:
                yield ("GET", "k")
            except SessionStoreMisconfigured:
                yield Pause(1)
                return (yield [("GET", "l")])

        said, result = played(
            self.standing().take(operation()),
            [self.HERE, SessionStoreMisconfigured("No.")],
            None,
            [self.HERE, b"v"],
        )
        assert result == [b"v"]
        assert said == [[self.WHO, ("GET", "k")], Pause(1), [self.WHO, ("GET", "l")]]
        with pytest.raises(Replaced):
            played(self.standing().take(operation()), GONE, None, [self.ELSEWHERE])
        with pytest.raises(SessionStoreUnavailable):
            played(Footing().take(operation()), GONE)

    def test_is_any_process_for_who_has_no_cursor(self):
        def operation():
            found = yield ("GET", "k")
            return found, (yield ("GET", "l"))

        said, result = played(footing.patiently(operation(), 1), GONE, None, None, b"v")
        assert result == (None, b"v")
        assert said == [("GET", "k"), Pause(0.1), ("GET", "k"), ("GET", "l")]
        with pytest.raises(SessionStoreUnavailable):
            played(footing.patiently(operation(), 0), GONE)


class TestAPace:
    def test_rests_as_long_as_so_many_sessions_may_take(self):
        assert Pace(rate=100).rest(50) == 0.5
        assert Pace().rest(50) == 0


@pytest.fixture
def many(store, monkeypatch):
    """Hundreds of sessions, in small pages."""
    monkeypatch.setattr(walks, "PAGE", 10)
    monkeypatch.setattr(walks, "LOOK", 10)
    for number in range(300):
        session = SessionStore()
        session["_auth_user_id"] = str(number)
        session.save()
    return store


class TestALostConnection:
    def test_is_waited_for_by_a_purge(self, many, interrupted):
        rests = interrupted(after=10)
        seen = []
        assert sessions.purge(progress=seen.append, patience=5) == 300
        assert rests == [0.1, 0.2]
        assert seen[-1].share == 1

    def test_is_waited_for_by_every_walk(self, many, interrupted, monkeypatch):
        rests = interrupted(after=10)
        assert sessions.statistics(patience=5).census.sessions == 300
        assert len(rests) == 2
        rests = interrupted(after=10)
        assert len(sessions.ranked("size", 400, patience=5).infos) == 300
        assert len(rests) == 2
        rests = interrupted(after=15)
        assert sessions.reindex(patience=5) >= 300
        assert len(rests) == 2
        rests = interrupted(after=10)
        assert len([*sessions.iterate(patience=5)]) >= 300
        assert len(rests) == 2
        rests = interrupted(after=10)
        assert sessions.revoke_all(patience=5) == 300
        assert len(rests) == 2

    @pytest.mark.parametrize("after", range(1, 9))
    @pytest.mark.parametrize("is_restarted", [False, True])
    def test_is_waited_for_by_a_list(self, many, interrupted, after, is_restarted):
        rests = interrupted(after, is_restarted=is_restarted)
        page = sessions.page(limit=100, looks=None, patience=5)
        found = [info.handle for info in page.infos]
        while page.next is not None:
            page = sessions.page(page.next, limit=100, looks=None)
            found += [info.handle for info in page.infos]
        assert rests == [0.1, 0.2]
        assert len(found) == len(set(found)) == 300

    @pytest.mark.one_slot
    @pytest.mark.parametrize("after", [3, 40, 90])
    def test_of_one_master_leaves_the_list_of_another_as_it_is(self, many, interrupted, monkeypatch, after):
        monkeypatch.setattr(BlockingClient, "nodes", lambda self: [self, self])
        rests = interrupted(after, is_restarted=True)
        found = [info.handle for info in sessions.page(limit=1000, looks=None, patience=5).infos]
        assert rests == [0.1, 0.2]
        assert len(found) == 2 * len(set(found)) == 600

    @pytest.mark.parametrize("after", range(1, 9))
    @pytest.mark.parametrize("is_restarted", [False, True])
    def test_is_waited_for_by_a_sweep(self, many, interrupted, behind, monkeypatch, after, is_restarted):
        monkeypatch.setattr(indexes, "PAGE", 100)
        for name in [*behind.scan_iter(many.keys.records_pattern)]:
            behind.unlink(name)
        for name in [*behind.scan_iter(many.keys.indexes_pattern)]:
            for member, score in behind.zrangebyscore(name, 1, 10**11, withscores=True):
                behind.zadd(name, {member: min(score, 1_700_000_000)})
        rests = interrupted(after, times=1, is_restarted=is_restarted)
        told = []
        assert sessions.sweep(lambda *each: told.append(each), patience=5) == len(told)
        assert rests == [0.1]
        assert len(told) == len(set(told)) == 300

    def test_is_waited_for_while_sessions_that_have_moved_are_ended(self, many, interrupted):
        from django_redis_sessions.executors import run

        for _ in range(20):
            session = SessionStore()
            session.save()
            session.cycle_key()
        ended = run(many.connections.client(), walks.purge(many.keys, lambda start: False))
        assert ended == 0
        for after in (1, 2, 3):
            rests = interrupted(after, times=1)
            run(many.connections.client(), walks.purge_moved(many.keys, lambda start: False, patience=5))
            assert rests == [0.1]

    def test_is_waited_for_while_a_sample_is_read(self, many, interrupted):
        from django_redis_sessions.executors import run

        taken = []
        rests = interrupted(after=10)

        def take(name, record):
            taken.append(record)
            return True

        reading = walks.everywhere(lambda _: walks.sample(many.keys, take, limit=300, rate=1e6, patience=5))
        assert sum(run(many.connections.client(), reading)) == len(taken) == 300
        assert [rest for rest in rests if rest >= 0.1] == [0.1, 0.2]

    @pytest.mark.one_slot
    def test_of_a_server_that_was_restarted_lets_begin_anew(self, many, interrupted, monkeypatch):
        interrupted(after=10, is_restarted=True)
        place = []
        assert sessions.purge(patience=5, resume="", progress=lambda now: place.append(now.resume)) == 300
        assert re.fullmatch(r"[0-9a-f]{12}:\d+", place[-1])
        assert sessions.count() == 0

    def test_of_a_server_that_was_restarted_is_no_ground_to_count_on(self, many, interrupted, monkeypatch):
        interrupted(after=10, is_restarted=True)
        with pytest.raises(SessionStoreUnavailable, match="Begin again"):
            sessions.statistics(patience=5)
        interrupted(after=10, is_restarted=True)
        with pytest.raises(SessionStoreUnavailable, match="Begin again"):
            sessions.purge(dry_run=True, older_than=0, patience=5)
        interrupted(after=10, is_restarted=True)
        assert len(sessions.ranked("size", 400, patience=5).infos) == 300

    @pytest.mark.parametrize("after", range(9, 15))
    def test_of_a_server_that_was_restarted_lets_samples_and_indexes_begin_anew(
        self, many, interrupted, monkeypatch, after
    ):
        from django_redis_sessions.executors import run

        interrupted(after=after, times=1, is_restarted=True)
        taken = []

        def take(name, record):
            taken.append(record)
            return True

        reading = walks.everywhere(lambda _: walks.sample(many.keys, take, limit=300, rate=1e6, patience=5))
        assert sum(run(many.connections.client(), reading)) == len(taken) == 300
        interrupted(after=after, times=1, is_restarted=True)
        assert sessions.reindex(patience=5) >= 300

    @pytest.mark.parametrize("after", [1, 2, 3, 4])
    @pytest.mark.parametrize("process", ["same", "another"])
    def test_is_waited_for_while_the_indexes_are_tidied(
        self, many, interrupted, monkeypatch, behind, process, after
    ):
        from django_redis_sessions.executors import run

        for name in behind.scan_iter(many.keys.records_pattern):
            behind.unlink(name)
        monkeypatch.setattr(indexes, "PAGE", 100)
        interrupted(after=after, times=1, is_restarted=process == "another")
        run(many.connections.client(), indexes.tidy(many.keys, patience=5))
        members = [behind.zcount(name, 1, 10**11) for name in behind.scan_iter(many.keys.indexes_pattern)]
        assert sum(members) == 0

    @pytest.mark.unix
    def test_is_one_that_a_real_server_did_not_answer(self, many, configure, behind):
        configure(TIMEOUT=1, RETRIES=0)
        pages = []

        def progress(now):
            pages.append(now)
            if len(pages) == 5:
                behind.execute_command("CLIENT", "PAUSE", 2500, "ALL")

        assert sessions.purge(older_than=0, progress=progress, patience=10) == 300

    @pytest.mark.unix
    @pytest.mark.parametrize("at", [1, 5, 15])
    def test_that_was_replaced_without_a_word_lets_begin_anew(self, configure, monkeypatch, at):
        """A restart that is over before the next page: the client finds its idle connection closed."""
        monkeypatch.setattr(walks, "PAGE", 10)
        with RedisServer("--appendonly", "yes", "--appendfsync", "no") as server:
            configure(URL=server.url)
            for _ in range(200):
                SessionStore().save()
            pages = []

            def progress(now):
                pages.append(now)
                if len(pages) == at:
                    server.stop()
                    server.start()

            sessions.purge(older_than=0, progress=progress, patience=10)
            assert len(pages) > at
            assert sessions.count() == 0


class TestAStoppedPurge:
    def stop(self, monkeypatch, pages):
        purging = sessions.purge

        def stopped(**options):
            draw, count = options.pop("progress"), 0

            def progress(now):
                nonlocal count
                count += 1
                draw(now)
                if count == pages:
                    raise KeyboardInterrupt

            return purging(**options, progress=progress)

        monkeypatch.setattr(purge.sessions, "purge", stopped)

    def call(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        try:
            call_command("redis_sessions", "purge", *arguments, "--no-input", stdout=out, stderr=err)
        except CommandError as error:
            if error.returncode != 130:
                raise
        return out.getvalue(), err.getvalue()

    @pytest.mark.one_slot
    @pytest.mark.parametrize("pages", [1, 2, 3, 15, 28])
    def test_says_where_to_go_on_and_misses_nobody(self, many, monkeypatch, pages):
        self.stop(monkeypatch, pages)
        _, err = self.call("--older-than", "0")
        (place,) = re.findall(r"--resume (\S+)$", err, re.MULTILINE)
        left = sessions.count()
        assert left > 0
        monkeypatch.undo()
        assert self.call("--older-than", "0", "--resume", place)[0] == f"{left:,} sessions ended.\n"
        assert sessions.count() == 0

    def test_goes_on_and_does_not_begin_again(self, many, monkeypatch):
        self.stop(monkeypatch, 25)
        (place,) = re.findall(r"--resume (\S+)$", self.call("--older-than", "9d")[1], re.MULTILINE)
        monkeypatch.undo()
        seen = []
        sessions.purge(older_than=9 * 86400, resume=place, progress=seen.append)
        assert seen[-1].seen < 300

    def test_that_is_done_has_nothing_left_to_do(self, many):
        seen = []
        assert sessions.purge(older_than=0, resume="", progress=seen.append) == 300
        # The last that it says of itself is before it knows that it is done.
        assert sessions.purge(older_than=0, resume=seen[-1].resume) == 0
        done = re.sub(r":\d+", ":done", seen[-1].resume)
        assert sessions.purge(resume=done) == 0

    def test_of_another_process_of_the_server_begins_anew(self, many):
        assert sessions.purge(resume="0123456789ab:done") == 300

    def test_leads_nowhere_from_elsewhere(self, store):
        with pytest.raises(CommandError, match="not what an earlier purge has shown"):
            self.call_plainly("--all", "--resume", "nonsense")
        with pytest.raises(ValueError, match="not where a walk"):
            sessions.purge(resume="nonsense")

    def call_plainly(self, *arguments):
        call_command("redis_sessions", "purge", *arguments, "--no-input")

    def test_says_nothing_that_was_only_to_count(self, many, monkeypatch):
        self.stop(monkeypatch, 2)
        assert "--resume" not in self.call("--all", "--dry-run")[1]

    def test_that_may_not_ask_which_server_this_is_cannot_go_on(self, many, monkeypatch):
        monkeypatch.setattr(footing, "_run_id_in", lambda reply: "")
        self.stop(monkeypatch, 5)
        assert "--resume" not in self.call("--all")[1]


class TestTheRate:
    def test_is_kept_by_resting_after_each_page(self, many, interrupted):
        rests = interrupted(after=10**6)
        call_command(
            "redis_sessions", "purge", "--all", "--no-input", "--rate", "100", "--json", stdout=io.StringIO()
        )
        assert sum(rests) == pytest.approx(3, abs=0.5)

    def test_of_a_purge_is_at_least_one(self, store):
        with pytest.raises(CommandError, match="above zero"):
            call_command("redis_sessions", "purge", "--all", "--rate", "0")


def test_numbers_of_a_purge_are_json(many):
    out = io.StringIO()
    call_command("redis_sessions", "purge", "--all", "--no-input", "--json", stdout=out)
    assert json.loads(out.getvalue())["ended"] == 300
