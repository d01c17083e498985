"""The benchmarks say what was measured, and can be run with whatever is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.__main__ import main, parser
from benchmarks.accounts import Account, Calls, calls_in
from benchmarks.contenders import ALL, THIS
from benchmarks.content import CONTENTS, length
from benchmarks.measuring import Rounds, Sample, Series, compared, enough, ratio, rotated, timed
from benchmarks.one_by_one import CASES
from benchmarks.traffic import Counter, RawConnection, Traffic
from benchmarks.whole_requests import _children, _ticks

ROOT = Path(__file__).resolve().parents[1]


class Measured:
    def __init__(self, contender, *seconds):
        self.contender = contender
        self.series = Series([Sample(each, each / 2) for each in seconds])
        self.traffic = Traffic(1, 1, 20, 30)


class TestOneRun:
    def test_lets_everybody_begin_once_and_go_both_ways(self):
        orders = [rotated("abc", turn) for turn in range(6)]
        assert sorted(order[0] for order in orders) == ["a", "a", "b", "b", "c", "c"]
        assert all(sorted(order) == ["a", "b", "c"] for order in orders)

    def test_compares_within_a_round(self):
        """A slow moment slows both sides."""
        assert ratio([1.0, 10.0, 1.0], [2.0, 20.0, 2.0]) == 0.5
        assert ratio([1.0], [0.0]) is None

    def test_reports_medians_and_ratios_to_this_package(self):
        peer = ALL[-1]
        found = compared([Measured(peer, 2e-6, 8e-6, 4e-6), Measured(THIS, 1e-6, 2e-6, 4e-6)])
        assert found[peer.name]["us"] == 4.0
        assert found[peer.name]["ratio"] == 0.5
        assert found[peer.name]["cpu_us"] == 2.0
        assert found[THIS.name]["ratio"] == 1.0
        assert found[THIS.name]["bytes_received"] == 30

    def test_makes_batches_long_enough(self):
        assert enough(0.001, 0.02) == 21
        assert enough(1.0, 0.02) == 5
        assert enough(0.0, 0.02) == 500

    def test_measures_at_least_the_rounds_it_has_to(self):
        assert list(Rounds(0, least=2)) == [0, 1]
        assert list(Rounds(1_000, least=2, most=4)) == [0, 1, 2, 3]

    def test_keeps_the_results_of_a_batch(self):
        sample, results = timed(str, [1, 2])
        assert results == ["1", "2"]
        assert sample.seconds > 0


class TestTheContents:
    @pytest.mark.parametrize(
        ("name", "size"), [("0.2 kB", 200), ("1 kB", 1_000), ("10 kB", 10_000), ("100 kB", 100_000)]
    )
    def test_are_about_as_long_as_they_say(self, name, size):
        assert 0.9 * size <= length(CONTENTS[name]) <= 1.1 * size


class TestATable:
    table = report.Table("Title", "What it shows.", ["", "load"], [["this package", "81.2 (1.00)"]])

    def test_is_text(self):
        assert self.table.text().splitlines()[2:] == [
            "",
            "                     load",
            "-------------------------",
            "this package  81.2 (1.00)",
        ]

    def test_is_markdown(self):
        assert self.table.markdown() == (
            "### Title\n\nWhat it shows.\n\n|  | load |\n| --- | ---: |\n| this package | 81.2 (1.00) |\n"
        )

    def test_shows_figures_of_three_digits(self):
        assert [report.shown(value) for value in (0.034, 9.99, 81.23, 1234.5, None)] == [
            "0.03",
            "9.99",
            "81.2",
            "1,234",
            "–",
        ]

    def test_leaves_out_what_nobody_measured(self):
        assert report.tables({}, {}) == []


class TestAPage:
    def test_gets_the_tables_into_their_place(self):
        page = "Before\n<!-- compare: begin -->\nold\n<!-- compare: end -->\nAfter\n"
        once = report.placed(page, "compare", "new\n")
        assert once == "Before\n<!-- compare: begin -->\n\nnew\n\n<!-- compare: end -->\nAfter\n"
        assert report.placed(once, "compare", "new") == once

    def test_without_such_a_place_consists_of_them(self):
        assert report.placed("<!-- compare: begin --> and no end", "compare", "new") == "new\n"

    def test_gets_several_texts_into_their_places(self):
        page = "<!-- a: begin --><!-- a: end -->\nbetween\n<!-- b: begin --><!-- b: end -->\n"
        assert report.all_placed(page, {"a": "1", "b": "2"}) == (
            "<!-- a: begin -->\n\n1\n\n<!-- a: end -->\nbetween\n<!-- b: begin -->\n\n2\n\n<!-- b: end -->\n"
        )

    def test_without_a_place_for_one_of_them_consists_of_all(self):
        assert report.all_placed("<!-- a: begin --><!-- a: end -->", {"a": "1", "b": "2"}) == "1\n\n2\n"

    def test_gives_back_the_cells_of_its_tables(self):
        second = report.Table("Other", "One more.", ["", "save"], [["x", "1"], ["y", "2"]])
        page = TestATable.table.markdown() + second.markdown()
        assert report.rows_of(page, "Title") == [["this package", "81.2 (1.00)"]]
        assert report.rows_of(page, "Other") == [["x", "1"], ["y", "2"]]

    def test_of_the_documentation_has_both_places(self):
        page = (ROOT / "docs" / "benchmarks.md").read_text()
        for name in ("compare", "layers"):
            assert report.placed(page, name, "new").startswith("# Benchmarks")


class TestTheCommandLine:
    def test_takes_words_for_parts(self):
        assert parser().parse_args(["--only", "sync,http"]).only == ("sync", "http")

    def test_refuses_other_words(self, capsys):
        with pytest.raises(SystemExit):
            parser().parse_args(["--only", "sinc"])
        assert "'sinc' is none of sync" in capsys.readouterr().err

    def test_makes_the_plans_of_a_page_anew(self, tmp_path, capsys):
        text = (ROOT / "docs" / "sizing.md").read_text()
        page = tmp_path / "sizing.md"
        page.write_text(report.placed(text, "plan", "none yet"))
        assert main(["plan", "--markdown", str(page)]) == 0
        assert page.read_text() == text
        assert "Bigger nodes" in capsys.readouterr().out

    def test_cannot_plan_without_figures(self):
        with pytest.raises(SystemExit, match="--markdown names it"):
            main(["plan"])


@pytest.mark.unix
class TestTheServersCounters:
    def test_tell_what_one_command_cost(self, server, prefix):
        counter, connection = Counter(server.socket), RawConnection(server.socket)
        try:
            connection.command("PING")
            before = counter.look()
            assert connection.pipeline(("GET", prefix), ("PING",)) == [None, b"PONG"]
            traffic = counter.since(before, 1)
        finally:
            counter.close()
            connection.close()
        sent = f"*2\r\n$3\r\nGET\r\n${len(prefix)}\r\n{prefix}\r\n*1\r\n$4\r\nPING\r\n"
        assert traffic == Traffic(1, 2, len(sent), len("$-1\r\n+PONG\r\n"))


class TestAnAccount:
    def test_is_what_was_spent_in_between(self):
        before = Account(
            cpu=1.0,
            children_cpu=0.5,
            commands={"get": Calls(1, 10), "info": Calls(2, 9)},
            replicated=5,
            appended=7,
        )
        after = Account(
            cpu=1.5,
            children_cpu=0.5,
            commands={"get": Calls(4, 16), "info": Calls(2, 9), "set": Calls(1, 3)},
            replicated=25,
            appended=7,
        )
        assert after.since(before) == Account(
            cpu=0.5,
            children_cpu=0.0,
            commands={"get": Calls(3, 6), "set": Calls(1, 3)},
            replicated=20,
            appended=0,
        )

    def test_has_each_command_and_nothing_else(self):
        info = {"cmdstat_get": "calls=3,usec=6,usec_per_call=2.00,rejected_calls=0", "redis_version": "7.2.4"}
        assert calls_in(info) == [("get", Calls(3, 6))]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc")
class TestTheCpuOfASite:
    def test_is_that_of_the_process_and_its_children(self):
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            assert child.pid in _children(os.getpid())
            assert _ticks(child.pid) >= 0
            child.communicate(b"\n")


class TestARun:
    def test_compares_whoever_is_installed(self, tmp_path):
        """Everything but the waiting: one round of two cases, and the memory."""
        what = ["--only", "sync,memory", "--cases", "delete", "--rounds", "1", "--quick"]
        files = ["--json", str(tmp_path / "result.json"), "--markdown", str(tmp_path / "tables.md")]
        run = subprocess.run(
            [sys.executable, "-m", "benchmarks", *what, *files],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert run.returncode == 0, run.stderr
        result = json.loads((tmp_path / "result.json").read_text())
        installed = {contender.name for contender in ALL if contender.is_installed}
        for contender in ALL:
            left_out = f"{contender.needs} is not installed: {contender.label}" in run.stderr
            assert left_out == (not contender.is_installed)
        assert set(result["sync"]["delete"]) == installed
        # Nobody has read the session, so whose it was has to be found out.
        assert result["sync"]["delete"]["this"]["round_trips"] == 2
        assert result["sync"]["delete"]["django-cache"]["ratio"] > 0
        assert result["memory"]["typical"]["redis_bytes"]["this"] > 0
        assert "Time of an operation" in run.stdout
        assert "| this package |" in (tmp_path / "tables.md").read_text()

    def test_has_cases_that_every_worker_can_do(self):
        methods = {"load", "save", "touch", "create", "delete", "sign_in"}
        assert {case.method for case in CASES} == methods
        assert {case.content for case in CASES} <= set(CONTENTS)
