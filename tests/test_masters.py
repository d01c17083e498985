"""Each subcommand that concerns all sessions finds those of every server that holds some."""

import io
import json

import pytest
from django.contrib.sessions.backends import file
from django.core.management import call_command

from django_redis_sessions import conf, sessions
from django_redis_sessions.backend import SessionStore
from tests.other_engines import begun

pytestmark = [pytest.mark.operator, pytest.mark.django_db]

MANY = 60


def call(*arguments):
    out = io.StringIO()
    call_command("redis_sessions", *arguments, stdout=out, stderr=io.StringIO())
    return json.loads(out.getvalue())


@pytest.fixture
def everywhere(configure, behind):
    """Keys that can be exported, and sessions enough for each master of a cluster."""
    store = configure(KEYS="plain")
    made = [begun(SessionStore, _auth_user_id="7", number=number) for number in range(MANY)]
    nodes = store.connections.client().nodes()
    pattern = store.keys.records_pattern
    held = [node.execute(("SCAN", 0, "MATCH", pattern, "COUNT", 100_000)) for node in nodes]
    assert all(found for _, found in held)
    assert sum(len(found) for _, found in held) == MANY
    return made


def masters():
    return [node.address for node in conf.store().connections.client().nodes()]


class TestEveryMaster:
    def test_is_counted_by_stats(self, everywhere):
        figures = call("stats", "--json")
        assert figures["sessions"] == MANY
        assert figures["server"]["masters"] == len(masters())

    @pytest.mark.parametrize("order", [(), ("--sort", "size"), ("--sort", "idle")])
    def test_is_listed(self, everywhere, order):
        listed = call("list", "--json", "--limit", "100", *order)["sessions"]
        assert len({each["handle"] for each in listed}) == MANY

    def test_is_looked_through_by_show(self, everywhere):
        for info in sessions.iterate():
            assert "number" in call("show", info.handle, "--json")["data"]

    @pytest.mark.parametrize(
        "arguments", [("revoke", "--all"), ("purge", "--all"), ("purge", "--older-than", "0")]
    )
    def test_is_emptied(self, everywhere, arguments):
        assert call(*arguments, "--no-input", "--json")["ended"] == MANY
        assert sessions.count() == 0

    def test_is_exported_from_and_imported_to(self, everywhere, tmp_path, monkeypatch):
        monkeypatch.setattr(file.SessionStore, "_storage_path", str(tmp_path), raising=False)
        assert call("export", "--to", file.__name__, "--json")["moved"] == MANY
        assert sessions.purge() == MANY
        # They went from here, so they are not taken for ended ones.
        assert call("import", "--from", file.__name__, "--json")["moved"] == MANY
        assert {SessionStore(session.session_key)["number"] for session in everywhere} == {*range(MANY)}

    def test_is_examined_by_the_doctor(self, everywhere):
        found = sessions.diagnose()
        assert [finding.where for finding in found if finding.id == "version"] == masters()
        (index,) = [finding for finding in found if finding.id == "index"]
        assert f"{MANY}" in index.message
