"""``manage.py redis_sessions train-dictionary``, from the stored sessions to those that are written with its file."""

import json
import logging
import random

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError
from django.test.utils import override_settings

from django_redis_sessions import conf, sessions, walks
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.dictionaries import NEWEST, Dictionary, parsed
from django_redis_sessions.errors import SessionStoreMisconfigured, TooFewSessions
from django_redis_sessions.operations import Pause
from django_redis_sessions.records import Codec, Header, header_of
from tests.test_command import Terminal, call

pytestmark = pytest.mark.operator

QUICKLY = ("--rate", "1000000")


def visit(number):
    """A stored session of a shop, whose every other visitor has signed in."""
    chance = random.Random(number)
    session = SessionStore()
    if number % 2:
        session["_auth_user_id"] = str(number)
        session["loyalty_programme"] = {
            "tier": chance.choice(["bronze", "silver"]),
            "points_collected": number,
        }
    session["shopping_basket"] = {f"article-{chance.randrange(9)}": chance.randrange(9) for _ in range(3)}
    session["visitor_token"] = f"{chance.getrandbits(128):032x}"
    session.save()
    return session


@pytest.fixture
def visits(store):
    return [visit(number) for number in range(120)]


@pytest.fixture
def file(tmp_path, settings):
    settings.BASE_DIR = tmp_path
    return tmp_path / "sessions-128.dict"


def dictionary_of(session, behind, keys):
    return header_of(behind.get(keys.record(session.session_key))).dictionary


class TestTheCommand:
    def test_writes_a_file_that_compression_can_name(self, visits, file, configure, behind, keys, do):
        call("train-dictionary", str(file), *QUICKLY)
        configure(COMPRESSION="sessions-128.dict")
        assert not [message for message in run_checks() if message.id.startswith("django_redis_sessions")]

        for number in (1, 2):
            assert (
                SessionStore(visits[number].session_key)["shopping_basket"]
                == visits[number]["shopping_basket"]
            )
        old, new = visits[1], visit(1)
        assert dictionary_of(old, behind, keys) == NEWEST
        assert dictionary_of(new, behind, keys) == 128
        sizes = [behind.strlen(keys.record(session.session_key)) for session in (old, new)]
        assert sizes[1] < 0.8 * sizes[0]

        loaded = SessionStore(old.session_key)
        assert do(loaded.get, "loyalty_programme")["points_collected"] == 1
        loaded["seen"] = True
        do(loaded.save)
        assert dictionary_of(old, behind, keys) == 128

    def test_says_what_it_would_save(self, visits, file):
        out, _ = call("train-dictionary", str(file), *QUICKLY)
        assert "Sessions       120 of 120 people\n" in out
        assert "Dictionary     number 128, " in out
        assert "each shared by 10 people or more\n" in out
        assert "% less than the best of the others\n" in out
        assert f"{file} was written." in out
        assert "does not pay off" not in out

    def test_says_when_it_does_not_pay_off(self, store, file):
        for number in range(120):
            session = SessionStore()
            session["token"] = f"{random.Random(number).getrandbits(2048):0512x}"
            session.save()
        out, _ = call("train-dictionary", str(file), *QUICKLY)
        assert "It does not pay off: less than 5% is saved.\n" in out
        assert file.exists()

    def test_shows_each_text_and_how_many_share_it(self, visits, file):
        out, _ = call("train-dictionary", str(file), "--show", "--dry-run", *QUICKLY)
        assert '"shopping_basket":{"article-' in out
        assert "Nothing was written.\n" in out
        assert not file.exists()

    def test_prints_json(self, visits, file):
        found = json.loads(call("train-dictionary", str(file), "--json", "--number", "200", *QUICKLY)[0])
        assert (found["number"], found["sessions"], found["threshold"]) == (200, 120, 10)
        assert found["written"] == str(file)
        assert found["worthwhile"] is True
        assert "texts" not in found
        assert parsed(file.read_bytes()).number == 200

        shown = json.loads(call("train-dictionary", "x.dict", "--json", "--show", "--dry-run", *QUICKLY)[0])
        assert shown["written"] is None
        assert all(text["people"] >= 10 for text in shown["texts"])

    def test_asks_before_it_overwrites(self, visits, file, monkeypatch):
        file.write_bytes(b"precious")
        monkeypatch.setattr("builtins.input", lambda: "n")
        with pytest.raises(CommandError, match="Nothing was done"):
            call("train-dictionary", str(file), *QUICKLY)
        assert file.read_bytes() == b"precious"
        call("train-dictionary", str(file), "--dry-run", *QUICKLY)
        assert file.read_bytes() == b"precious"
        call("train-dictionary", str(file), "--no-input", "--size", "500", *QUICKLY, verbosity=0)
        assert len(parsed(file.read_bytes()).text) == 500

    @pytest.mark.one_slot  # the bar is of one master after another
    def test_draws_a_bar_on_a_terminal(self, visits, file):
        assert "100%  120 seen" in call("train-dictionary", str(file), *QUICKLY, stderr=Terminal())[1]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--number", "127"], "is no number from 128 to 255"),
            (["--size", "16385"], "is more than 16384 bytes"),
            (["--sample", "0"], "is no whole number above zero"),
        ],
    )
    def test_refuses_what_cannot_be(self, store, file, arguments, message):
        with pytest.raises(CommandError, match=message):
            call("train-dictionary", str(file), *arguments)

    def test_refuses_a_place_it_cannot_write_to(self, visits, tmp_path):
        with pytest.raises(CommandError, match="cannot be written: No such file or directory"):
            call("train-dictionary", str(tmp_path / "missing" / "x.dict"), *QUICKLY)

    def test_refuses_too_few_sessions(self, store, file):
        visit(1)
        with pytest.raises(CommandError, match="at least 100 sessions are needed, and 1 could be read"):
            call("train-dictionary", str(file), *QUICKLY)
        assert not file.exists()


