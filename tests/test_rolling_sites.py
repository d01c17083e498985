"""Is nobody signed out when keys, secrets and schemes change, process by process, while visitors go on clicking?

Everything is real: the shop of `testproject` under gunicorn, once for each deployment, a Redis server, the command as
a process, and visitors with cookie jars, whose requests come one after another. The steps are those that the pages
"Session keys" and "Signed and encrypted records" give.
"""

import json
import sys
from typing import Any, NamedTuple

import pytest

from tests.visitors import assert_strangers, go_home, visit

pytest.importorskip("gunicorn")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn needs a Unix")

OLD, NEW = "a" * 50, "b" * 50
A, B = "a" * 64, "b" * 64


class Step(NamedTuple):
    """One deployment; `rewritten` says whether `rewrite` finishes it."""

    settings: dict[str, Any]
    secrets: tuple[str, ...] = (OLD,)
    rewritten: bool = False


ROUTES = {
    "to-encrypted-records-to-a-new-key-and-back": [
        Step({}),
        Step({"ENCRYPTION_KEYS": [None, A]}),
        Step({"ENCRYPTION_KEYS": [A], "ACCEPT_UNPROTECTED": True}, rewritten=True),
        Step({"ENCRYPTION_KEYS": [A, B]}),
        Step({"ENCRYPTION_KEYS": [B, A]}, rewritten=True),
        Step({"ENCRYPTION_KEYS": [B]}),
        Step({"ENCRYPTION_KEYS": [B], "ACCEPT_UNPROTECTED": True}),
        Step({"ENCRYPTION_KEYS": [None, B]}, rewritten=True),
        Step({}),
    ],
    "to-signed-keys-and-records-to-a-new-secret-and-back": [
        Step({"KEYS": "plain"}),
        Step({"KEYS": ["plain", "signed"], "SIGN": True, "ACCEPT_UNPROTECTED": True}),
        Step({"KEYS": ["signed", "plain"], "SIGN": True, "ACCEPT_UNPROTECTED": True}, rewritten=True),
        Step({"KEYS": ["signed", "plain"], "SIGN": True}, (OLD, NEW)),
        Step({"KEYS": ["signed", "plain"], "SIGN": True}, (NEW, OLD), rewritten=True),
        Step({"KEYS": ["plain", "signed"], "SIGN": True, "ACCEPT_UNPROTECTED": True}, (NEW, OLD)),
        Step({"KEYS": ["plain", "signed"]}, (NEW, OLD), rewritten=True),
    ],
}


@pytest.fixture
def deployed(deploy):
    """Starts the deployment of a step."""
    return lambda title, step: deploy(
        title,
        DJANGO_SETTINGS_MODULE="tests.rolling_settings",
        ROLLING_REDIS=json.dumps(step.settings),
        ROLLING_SECRETS=json.dumps(step.secrets),
    )


@pytest.mark.parametrize("steps", ROUTES.values(), ids=ROUTES)
def test_nobody_is_signed_out_and_no_click_is_lost(steps, deployed, new_customers):
    for step in steps:
        if "ENCRYPTION_KEYS" in step.settings:
            pytest.importorskip("cryptography")
    sites = [before := deployed("step-0", steps[0])]
    clicking, absent = new_customers(before, 4), new_customers(before, 2)
    visit(before, clicking + absent)
    go_home(absent)
    signed_out = []
    for number, step in enumerate(steps[1:], 1):
        # While both are there, each answers half of the visitors, and then the other half.
        sites.append(here := deployed(f"step-{number}", step))
        visit(here, clicking[:2])
        visit(before, clicking[:2])
        visit(here, clicking)
        before.stop()
        if step.rewritten:
            assert here.place.run("rewrite")["unreadable"] == 0
            assert here.place.run("rewrite", "--dry-run")["rewritten"] == 0
        if number == len(steps) // 2:
            signed_out.append(clicking.pop().sign_out())
        assert_strangers(signed_out, here)
        before = here
    # Who did not come meanwhile is known as well.
    visit(before, clicking + absent)
    go_home(clicking + absent)
    for site in sites:
        assert "Traceback" not in site.log, site.log
