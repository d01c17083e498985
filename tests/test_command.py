"""``manage.py redis_sessions``: command lines, what they mean, and what people read."""

import io
import json
import re
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command

from django_redis_sessions import census, sessions, walks
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.keys import digest, user_marker
from django_redis_sessions.management.arguments import duration
from django_redis_sessions.management.output import in_bytes
from django_redis_sessions.management.subcommands import sweep

pytestmark = pytest.mark.operator


class Terminal(io.StringIO):
    def isatty(self):
        return True


def call(*arguments, **options):
    """Standard output and standard error of a command line."""
    out, err = io.StringIO(), options.pop("stderr", io.StringIO())
    call_command("redis_sessions", *arguments, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def people(store):
    """Three anonymous sessions, two of user 1, one of user 2."""
    for user in (None, None, None, "1", "1", "2"):
        session = SessionStore()
        if user:
            session["_auth_user_id"] = user
        session.save()


def left():
    return sessions.statistics().census.sessions


@pytest.mark.usefixtures("people")
class TestStats:
    def test_prints_a_table(self):
        out, _ = call("stats")
        assert "Sessions       6\n" in out
        assert "  logged in    3\n" in out
        assert "  anonymous    3\n" in out
        assert re.search(r"7 to 14 days +6  100%  #{30}\n", out)
        assert "Server         " in out

    def test_prints_json(self):
        found = json.loads(call("stats", "--json")[0])
        assert (found["sessions"], found["logged_in"], found["anonymous"]) == (6, 3, 3)
        assert found["size"]["p50"] > 0
        assert found["time_to_live"]["7 to 14 days"] == 6
        assert found["server"]["version"]
        assert found["sampled"] is False

    def test_says_when_it_took_a_sample(self, monkeypatch):
        # One more than there are: of a cluster, six may be found before the last server was asked.
        assert "a sample" not in call("stats", "--sample", "7")[0]
        monkeypatch.setattr(walks, "PAGE", 10)
        for _ in range(100):
            SessionStore().save()
        out, _ = call("stats", "--sample", "2")
        assert "(a sample of " in out

    def test_says_what_its_figure_of_memory_rests_on(self, monkeypatch):
        assert re.search(r"Memory +[0-9.]+ k?B\n", call("stats")[0])
        assert json.loads(call("stats", "--json")[0])["memory_measured"] == 6
        monkeypatch.setattr(walks, "MEASURED_AT_LEAST", 0)
        assert re.search(r"Memory .+ \(estimated from [1-5] sessions\)\n", call("stats")[0])
        monkeypatch.setattr(census.Census, "measured", property(lambda _: 0, lambda *_: None), raising=False)
        assert "Memory         0 B (the server does not say)\n" in call("stats")[0]

    def test_draws_a_bar_on_a_terminal_alone(self):
        assert "100%" in call("stats", stderr=Terminal())[1]
        assert call("stats")[1] == ""
        assert call("stats", stderr=Terminal(), verbosity=0)[1] == ""


class TestStatsOfNothing:
    def test_are_zeros(self, store):
        assert "Sessions       0\n" in call("stats")[0]


@pytest.mark.usefixtures("people")
class TestPurge:
    @pytest.mark.parametrize(
        ("arguments", "ended"),
        [
            (["--all"], 6),
            (["--anonymous"], 3),
            (["--user", "1"], 2),
            (["--user", "nobody"], 0),
            (["--older-than", "7d"], 0),
            (["--older-than", "0s"], 6),
            (["--idle", "2d"], 0),
            (["--anonymous", "--idle", "0"], 3),
        ],
    )
    def test_ends_what_it_was_told_and_reports_the_number(self, arguments, ended):
        out, _ = call("purge", *arguments, "--no-input")
        assert out == f"{ended} sessions ended.\n"
        assert left() == 6 - ended

    def test_counts_only_in_a_dry_run(self):
        assert call("purge", "--all", "--dry-run")[0] == "6 sessions would be ended.\n"
        assert json.loads(call("purge", "--all", "--dry-run", "--json")[0]) == {
            "ended": 0, "matched": 6, "dry_run": True
        }  # fmt: skip
        assert left() == 6

    @pytest.mark.parametrize("arguments", [[], ["--all", "--anonymous"], ["--all", "--idle", "1d"]])
    def test_wants_to_know_which_sessions(self, arguments):
        with pytest.raises(CommandError, match="Say which sessions"):
            call("purge", *arguments, "--no-input")
        assert left() == 6

    @pytest.mark.parametrize(
        ("answer", "ends"), [("y", True), ("yes", True), ("", False), ("n", False), ("no", False)]
    )
    def test_asks_first(self, monkeypatch, answer, ends):
        monkeypatch.setattr("builtins.input", lambda: answer)
        if ends:
            _, err = call("purge", "--user", "1")
            assert "all sessions that meet --user for good. Go on? [y/N]" in err
        else:
            with pytest.raises(CommandError, match="Nothing was done"):
                call("purge", "--user", "1")
        assert left() == (4 if ends else 6)

    def test_does_nothing_when_nobody_answers(self, monkeypatch):
        def nobody():
            raise EOFError

        monkeypatch.setattr("builtins.input", nobody)
        with pytest.raises(CommandError, match="--no-input"):
            call("purge", "--all")
        assert left() == 6

    def test_is_quiet_when_told(self):
        assert call("purge", "--all", "--no-input", verbosity=0) == ("", "")

    def test_stopped_by_hand_exits_as_programs_do(self, monkeypatch):
        def interrupted(**_):
            raise KeyboardInterrupt

        monkeypatch.setattr(sessions, "purge", interrupted)
        with pytest.raises(CommandError) as caught:
            call("purge", "--all", "--no-input")
        assert caught.value.returncode == 130


class TestWithoutAServer:
    def test_every_subcommand_says_what_is_wrong(self, configure):
        for arguments in (["stats"], ["purge", "--all", "--no-input"], ["train-dictionary", "x.dict"]):
            configure(URL="unix:///nowhere/redis.sock")
            with pytest.raises(CommandError, match=r"unix:///nowhere/redis\.sock cannot be reached"):
                call(*arguments)


class TestADuration:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("90", 90),
            ("90s", 90),
            ("15m", 900),
            ("12h", 43200),
            ("7d", 604800),
            ("2w", 1209600),
            ("1.5h", 5400),
        ],
    )
    def test_is_a_number_with_a_unit(self, text, seconds):
        assert duration(text) == seconds

    @pytest.mark.parametrize("text", ["", "x", "7 days", "-1d", "1y", "٣d"])
    def test_is_nothing_else(self, store, text):
        with pytest.raises(CommandError, match="is no duration"):
            call("purge", f"--idle={text}", "--no-input")


