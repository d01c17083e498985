"""Is nobody signed out when a site moves here and back, process by process, while its visitors go on clicking?

Everything is real: the shop of `testproject` under gunicorn, once for each deployment, a Redis server, the command as
a process, and visitors with cookie jars, whose requests come one after another.
"""

import sys

import pytest

from tests.other_engines import DJANGO
from tests.visitors import assert_strangers, go_home, go_on, visit

pytest.importorskip("gunicorn")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn needs a Unix")

OURS = "django_redis_sessions.backend"
LEAVING = "django_redis_sessions.leaving."


# Fixtures -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["db", "cache"])
def name(request):
    return request.param


@pytest.fixture
def deploy(name, deploy):
    """As `visitors.deploy()`, with an engine, and with the other one to come from or to leave for."""
    shared = {"DJANGO_SETTINGS_MODULE": "tests.moving_settings", "MOVING_FROM": DJANGO + name}
    return lambda title, engine, **variables: deploy(title, TESTPROJECT_ENGINE=engine, **shared, **variables)


# The promise --------------------------------------------------------------------------------------------------------


class TestASiteThatMovesHereAndBackUnderTraffic:
    def test_signs_nobody_out_loses_no_click_and_lets_nobody_in_again(self, name, deploy, new_customers):
        engine = DJANGO + name
        before = deploy("before", engine, TESTPROJECT_MIDDLEWARE="django")
        clicking, absent = new_customers(before, 3), new_customers(before, 3)
        visit(before, clicking + absent)
        go_home(absent)
        after_the_change, after_the_import, after_the_end = absent

        # A rolling deployment: for a while both are there.
        here = deploy("here", OURS)
        visit(here, clicking)
        signed_out = [clicking.pop().sign_out()]
        assert_strangers(signed_out, before, here)
        before.stop()
        (newcomer,) = new_customers(here, 1)
        visit(here, [*clicking, after_the_change, newcomer])
        newcomer.go_home()
        clicking.append(after_the_change)

        assert here.place.run("import", "--from", engine) == counts(found=5, moved=2, known=3)
        visit(here, [*clicking, after_the_import])
        after_the_import.go_home()
        signed_out.append(clicking.pop(0).sign_out())
        assert here.place.run("import", "--from", engine) == counts(found=4, known=4)
        assert_strangers(signed_out, here)

        # And back in the same way. Who does not come meanwhile leaves with the export.
        back = deploy("back", LEAVING + name)
        visit(back, clicking)
        here.stop()
        signed_out.append(clicking.pop(0).sign_out())
        assert_strangers(signed_out, back)
        assert back.place.run("export", "--to", engine) == counts(found=4, moved=3, known=1)
        go_on(clicking)

        after = deploy("after", engine, TESTPROJECT_MIDDLEWARE="django")
        clicking += [after_the_import, after_the_end, newcomer]
        visit(after, clicking)
        back.stop()
        assert_strangers(signed_out, after)
        go_home(clicking)
        for site in (before, here, back, after):
            assert "Traceback" not in site.log, site.log


def counts(**some: int) -> dict[str, int]:
    """What the command says when this is so, and nothing else has happened."""
    return {
        "found": 0,
        "moved": 0,
        "known": 0,
        "ended": 0,
        "skipped": 0,
        "too_large": 0,
        "dry_run": False,
        **some,
    }
