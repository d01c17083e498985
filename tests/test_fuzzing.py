"""Nothing that others have written lets out any error but ours, or takes long; and what once did."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions import arrivals, conf, keys, operations, sessions
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.configuration import database_of, problems
from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.executors import run
from tests.fuzzing import TARGETS, mutated, sealed

#: Seconds for one input, on a machine that is busy.
LONGEST = 5


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
class TestWhatReadsWhatOthersHaveWritten:
    def test_takes_what_is_as_it_should_be(self, target):
        for seed in target.seeds:
            target.run(seed)

    @given(data=st.binary(max_size=300))
    def test_stands_anything(self, target, data):
        target.run(data)

    @given(chance=st.randoms(use_true_random=True), times=st.integers(1, 5))
    def test_stands_what_is_nearly_right(self, target, chance, times):
        """Flipped, cut, doubled, spliced, with a huge length or a thousand brackets in it."""
        data = chance.choice(target.seeds)
        for _ in range(times):
            data = mutated(chance, data, target.seeds)
        began = time.process_time()
        target.run(data)
        assert time.process_time() - began < LONGEST


class TestTheToolForHours:
    def run(self, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "tools.fuzz", *arguments],
            cwd=Path(__file__).resolve().parents[1],
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_goes_round_all_targets(self):
        done = self.run("--minutes", "0.001", "--seed", "1")
        assert done.returncode == 0, done.stderr
        assert all(name in done.stdout for name in TARGETS)

    def test_tries_one_input_again(self):
        assert self.run("--target", "record", "--input", sealed().hex()).returncode == 0

    def test_wants_to_know_what_one_input_is_for(self):
        done = self.run("--input", "00ff")
        assert (done.returncode, "--input needs --target" in done.stderr) == (2, True)
        assert "Traceback" not in done.stderr

    def test_ends_a_loop_without_an_end_and_tells_of_the_input(self, tmp_path):
        script = (
            "from types import SimpleNamespace\n"
            "from tools import fuzz\n"
            "def loop(data):\n"
            "    while True:\n"
            "        try:\n"
            "            data = data[:]\n"
            "        except Exception:\n"
            "            pass\n"
            "fuzz.LONGEST = 0.2\n"
            "fuzz.Fuzzer({'loop': SimpleNamespace(run=loop, seeds=())}, 1).survives('loop', b'\\0\\xff')\n"
        )
        root = str(Path(__file__).resolve().parents[1])
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "TookTooLong: more than 0.2 s" in done.stdout
        assert "--target loop --input 00ff" in done.stdout
        assert (tmp_path / "fuzz-loop.bin").read_bytes() == b"\0\xff"

    def test_changes_inputs_as_its_seed_says(self):
        seeds = TARGETS["url"].seeds
        first, again = ([mutated(random.Random(7), seed, seeds) for seed in seeds] for _ in range(2))
        assert first == again != list(seeds)


class TestAUrl:
    @pytest.mark.parametrize("url", [f"redis://h/{'9' * 5000}", f"redis://h?db={'9' * 5000}"])
    def test_with_a_number_that_python_refuses_to_read_names_no_database(self, url):
        assert database_of(url, {}) == 0


class TestASettingOfTheOtherPackage:
    @pytest.mark.parametrize("sentinels", ["ab", [1], [("a", 1, 2)], {"a": 1}, 7])
    def test_that_is_no_list_of_sentinels_is_advised_about_all_the_same(self, sentinels):
        (problem,) = problems({"sentinel_list": sentinels, "host": "h"})
        assert problem.id == "E007"


@pytest.fixture
def garbled(store, behind):
    """Whoever can write to Redis has put bytes that are no text wherever names are."""
    session = SessionStore()
    session.update({"_auth_user_id": "7", "a": 1})
    session.save()
    names = store.keys
    index = names.index(keys.user_marker("7"))
    now = int(time.time())
    behind.zadd(index, {b"\xff\xfe": now + 1000, b"~\xff": now + 1000, b"": now + 1000, b"{}": now + 1000})
    behind.zadd(index, {b"\xff\xfd": now - 10, b"=\xff": 0})
    for other in (b"", b"a", b"\xff\xff", "ü".encode(), b"AAAA=AAA", b"x" * 500):
        name = names.prefix.encode() + b":u:" + other
        behind.zadd(name, {b"\xff": now - 10, b"x" * 24: now - 10})
        behind.expire(name, 100)
        for kind in (b":r:", b":m:", b":f:", b":x:"):
            behind.set(names.prefix.encode() + kind + other, b"\xff" * 40, ex=100)
    behind.set(names.moved("x" * 24), b"\xff", ex=100)
    behind.set(names.last_arrival, b"\xff", ex=100)
    return session


@pytest.mark.operator
@pytest.mark.one_slot
class TestWhatSomebodyElseHasWrittenToRedis:
    """Not one of the ways to look at sessions, or to end them, lets out more than our own errors."""

    def test_lets_sessions_be_listed(self, garbled, do):
        assert [info.user_id for info in do(sessions.of_user, "7")] == ["7"]
        assert {info.is_readable for info in do(sessions.page).infos} == {True, False}
        assert do(sessions.count) == 7
        sessions.statistics()
        sessions.contents()

    def test_lets_all_sessions_of_a_user_be_ended(self, garbled, do, behind, store):
        # The session, and what stands under an empty name, which is in the index as well.
        assert do(sessions.revoke_user, "7") == 2
        assert sessions.of_user("7") == []
        assert not behind.exists(store.keys.record(garbled.session_key))

    def test_lets_one_session_be_ended(self, garbled, do):
        assert do(sessions.revoke, keys.digest(garbled.session_key))
        assert not do(sessions.revoke, "x" * 24)

    def test_lets_the_sweeper_go_through(self, garbled, do):
        do(sessions.sweep)

    def test_lets_indexes_be_made_anew(self, garbled, do):
        assert do(sessions.reindex) == 1
        assert do(sessions.purge) >= 1

    def test_lets_a_sign_in_go_on(self, garbled, configure, do):
        configure(MAX_SESSIONS_PER_USER=3)
        session = SessionStore()
        session["_auth_user_id"] = "7"
        try:
            do(session.save)
        except SessionStoreError:
            pass  # the member that is no text takes a place

    def test_is_no_time_of_an_arrival(self, garbled, do):
        assert do(sessions.adopted) is None
        assert run(conf.store().connections.client(), arrivals.last(conf.store().keys)) is None

    def test_leads_nowhere(self, garbled, behind, store):
        old = "k" * 32
        for address in (b"", b"\xff" * 32, bytes(2**20)):
            behind.set(store.keys.forwarding(old), address, ex=100)
            client = conf.store().connections.client()
            assert run(client, operations.follow(store.keys, old)) is None
