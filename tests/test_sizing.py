"""What an operator plans with is measured by commands that run, from servers of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


class TestARun:
    @pytest.mark.parametrize(
        ("what", "titles"),
        [
            ("sizing", ["A session in memory", "A request", "A command", "A server", "The plan"]),
            ("masters", ["Three masters against one", "What masters could do"]),
        ],
    )
    def test_gives_its_tables(self, tmp_path, what, titles):
        run = subprocess.run(
            [sys.executable, "-m", "benchmarks", what, "--quick", "--json", str(tmp_path / "result.json")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert run.returncode == 0, run.stderr
        result = json.loads((tmp_path / "result.json").read_text())
        tables = {table["title"]: table for table in result[what] + result.get("plan", [])}
        assert set(titles) <= set(tables)
        for title in titles:
            assert title in run.stdout
            assert all(len(row) == len(tables[title]["head"]) for row in tables[title]["rows"])
        if what == "sizing":
            commands = {row[0]: row[1] for row in tables["A request"]["rows"]}
            assert commands == {
                "leaves it alone": "–",
                "reads": "`GET`",
                "changes": "`GET` `EVALSHA`",
                "begins": "`SET`",
                "signs in": "`GET` `EVALSHA` `EVALSHA`",
                "signs out": "`GET` `EVALSHA`",
            }