class TestANumber:
    def test_is_one_above_those_that_the_project_names(self, visits, file, configure):
        file.write_bytes(Dictionary(140, b"some text").dumped())
        configure(COMPRESSION=["dictionary", file])
        assert sessions.train_dictionary(rate=10**6).dictionary.number == 141

    def test_is_not_used_twice(self, visits, file, configure):
        file.write_bytes(Dictionary(140, b"some text").dumped())
        configure(COMPRESSION=file)
        with pytest.raises(SessionStoreMisconfigured, match="names a dictionary with number 140 already"):
            sessions.train_dictionary(number=140)

    @pytest.mark.parametrize("wrong", [{"number": 1}, {"size": 0}, {"size": 20_000}])
    def test_and_size_have_limits(self, store, wrong):
        with pytest.raises(ValueError, match="but must be from"):
            sessions.train_dictionary(**wrong)


class TestFromPython:
    def test_both_ways_give_the_same(self, visits, runner):
        trained = sessions.train_dictionary(rate=10**6)
        again = runner.run(sessions.atrain_dictionary(rate=10**6))
        assert again.dictionary == trained.dictionary
        assert again.sessions == 120

    def test_takes_about_the_sample_it_was_told(self, visits, runner):
        assert sessions.train_dictionary(sample=105, rate=10**6).sessions == 105
        with pytest.raises(TooFewSessions, match="50 could be read"):
            runner.run(sessions.atrain_dictionary(sample=50, rate=10**6))

    @pytest.mark.one_slot
    def test_tells_how_far_it_is(self, visits):
        seen = []
        sessions.train_dictionary(rate=10**6, progress=seen.append)
        assert seen[-1].seen == 120
        assert 0 < seen[0].share < seen[-1].share == 1


@pytest.mark.one_slot
class TestReadingASample:
    def test_hands_out_records_and_changes_nothing(self, visits, perform, keys, behind):
        before = {name: behind.get(name) for name in behind.scan_iter(f"{keys.prefix}:r:*")}
        taken = []
        assert perform(walks.sample(keys, lambda name, r: not taken.append(r), limit=1000, rate=10**6)) == 120
        assert sorted(taken) == sorted(before.values())
        assert {name: behind.get(name) for name in behind.scan_iter(f"{keys.prefix}:r:*")} == before

    def test_goes_through_all_pages(self, visits, perform, keys, monkeypatch):
        monkeypatch.setattr(walks, "PAGE", 10)
        taken = []
        assert perform(walks.sample(keys, lambda name, r: not taken.append(r), limit=110, rate=10**6)) == 110
        assert len(taken) == 110

    @pytest.mark.unix
    def test_says_when_it_may_not_read(self, visits, keys, configure, behind, server):
        rules = f"on >password resetkeys ~{keys.prefix}:* resetchannels -@all +scan +dbsize"
        behind.execute_command("ACL", "SETUSER", keys.prefix, *rules.split())
        try:
            configure(URL=f"unix://{keys.prefix}:password@{server.socket}")
            with pytest.raises(SessionStoreMisconfigured, match="does not permit"):
                sessions.train_dictionary()
        finally:
            behind.execute_command("ACL", "DELUSER", keys.prefix)

    def test_stops_when_it_has_enough(self, visits, perform, keys):
        taken = []
        assert (
            perform(walks.sample(keys, lambda name, r: bool(taken.append(r)), limit=1000, rate=10**6)) == 100
        )
        assert len(taken) == 100

    def test_leaves_out_long_records(self, store, perform, keys, behind):
        behind.set(f"{keys.prefix}:r:long", bytes(walks.LONGEST_SAMPLED + 1), ex=60)
        taken = []
        assert perform(walks.sample(keys, lambda name, r: taken.append(r), limit=1000, rate=10**6)) == 1
        assert taken == []

    def test_rests_between_batches_and_reads_nobody_twice(self, keys):
        found = [b"session %d" % number for number in range(300)]
        steps = answered(
            walks.sample(keys, lambda name, record: True, limit=250, rate=50), found[:50] + found
        )
        assert [step.seconds for step in steps if isinstance(step, Pause)] == [2, 2, 1]
        batches = [step for step in steps if isinstance(step, list) and step[0][0] == "GETRANGE"]
        assert [name for batch in batches for _, name, *_ in batch] == found[:250]


