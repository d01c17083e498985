"""``redis_sessions stats``: what is told beyond the numbers of sessions, and to whom."""

import io
import json
import re

import pytest
from django.core.management import CommandError, call_command

from django_redis_sessions import census, exposition, sessions, walks
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.census import Census, server_facts
from django_redis_sessions.errors import SessionStoreUnavailable
from django_redis_sessions.keys import digest
from django_redis_sessions.management.subcommands import stats
from django_redis_sessions.sessions.contents import LONGEST_NAME

pytestmark = pytest.mark.operator


def call(*arguments, **options):
    out, err = options.pop("stdout", io.StringIO()), io.StringIO()
    call_command("redis_sessions", "stats", *arguments, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def begin(**data):
    session = SessionStore()
    session.update(data)
    session.save()
    return session


class TestTheMixOfCodecs:
    def test_is_counted_by_what_records_say_of_themselves(self, configure):
        configure(COMPRESSION=None)
        begin(cart="teapot" * 20)
        configure()
        begin(cart="teapot" * 20)
        begin(cart="kettle" * 20)
        found = json.loads(call("--json")[0])["codecs"]
        assert found[0] == {
            "format": 1, "serializer": "json", "compression": "deflate", "dictionary": 2,
            "protection": "none", "key": "", "sessions": 2,
        }  # fmt: skip
        assert (found[1]["compression"], found[1]["dictionary"], found[1]["sessions"]) == ("none", 0, 1)
        assert re.search(r" 2   67%  format 1, serializer json, compression deflate, dictionary 2", call()[0])

    def test_leaves_out_what_is_no_record(self, store, behind):
        behind.set(f"{store.keys.prefix}:r:no-record", b"anything", ex=60)
        found = json.loads(call("--json")[0])
        assert (found["unreadable"], found["codecs"]) == (1, [])

    def test_names_what_it_does_not_know_by_number(self):
        counted = Census()
        counted.count([None], [60], [bytes([1, 77, 9, 3, 4]) + b"rest"])
        assert counted.summary()["codecs"] == [
            {
                "format": 1,
                "serializer": "77",
                "compression": "9",
                "dictionary": 3,
                "protection": "4",
                "key": "",
                "sessions": 1,
            }
        ]


class TestTheLargest:
    def test_are_named_by_handle_and_no_session_key(self, configure, monkeypatch):
        for scheme in ("hashed", "plain"):
            configure(COMPRESSION=None, KEYS=scheme)
            monkeypatch.setattr(census, "LARGEST", 3)
            made = [begin(filling="x" * size) for size in (10, 500, 3000, 20, 900)]
            found = json.loads(call("--json")[0])["largest"]
            expected = [digest(made[at].session_key) for at in (2, 4, 1)]
            assert [each["handle"] for each in found] == expected
            assert found[0]["size"] > 3000
            out, _ = call()
            assert re.findall(r"^  ([\w-]{24})  ", out, re.MULTILINE) == expected
            assert not any(session.session_key in out for session in made)
            sessions.purge()

    def test_are_none_twice_when_a_scan_comes_past_them_twice(self):
        counted = Census()
        for _ in range(2):
            for size in range(20):
                counted.weigh(size, None, b"%d" % size)
        assert sorted(counted.largest.values()) == list(range(10, 20))


class TestTheContents:
    def test_tell_what_takes_the_room_and_no_value(self, store, do):
        for number in range(5):
            begin(cart={"teapot": "x" * 200}, visits=number)
        begin(**{"n" * 100: "secret value"})
        found = do(sessions.contents).as_dict()
        assert (found["sessions"], found["unreadable"]) == (6, 0)
        first = found["names"][0]
        length = len('{"teapot":""}') + 200
        assert first == {"name": "cart", "sessions": 5, "bytes": 5 * length, "largest": length}
        assert found["names"][1]["name"] == "n" * LONGEST_NAME
        out, _ = call("--contents")
        assert re.search(r"^Contents of 6 sessions", out, re.MULTILINE)
        assert re.search(r"^  cart +1\.1 kB   9\d%  in 5 sessions, 213 B at most$", out, re.MULTILINE)
        assert "secret value" not in out
        assert "contents" in json.loads(call("--contents", "--json")[0])

    def test_are_those_of_a_sample(self, store):
        for _ in range(20):
            begin(a=1)
        assert sessions.contents(5).sessions <= 20
        assert json.loads(call("--contents", "--sample", "5", "--json")[0])["contents"]["sessions"] >= 5

    def test_count_what_cannot_be_read(self, store, behind):
        behind.set(f"{store.keys.prefix}:r:no-record", b"anything", ex=60)
        found = sessions.contents()
        assert (found.sessions, found.unreadable) == (1, 1)


class TestWatching:
    @pytest.fixture
    def looks(self, monkeypatch):
        """``looks(3, between=function)``: stops after the third look."""

        def set_up(count, between=lambda: None):
            rests = []

            def rest(seconds):
                rests.append(seconds)
                between()
                if len(rests) == count:
                    raise KeyboardInterrupt

            monkeypatch.setattr(stats, "sleep", rest)
            return rests

        return set_up

    def test_looks_again_until_it_is_stopped(self, store, looks):
        rests = looks(2, between=begin)
        out, _ = call("--watch", "3s")
        assert re.findall(r"^Sessions +(\d)$", out, re.MULTILINE) == ["0", "1"]
        assert rests == [3, 3]

    def test_tells_what_has_changed_in_a_second(self, store, looks):
        looks(2)
        lines = [json.loads(line) for line in call("--watch", "--json")[0].splitlines()]
        assert lines[0]["per_second"] is None
        assert lines[1]["per_second"]["commands"] > 0
        assert lines[1]["per_second"]["evicted"] == 0
        looks(2)
        assert re.search(r"per second +[\d,.]+ commands, 0\.0 evicted", call("--watch")[0])

    def test_clears_a_terminal(self, store, looks):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        looks(1)
        assert call("--watch", stdout=Terminal())[0].startswith("\x1b[H")
        looks(1)
        assert "\x1b[H" not in call("--watch")[0]

    def test_waits_for_the_end_of_an_outage(self, store, looks, monkeypatch):
        found, calls = sessions.statistics, []

        def sometimes(*arguments, **options):
            calls.append(1)
            if len(calls) == 2:
                raise SessionStoreUnavailable("Redis is away.")
            return found(*arguments, **options)

        monkeypatch.setattr(sessions, "statistics", sometimes)
        looks(3)
        out, err = call("--watch")
        assert len(re.findall(r"^Sessions", out, re.MULTILINE)) == 2
        assert err == "Redis is away.\n"

    def test_does_not_begin_in_an_outage(self, configure):
        configure(URL="unix:///nowhere/redis.sock")
        with pytest.raises(CommandError, match="nowhere"):
            call("--watch")


class TestForPrometheus:
    def parsed(self, text):
        return dict(re.findall(r"^(\w+(?:\{.*\})?) (-?\d+)$", text, re.MULTILINE))

    def test_is_text_of_names_labels_and_numbers(self, store):
        begin(_auth_user_id="1")
        begin()
        out, _ = call("--format", "prometheus")
        found = self.parsed(out)
        assert found['redis_sessions_stored{kind="logged_in"}'] == "1"
        assert found['redis_sessions_stored{kind="anonymous"}'] == "1"
        assert int(found["redis_sessions_server_commands_total"]) > 0
        assert found['redis_sessions_remaining_life{life="7 to 14 days"}'] == "2"
        for line in out.splitlines():
            assert re.fullmatch(r"# (HELP \w+ .+|TYPE \w+ (gauge|counter))|\w+(\{.+\})? -?\d+", line), line
        names = re.findall(r"^# TYPE (\w+) ", out, re.MULTILINE)
        assert len(names) == len(set(names))

    def test_names_no_session(self, store):
        session = begin(cart=1)
        out, _ = call("--format", "prometheus")
        assert session.session_key not in out
        assert digest(session.session_key) not in out

    def test_has_every_metric_that_is_known(self, store):
        begin()
        found = sessions.statistics().as_dict()
        found["server"]["replication"] = {"replicas": 2, "online": 1, "lag": 3}
        names = set(re.findall(r"^# TYPE (\w+) ", exposition.exposition(found), re.MULTILINE))
        assert names == set(exposition.METRICS)

    def test_escapes_what_servers_say(self, store):
        found = sessions.statistics().as_dict()
        found["server"]["version"] = 'a"b\\c\nd'
        assert 'version="a\\"b\\\\c\\nd"' in exposition.exposition(found)

    def test_is_understood_by_prometheus(self, store):
        parser = pytest.importorskip("prometheus_client.parser")
        begin()
        families = list(parser.text_string_to_metric_families(call("--format", "prometheus")[0] + "\n"))
        assert {"redis_sessions_stored", "redis_sessions_server_commands"} <= {each.name for each in families}

    @pytest.mark.parametrize("other", ["--contents", "--watch"])
    def test_goes_with_nothing_else(self, store, other):
        with pytest.raises(CommandError, match="neither --contents nor --watch"):
            call("--format", "prometheus", other)


class TestTheServer:
    def test_tells_of_replicas_and_the_slowest(self):
        facts = server_facts(
            [
                {"slave0": "ip=10.0.0.1,port=6379,state=online,offset=1,lag=0", "slave_repl_offset": "1"},
                {"slave0": "ip=10.0.0.2,port=6379,state=wait_bgsave,offset=1,lag=7"},
            ]
        )
        assert facts["replication"] == {"replicas": 2, "online": 1, "lag": 7}
        assert stats._replicas(facts["replication"]) == "1 of 2 online, heard 7 s ago or later"
        assert stats._replicas({"replicas": 1, "online": 0, "lag": None}) == "0 of 1 online"

    def test_tells_of_persistence(self):
        ok = {"aof_enabled": "1", "rdb_last_save_time": "1700000000", "rdb_last_bgsave_status": "ok"}
        bad = {**ok, "aof_enabled": "0", "aof_last_write_status": "err", "rdb_changes_since_last_save": "12"}
        assert server_facts([ok])["persistence"] == {
            "aof": True, "ok": True, "last_save": 1700000000, "changes_since_save": 0
        }  # fmt: skip
        both = server_facts([ok, bad])["persistence"]
        assert (both["aof"], both["ok"], both["changes_since_save"]) == (False, False, 12)
        assert "append-only file off, 12 changes" in stats._persistence(both)
        assert "FAILED" in stats._persistence(both)

    def test_may_be_forbidden_to_say(self, store, monkeypatch):
        def silent():
            return {}
            yield

        monkeypatch.setattr(walks, "server_info", silent)
        out, _ = call()
        assert "  persistence  the server does not say\n" in out
        assert "  replicas     none\n" in out
        assert "persistence_ok" not in call("--format", "prometheus")[0]
