"""Which rights are printed for which settings; that they suffice is what ``--topology=acl`` shows."""

import io
import json
import re
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from django_redis_sessions import rights, sessions
from django_redis_sessions.configuration import Settings
from django_redis_sessions.rights import rights_for


def commands(settings, **options):
    return set(rights_for(settings, **options).as_dict()["commands"])


USUAL = commands(Settings())


class TestTheRightsOfASite:
    @pytest.mark.parametrize(
        ("settings", "options", "more"),
        [
            (Settings(url="redis://localhost/3"), {}, rights.DATABASE),
            (Settings(options={"db": 3}), {}, ()),  # the usual URL says 0
            (Settings(url="redis://localhost", options={"db": 3}), {}, rights.DATABASE),
            (Settings(url="unix:///run/redis.sock?db=2"), {}, rights.DATABASE),
            (Settings(url="redis+sentinel://localhost/mymaster/2"), {}, rights.DATABASE),
            (Settings(url="redis+cluster://localhost"), {}, rights.CLUSTER),
            (Settings(wait_replicas=1), {}, rights.REPLICAS),
            (Settings(keys=("plain",)), {}, rights.PLAIN),
            (Settings(keys=("signed", "hashed")), {}, rights.SEVERAL),
            (Settings(), {"command": True}, rights.COMMAND),
            (Settings(), {"listens": True}, rights.LISTENING),
            (Settings(fallback_engines=("an.engine",)), {}, ()),
            (Settings(), {"leaves": True}, ()),
        ],
    )
    def test_are_more_with_more_features(self, settings, options, more):
        assert commands(settings, **options) - USUAL == set(more)
        assert commands(settings, **options) >= USUAL

    def test_are_fewer_without_an_index(self):
        found = rights_for(Settings(user_index=False))
        assert commands(Settings(user_index=False)) == USUAL - set(rights.INDEX)
        assert found.keys == ("session:r:*", "session:f:*", "session:m:*")

    def test_reach_budgets_where_there_are_some(self):
        found = rights_for(Settings(anonymous_budget=(60, 3600)))
        assert found.keys == (*rights_for(Settings()).keys, "session:b:*")
        assert commands(Settings(anonymous_budget=(60, 3600))) == USUAL

    def test_are_fewer_without_announcements(self):
        found = rights_for(Settings(), announces=False)
        assert (found.channels, found.on_channels) == ((), ())
        assert "ACL SETUSER app resetchannels" in found.rules("app")

    @pytest.mark.parametrize(
        ("settings", "options"),
        [(Settings(fallback_engines=("an.engine",)), {}), (Settings(), {"leaves": True})],
    )
    def test_reach_marks_where_sessions_come_or_go(self, settings, options):
        usual, found = rights_for(Settings()), rights_for(settings, **options)
        assert found.keys == (*usual.keys, "session:x:*", "session:a")
        assert rights_for(settings, command=True, **options).more_keys == ()

    def test_reach_marks_with_the_command(self):
        assert rights_for(Settings(), command=True).keys == rights_for(Settings()).keys
        assert " ~session:x:* ~session:a +scan " in rights_for(Settings(), command=True).rules("app")[-1]
        assert commands(Settings(fallback_engines=("an.engine",)), command=True) == commands(
            Settings(), command=True
        )

    def test_of_who_only_listens_are_printed(self):
        found = rights_for(Settings(), announces=False, listens=True)
        assert found.rules("app")[1] == "ACL SETUSER app resetchannels &session:revocations +subscribe +ping"

    def test_reach_no_other_prefix(self):
        found = rights_for(Settings(prefix="a*b"))
        assert found.keys[0] == "a\\*b:r:*"
        assert found.channels == ("a\\*b:revocations",)

    def test_name_no_command_that_is_dangerous(self):
        every = commands(Settings(wait_replicas=1, url="redis+cluster://a"), command=True, listens=True)
        assert not every & {
            "flushall",
            "flushdb",
            "keys",
            "config",
            "config|get",
            "debug",
            "acl",
            "acl|getuser",
        }

    def test_hold_a_placeholder_in_place_of_the_password(self):
        rules = rights_for(Settings(url="redis://app:secret@localhost")).rules("app")
        assert "secret" not in repr(rules)
        assert rules[0].startswith("ACL SETUSER app on >password resetkeys ")

    @pytest.mark.parametrize("command", [False, True])
    def test_are_understood_by_the_server(self, behind, prefix, command):
        try:
            for rule in rights_for(Settings(prefix=prefix, wait_replicas=1), command=command).rules(prefix):
                assert behind.execute_command(*rule.split()) in (b"OK", True, "OK")
        finally:
            behind.execute_command("ACL", "DELUSER", prefix)


class TestTheCodeOfThePackage:
    """Rights that nothing uses would stay for ever, and missing ones show only where somebody runs into them."""

    #: Answers are a note of the doctor's without them: the first tells passwords, the second their hashes.
    FORBIDDEN = {"config|get", "acl|getuser"}
    #: Sent by redis-py itself.
    NOT_OURS = {"select"}

    def test_sends_what_is_permitted_and_nothing_else(self):
        package = Path(rights.__file__).parent
        modules = (
            "operations", "indexes", "arrivals", "walks", "footing", "examinations", "clusters", "subscriptions",
            "blocking",
        )  # fmt: skip
        paths = [*(package / f"{name}.py" for name in modules), *package.glob("sessions/*.py")]
        code = "".join(path.read_text() for path in paths)
        # `in ("MEMORY", "OBJECT")` sends nothing.
        said = re.findall(r"""(?<!in )\(\s*"([A-Z]{3,})"(?:, "([A-Z]{3,})")?[,)]""", code)
        parted = ("ACL", "CLUSTER", "CONFIG", "MEMORY")
        sent = {(f"{name}|{part}" if name in parted else name).lower() for name, part in said}
        for script in (package / "scripts").glob("*.lua"):
            sent |= {word.lower() for word in re.findall(r"redis\.p?call\('(\w+)'", script.read_text())}
        several = ("hashed", "plain")
        every = Settings(url="redis+cluster://a", wait_replicas=1, options={"db": 1}, keys=several)
        permitted = commands(every, command=True, listens=True)
        assert sent - self.FORBIDDEN == permitted - self.NOT_OURS


def run(*arguments):
    out = io.StringIO()
    call_command("redis_sessions", "acl", *arguments, stdout=out)
    return out.getvalue()


class TestTheSubcommand:
    def test_prints_the_rules_for_the_settings(self, store):
        assert run("--user", "shop").splitlines() == sessions.acl_rules().rules("shop")
        assert run("--command", "--watch").splitlines() == sessions.acl_rules(
            command=True, listens=True
        ).rules("django")
        assert "+publish" not in run("--silent")

    def test_knows_a_site_that_leaves(self, store, settings):
        assert ":x:*" not in run()
        settings.SESSION_ENGINE = "django_redis_sessions.leaving.db"
        assert ":x:*" in run()

    def test_asks_no_server(self, configure):
        configure(URL="unix://user:secret@/nowhere/redis.sock")
        assert "secret" not in run()

    def test_writes_json(self, store, prefix):
        found = json.loads(run("--json", "--user", "shop"))
        assert set(found) == {"user", "keys", "channels", "commands", "rules"}
        assert found["keys"][0] == f"{prefix}:r:*"
        assert set(found["commands"]) == USUAL

    def test_refuses_a_name_that_is_none(self):
        with pytest.raises(CommandError, match="cannot be the name of a user"):
            run("--user", "two words")