class TestASizeForPeople:
    @pytest.mark.parametrize(
        ("number", "text"),
        [
            (0, "0 B"),
            (344, "344 B"),
            (1_200, "1.2 kB"),
            (1_500_000, "1.5 MB"),
            (2 * 10**9, "2.0 GB"),
            (3e12, "3.0 TB"),
        ],
    )
    def test_has_three_figures_or_so(self, number, text):
        assert in_bytes(number) == text


class TestTheOperatorApi:
    def test_works_awaited_too(self, people, runner):
        async def use():
            found = await sessions.astatistics()
            return found.census.sessions, await sessions.apurge(user=1), await sessions.apurge(dry_run=True)

        assert runner.run(use()) == (6, 2, 4)


class TestDjangosHabits:
    def test_common_options_may_stand_behind_the_subcommand(self, people):
        assert call("purge", "--all", "--no-input", "--verbosity", "0")[0] == ""
        assert call("stats", "--no-color", "--traceback")[0]

    def test_nothing_but_errors_is_painted_red(self, people, monkeypatch):
        monkeypatch.setattr("builtins.input", lambda: "y")
        _, err = call("purge", "--all", stderr=Terminal(), force_color=True)
        assert "[y/N]" in err
        assert "\x1b[" not in err

    @pytest.mark.unix
    def test_a_reader_that_has_seen_enough_is_no_error(self, store):
        program = (
            "import django, sys; from django.conf import settings\n"
            f"settings.configure(INSTALLED_APPS=['django_redis_sessions'], "
            f"SESSION_REDIS={{'URL': {store.settings.url!r}}})\n"
            "django.setup(); from django.core.management import call_command; import time, os\n"
            "os.close(0); r, w = os.pipe(); os.dup2(w, 1); os.close(r); os.close(w)\n"
            "call_command('redis_sessions', 'stats')\n"
        )
        ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, timeout=60)
        assert ended.stderr == b""


