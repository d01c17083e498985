"""A plan is arithmetic: what it rests on is measured, and the page shows both."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.plan import (
    DAY,
    GB,
    SITES,
    Figures,
    Page,
    Plan,
    Site,
    has_write,
    number,
    plan,
)
from benchmarks.plan_tables import duration, volume

IDLE = Page(False, 0, 0, 0, 0, 100, 0, 0)
READING = Page(False, 1, 50, 250, 20, 200, 0, 0)
WRITING = Page(True, 2, 400, 250, 100, 400, 500, 400)
FIGURES = Figures(
    sessions={"small": 200, "large": 600},
    pages={"leaves it alone": IDLE, "reads": READING, "changes": WRITING},
    resident=1.25,
    connection=20_000,
    snapshot=0.5,
    rewrite=10,
    copied=10_000,
    sync=20,
    start=15,
)
SITE = Site(
    sessions=10e6,
    node_gb=16,
    requests_a_day=8.64,
    peak=3,
    mix={"small": 0.5, "large": 0.5},
    requests={"leaves it alone": 0.2, "reads": 0.6, "changes": 0.2},
)


class TestASite:
    made = Plan(FIGURES, SITE, masters=4)

    def test_has_the_mean_of_its_kinds_of_sessions(self):
        assert self.made.data == 10e6 * 400
        assert self.made.share == 1 * GB

    def test_is_asked_most_at_its_peak(self):
        assert self.made.requests == pytest.approx(1_000)
        assert self.made.peak == pytest.approx(3_000)
        assert self.made.writes == pytest.approx(600)

    def test_needs_the_cpu_of_its_pages(self):
        assert self.made.server_cores == pytest.approx(3_000 * (0.6 * 20 + 0.2 * 100) / 1e6)
        assert self.made.site_cores == pytest.approx(3_000 * (0.2 * 100 + 0.6 * 200 + 0.2 * 400) / 1e6)
        assert self.made.busy == pytest.approx(self.made.server_cores / 4)

    def test_has_a_thread_of_each_process_connected_to_each_master(self):
        assert self.made.connections == pytest.approx(3_000 / 50 * 4)

    def test_of_a_single_visitor_has_one_process(self):
        assert Plan(FIGURES, replace(SITE, sessions=1), 1).connections == 4


class TestAMaster:
    made = Plan(FIGURES, SITE, masters=4)

    def test_copies_what_is_saved_during_a_rewrite(self):
        assert self.made.rewrite_seconds == pytest.approx(10)
        assert self.made.copied == pytest.approx(150 * 10 * 10_000)

    def test_copies_all_its_memory_at_most(self):
        busy = replace(SITE, peak=100_000)
        assert Plan(FIGURES, busy, 4).copied == 1.25 * GB

    def test_needs_memory_for_all_of_that(self):
        parts = [1.25 * GB, 15e6, self.made.backlog, 240 * 20_000, 0.5 * GB]
        assert self.made.memory == pytest.approx(sum(parts))
        assert self.made.backlog == pytest.approx(150 * 500 * 60)

    def test_sends_headers_and_copies_for_its_replicas_too(self):
        trips = 0.6 * 1 + 0.2 * 2
        clients = 750 * (0.6 * 250 + 0.2 * 250 + trips * 200) * 8
        assert self.made.sent_bits == pytest.approx(clients + 750 * 0.2 * 500 * 8)
        assert Plan(FIGURES, replace(SITE, replicas=2), 4).sent_bits == pytest.approx(
            clients + 2 * 750 * 0.2 * 500 * 8
        )
        assert self.made.received_bits == pytest.approx(750 * (0.6 * 50 + 0.2 * 400 + trips * 200) * 8)

    def test_appends_to_its_file_what_a_mean_day_writes(self):
        assert self.made.appended_a_day == pytest.approx(250 * 0.2 * 400 * DAY)
        assert self.made.rewrites_a_day == pytest.approx(self.made.appended_a_day / (0.5 * GB))
        assert self.made.disk == 1.5 * GB


class TestItsReplica:
    made = Plan(FIGURES, SITE, masters=4)

    def test_takes_as_long_as_it_was_measured(self):
        assert self.made.sync_seconds == 5 + 20
        assert self.made.waiting == pytest.approx(150 * 500 * 25)

    def test_takes_as_long_as_a_slow_line_needs(self):
        slow = replace(SITE, line=5e6)
        assert Plan(FIGURES, slow, 4).sync_seconds == pytest.approx(5 + 0.5 * GB / 5e6)

    def test_is_restarted_as_often_as_there_are_nodes_in_an_upgrade(self):
        assert self.made.nodes == 8
        assert self.made.restart_seconds == 40
        assert self.made.upgrade_seconds == 8 * 40
        assert self.made.upgrade_bytes == 8 * 0.5 * GB

    def test_takes_over_after_the_time_out_and_an_election(self):
        assert self.made.window == 8.5
        assert self.made.refused == pytest.approx(3_000 * 0.8 * 8.5 / 4)


class TestThePlan:
    def test_has_one_primary_as_long_as_it_is_enough(self):
        assert plan(FIGURES, SITE).masters == 1

    def test_has_three_masters_where_two_would_do(self):
        """A cluster of two has no majority when one of them dies."""
        tight = replace(SITE, node_gb=5)
        assert not Plan(FIGURES, tight, 1).fits
        assert Plan(FIGURES, tight, 2).fits
        assert plan(FIGURES, tight).masters == 3

    @pytest.mark.parametrize("node_gb", [1.5, 2, 3])
    def test_has_no_master_more_than_memory_demands(self, node_gb):
        made = plan(FIGURES, replace(SITE, node_gb=node_gb))
        assert made.memory <= node_gb * GB * 0.8 < Plan(made.figures, made.site, made.masters - 1).memory

    def test_has_no_master_more_than_its_core_demands(self):
        made = plan(FIGURES, replace(SITE, peak=300, node_gb=1_000))
        assert made.busy <= 0.5 < Plan(made.figures, made.site, made.masters - 1).busy

    def test_refuses_what_no_number_of_masters_makes_possible(self):
        with pytest.raises(ValueError, match=r"does not fit into 0\.5 GB"):
            plan(FIGURES, replace(SITE, node_gb=0.5))

    @pytest.mark.parametrize("site", SITES, ids=lambda site: f"{site.sessions:.0e}")
    def test_of_the_page_shares_everything_out(self, site):
        assert sum(site.mix.values()) == pytest.approx(1)
        assert sum(site.requests.values()) == pytest.approx(1)


class TestACell:
    @pytest.mark.parametrize(("cell", "value"), [("–", 0), ("0.70", 0.7), ("1,259", 1259)])
    def test_is_a_number(self, cell, value):
        assert number(cell) == value

    @pytest.mark.parametrize(
        ("cell", "writes"), [("–", False), ("`GET`", False), ("`GET` `EVALSHA`", True), ("`SET`", True)]
    )
    def test_of_commands_tells_whether_they_write(self, cell, writes):
        assert has_write(cell) is writes

    @pytest.mark.parametrize(
        ("size", "text"), [(950, "0.95 kB"), (44.6e6, "44.6 MB"), (4.46e9, "4.46 GB"), (1.2e12, "1.20 TB")]
    )
    def test_of_bytes_has_the_unit_that_suits_it(self, size, text):
        assert volume(size) == text

    @pytest.mark.parametrize(("seconds", "text"), [(9, "9.00 s"), (90, "1.50 min"), (7200, "2.00 h")])
    def test_of_time_too(self, seconds, text):
        assert duration(seconds) == text


def test_the_module_is_pure():
    """No server, no clock, no Django."""
    text = (Path(__file__).resolve().parents[1] / "benchmarks" / "plan.py").read_text()
    assert set(re.findall(r"(?m)^(?:from|import) (\S+)", text)) == {
        "__future__",
        "collections.abc",
        "dataclasses",
        "itertools",
    }