def answered(operation, found):
    """The steps of an operation whose one SCAN finds these keys."""
    steps = [operation.send(None)]
    while True:
        step = steps[-1]
        if isinstance(step, Pause):
            reply = None
        elif isinstance(step, tuple):
            reply = [b"0", found]
        else:
            reply = [b"record"] * len(step)
        try:
            steps.append(operation.send(reply))
        except StopIteration:
            return steps


class TestSeveralFiles:
    @pytest.fixture
    def files(self, file, configure):
        text = b'"shopping_basket":{"article-'
        for name, dictionary in (("old", Dictionary(128, text)), ("new", Dictionary(129, b"{" + text))):
            (file.parent / f"{name}.dict").write_bytes(dictionary.dumped())
        return configure

    def test_are_written_with_the_first_and_read_with_any(self, files, behind, keys):
        files(COMPRESSION="old.dict")
        old = visit(2)
        files(COMPRESSION=["old.dict", "new.dict"])
        between = visit(2)
        files(COMPRESSION=["new.dict", "old.dict"])
        new = visit(2)
        assert [dictionary_of(each, behind, keys) for each in (old, between, new)] == [128, 128, 129]
        for ways in (
            ["new.dict", "old.dict"],
            ["old.dict", "new.dict"],
            ["dictionary", "old.dict", "new.dict"],
        ):
            files(COMPRESSION=ways)
            for session in (old, between, new):
                assert SessionStore(session.session_key)["visitor_token"] == old["visitor_token"]

    def test_a_process_without_the_file_reads_an_empty_session_and_says_so(self, files, do, caplog):
        files(COMPRESSION="old.dict")
        session = visit(2)
        files(COMPRESSION="new.dict")
        with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
            assert do(SessionStore(session.session_key).load) == {}
        assert "needs a preset dictionary this process does not have, number 128" in caplog.text

    def test_a_process_with_another_file_of_that_number_does_not_make_one_up(self, files, file, do, caplog):
        files(COMPRESSION="old.dict")
        session = visit(2)
        file.write_bytes(Dictionary(128, b'"articles_basket":{"shopping-').dumped())
        files(COMPRESSION=file)
        with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
            assert do(SessionStore(session.session_key).load) == {}
        assert "needs another preset dictionary with number 128" in caplog.text


class TestAMissingFile:
    def test_is_reported_and_raised_in_the_same_words(self, store, file, server):
        with override_settings(SESSION_REDIS={"URL": server.url, "COMPRESSION": "sessions-128.dict"}):
            (found,) = [message for message in run_checks() if message.id == "django_redis_sessions.E004"]
            with pytest.raises(SessionStoreMisconfigured) as caught:
                SessionStore("some-session-key").load()
        assert str(caught.value) == f"{found.msg} {found.hint}"
        assert str(file) in found.msg

    def test_is_looked_for_in_the_working_directory_without_a_base_dir(
        self, file, configure, monkeypatch, settings
    ):
        file.write_bytes(Dictionary(128, b"some text").dumped())
        del settings.BASE_DIR
        monkeypatch.chdir(file.parent)
        codec = configure(COMPRESSION=file.name).codec
        own = Dictionary(128, b"some text")
        assert (codec.compression, codec.dictionaries) == (own, (own,))
        assert conf.problems() == []


def test_a_codec_may_be_made_without_a_project():
    own = Dictionary(128, b"some text that is known")
    record = Codec(own).seal(b"some text that is known, and some more", Header(1, 2, 3), "")
    assert Codec("zlib", (own,)).open(record, "")[1].endswith(b"more")