class TestSweep:
    @pytest.fixture
    def expired(self, store, behind):
        session = SessionStore()
        session["_auth_user_id"] = "42"
        session.save()
        behind.unlink(store.keys.record(session.session_key))
        index = store.keys.index(user_marker("42"))
        behind.zadd(index, {digest(session.session_key): 1_700_000_000})
        return digest(session.session_key)

    def test_reports_what_is_over(self, expired):
        assert call("sweep", "--once")[0] == "1 session expired.\n"
        assert call("sweep", "--once")[0] == "0 sessions expired.\n"

    def test_names_each_to_a_program(self, expired):
        assert [json.loads(line) for line in call("sweep", "--once", "--json")[0].splitlines()] == [
            {"user": "42", "handle": expired}
        ]

    def test_goes_on_until_it_is_stopped(self, expired, monkeypatch):
        rests = []

        def rest(seconds):
            rests.append(seconds)
            if len(rests) == 3:
                raise KeyboardInterrupt

        monkeypatch.setattr(sweep, "sleep", rest)
        with pytest.raises(CommandError, match="Stopped"):
            call("sweep", "--every", "5m")
        assert rests == [300, 300, 300]

    def test_says_at_a_terminal_what_it_does_meanwhile(self, store, monkeypatch):
        def rest(seconds):
            raise KeyboardInterrupt

        monkeypatch.setattr(sweep, "sleep", rest)
        for arguments, said in (((), "every 60 s. Ctrl-C ends this.\n"), (("--verbosity=0",), "")):
            terminal = Terminal()
            with pytest.raises(CommandError, match="Stopped"):
                call("sweep", *arguments, stderr=terminal)
            assert terminal.getvalue().endswith(said)
        assert call("sweep", "--once", stderr=Terminal())[1] == ""

    def test_waits_for_the_end_of_an_outage(self, configure, monkeypatch, capsys):
        configure(URL="unix:///nowhere/redis.sock", RETRIES=0)

        def rest(seconds):
            raise KeyboardInterrupt

        monkeypatch.setattr(sweep, "sleep", rest)
        with pytest.raises(CommandError, match="Stopped"):
            call("sweep")
        with pytest.raises(CommandError, match="nowhere"):
            call("sweep", "--once")

    def test_needs_an_index(self, configure):
        configure(USER_INDEX=False)
        with pytest.raises(CommandError, match="USER_INDEX"):
            call("sweep", "--once")


class TestReindex:
    def test_notes_sessions_from_before(self, configure):
        configure(USER_INDEX=False)
        session = SessionStore()
        session["_auth_user_id"] = "42"
        session.save()
        SessionStore().create()
        configure()
        assert sessions.of_user("42") == []
        assert call("reindex")[0] == "1 session noted.\n"
        assert [info.handle for info in sessions.of_user("42")] == [digest(session.session_key)]
        assert json.loads(call("reindex", "--json")[0]) == {"noted": 1}
