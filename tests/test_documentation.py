"""The documentation says what the code does: what could drift apart is compared here, without building it."""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import math
import re
import shlex
import textwrap
import time
import tomllib
from collections.abc import MutableMapping
from dataclasses import fields
from pathlib import Path

import pytest
import redis
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.test import Client

from benchmarks.plan import LABELS, TITLES, Figures
from benchmarks.plan_tables import plan_tables
from django_redis_sessions import (
    announcements,
    arrivals,
    backend,
    blocking,
    breaker,
    checks,
    devices,
    diagnosis,
    dictionaries,
    engines,
    errors,
    examinations,
    expiry,
    exposition,
    faults,
    keys,
    metrics,
    middleware,
    operations,
    prometheus,
    protection,
    records,
    rights,
    scripts,
    sessions,
    sizes,
    stored,
    training,
    urls,
    views,
    walks,
)
from django_redis_sessions.awaiting import AwaitingClient
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.blocking import BlockingClient
from django_redis_sessions.client import ClientSession, SessionClient
from django_redis_sessions.configuration import (
    COMPRESSIONS,
    CONFLICTS,
    DEVICES,
    INTERRUPTIONS,
    LARGEST_LIMIT,
    LARGEST_SIZE,
    LIMIT_POLICIES,
    OUTAGES,
    PERIODS,
    SMALLEST_SIZE,
    URL_SCHEMES,
    Settings,
    problems,
    settings_from,
)
from django_redis_sessions.diagnosis import releases
from django_redis_sessions.keys import Keys
from django_redis_sessions.management.commands.redis_sessions import SUBCOMMANDS, Command
from django_redis_sessions.routes import MAX_CONNECTIONS
from django_redis_sessions.sessions import diagnosing
from tests import memory_engine
from tests.other_engines import begun
from tests.servers import load_scripts
from tests.test_strategies import STRATEGIES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])


def every(pattern, text):
    """All that a pattern finds; ``^`` and ``$`` stand for the ends of a line."""
    return re.findall(pattern, text, re.MULTILINE)


def page(name):
    return (DOCS / name).read_text()


def section(text, heading):
    """The part under a heading, which is given with its number signs, up to the next of its level."""
    level = heading.partition(" ")[0]
    (found,) = every(rf"(?s)^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", text)
    return found


def tables(text):
    """Every table, as its rows of cells without the head."""
    for block in every(r"(?:^\|.*\n)+", text):
        yield [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()[2:]]


def blocks(language):
    """Every fenced block of a language, as a test parameter named by its page and line."""
    return [
        pytest.param(found[1], id=f"{path.name}:{found.string.count(chr(10), 0, found.start()) + 1}")
        for path in PAGES
        for found in re.finditer(rf"(?ms)^```{language}\n(.*?)^```", path.read_text())
    ]


def code_words(cell):
    return every(r"`([^`]+)`", cell)


class TestThePageOfSettings:
    def test_has_a_section_for_each_setting_and_no_other(self):
        named = every(r"^## `(.+)`$", page("settings.md"))
        assert named == [field.name.upper() for field in fields(Settings)]

    @pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
    def test_gives_each_default_as_the_code_has_it(self, field):
        text = section(page("settings.md"), f"## `{field.name.upper()}`")
        (default,) = every(r"^- Default: `(.+)`$", text)
        assert settings_from({field.name.upper(): ast.literal_eval(default)}) == Settings()

    @pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
    def test_tells_type_and_trade_off(self, field):
        text = section(page("settings.md"), f"## `{field.name.upper()}`")
        assert every(r"^- Type: .+$", text)
        assert every(r"^The trade-off: .+$", text)

    @pytest.mark.parametrize(
        "name", ["TTL", "ANONYMOUS_TTL", "ABSOLUTE_TTL", "PROBATION_TTL", "TIMEOUT", "LAST_SEEN"]
    )
    def test_gives_the_unit_of_durations(self, name):
        assert "- Unit: seconds" in section(page("settings.md"), f"## `{name}`")

    @pytest.mark.parametrize(
        ("name", "choices"),
        [
            ("CONFLICT", CONFLICTS),
            ("INTERRUPTED", INTERRUPTIONS),
            ("KEYS", keys.SCHEMES),
            ("COMPRESSION", COMPRESSIONS),
            ("ON_OUTAGE", OUTAGES),
            ("ON_LIMIT", LIMIT_POLICIES),
            ("DEVICES", DEVICES),
        ],
    )
    def test_names_every_choice(self, name, choices):
        text = section(page("settings.md"), f"## `{name}`")
        (line,) = every(r"^- Type: .+$", text)
        assert [ast.literal_eval(word) for word in code_words(line)] == list(choices)
        for rows in tables(text):
            assert [ast.literal_eval(*code_words(row[0])) for row in rows] == list(choices)

    def test_names_every_scheme_of_a_url(self):
        (forms,) = tables(section(page("settings.md"), "## `URL`"))
        assert {form.partition("://")[0].strip("`") for form, _ in forms} == set(URL_SCHEMES)

    @pytest.mark.parametrize("name", ["read_from_replicas", "socket_timeout", "decode_responses"])
    def test_names_the_options_that_are_refused(self, name):
        (rows,) = tables(section(page("settings.md"), "## `OPTIONS`"))
        (meaning,) = (meaning for names, meaning in rows if name in code_words(names))
        assert meaning.startswith("is refused")
        assert problems({"OPTIONS": {name: True}})

    def test_gives_the_numbers_of_the_breaker(self):
        text = section(page("settings.md"), "## `TIMEOUT`")
        assert "Three attempts in a row" in text
        assert breaker.THRESHOLD == 3
        assert f"every {breaker.PROBE_INTERVAL} seconds" in text

    def test_gives_the_largest_limit(self):
        text = section(page("settings.md"), "## `MAX_SESSIONS_PER_USER`")
        assert f"whole number from 1 to {LARGEST_LIMIT}, or `None`" in text

    def test_gives_the_bounds_of_a_size(self):
        text = section(page("settings.md"), "## `MAX_SIZE`")
        assert f"from {SMALLEST_SIZE} to {LARGEST_SIZE}" in text
        assert f"more than {sizes.GROWTH} times this size" in text
        assert f"({sizes.SMALLEST_PAYLOAD_LIMIT // 2**20} MiB at least" in text
        assert f"{records.LARGEST_PAYLOAD // 2**20} MiB with `None`" in text
        assert sizes.WARNED_FROM == 4
        assert "From a quarter of it on" in text
        assert sizes.MOST_PARTS == 3
        assert "up to three names of keys" in section(page("errors.md"), "## `SessionTooLarge`")

    def test_gives_the_ways_to_write_a_budget(self):
        text = section(page("settings.md"), "## `ANONYMOUS_BUDGET`")
        assert {word for word in code_words(text) if len(word) == 1} == set(PERIODS)
        assert f"their first {devices.BITS_OF_CUSTOMER} bits" in text

    def test_tells_what_is_kept_of_a_device(self):
        text = section(page("settings.md"), "## `DEVICES`")
        assert f"of IPv4 the last {32 - devices.BITS_OF_IPV4} bits" in text
        assert f"of IPv6 the last {128 - devices.BITS_OF_IPV6}" in text
        assert f"beyond {devices.LONGEST_AGENT} characters" in text
        assert f"`{devices.masked('203.0.113.77')}`" in text
        assert f"`{devices.KEY}`" in text

    def test_gives_the_number_of_connections(self):
        assert f"{MAX_CONNECTIONS} unless set" in section(page("settings.md"), "## `OPTIONS`")

    def test_lists_every_system_check(self, settings, monkeypatch):
        found = {f"django_redis_sessions.{problem.id}" for problem in problems(None)}
        settings.SESSION_REDIS = {"UNKNOWN": 1, "TTL": 0}
        found |= {message.id for message in checks.check_settings()}
        settings.SESSION_REDIS = {"COMPRESSION": "missing.dict"}
        found |= {message.id for message in checks.check_settings()}
        settings.SESSION_REDIS = {"ENCRYPTION_KEYS": ["4" * 64]}
        with monkeypatch.context() as patch:
            patch.setattr(protection, "can_encrypt", lambda: False)
            found |= {message.id for message in checks.check_settings()}
        settings.SESSION_REDIS = {"KEYS": "nowhere.to_be_found"}
        found |= {message.id for message in checks.check_settings()}
        settings.SESSION_REDIS = {"DEVICES": "nowhere.to_be_found"}
        found |= {message.id for message in checks.check_devices()}
        settings.AUTH_PASSWORD_VALIDATORS = [{"NAME": "django_redis_sessions.passwords.RevokeOtherSessions"}]
        found |= {message.id for message in checks.check_password_validator()}
        settings.SESSION_REDIS = {"REGIONS": {"eu": "redis://eu"}, "REGION_ROUTER": "nowhere.to_be_found"}
        found |= {message.id for message in checks.check_region_router()}
        settings.SESSION_REDIS = {"METRICS": "nowhere.to_be_found"}
        found |= {message.id for message in checks.check_metrics()}
        settings.SESSION_REDIS = {"FALLBACK_ENGINES": ["nowhere.to_be_found"]}
        found |= {message.id for message in checks.check_fallbacks()}
        settings.SESSION_REDIS = {"host": "localhost"}
        found |= {message.id for message in checks.check_settings()}
        settings.SESSION_REDIS = {"URL": "embedded://"}
        found |= {message.id for message in checks.check_deployment()}
        settings.SESSION_REDIS = {"URL": "unix:///nowhere/redis.sock"}
        found |= {message.id for message in checks.check_eviction()}
        monkeypatch.setattr(sessions, "server_facts", lambda: [{"maxmemory_policy": "allkeys-lru"}])
        found |= {message.id for message in checks.check_eviction()}
        numbers = {**diagnosis.CHECKS, **diagnosis.DEPLOY_CHECKS}
        found |= {f"django_redis_sessions.{number}" for number in numbers.values()}
        (rows,) = tables(section(page("settings.md"), "## System checks"))
        assert found == {row[0].strip("`") for row in rows}
        explained = {name: row[0].rpartition(".")[2].strip("`") for row in rows for name in linked(row[1])}
        assert explained == {**numbers, "eviction": "W003"}
        for row in rows:
            deployed = any(number in row[0] for number in (*diagnosis.DEPLOY_CHECKS.values(), "W002", "W003"))
            assert ("--deploy" in row[1]) == deployed, row


def linked(cell):
    return every(r"\(doctor\.md#([a-z-]+)\)", cell)


class TestThePageOfTheDoctor:
    def test_has_a_section_for_each_finding_and_no_other(self):
        here = Path(diagnosis.__file__).parent
        code = "".join(
            path.read_text() for path in [*here.glob("*.py"), here.parent / "sessions/diagnosing.py"]
        )
        found = set(every(r"(?:ok|note|warning|error|unknown|say)\(\s*\"([a-z-]+)\"", code))
        found |= set(every(r"\bid=\"([a-z-]+)\"", code))
        named = every(r"^### `(.+)`$", page("doctor.md"))
        assert len(named) == len(set(named))
        assert set(named) == found

    def test_gives_the_dates_of_the_code(self):
        (rows,) = tables(section(page("doctor.md"), "### `version`"))
        documented = {tuple(name.lower().split()): None if "none" in end else end for name, end in rows}
        assert documented == {release: end and end.isoformat() for release, end in releases.ENDS.items()}
        assert f"as of {releases.AS_OF.isoformat()}" in page("doctor.md")

    def test_gives_the_numbers_of_the_code(self):
        text = page("doctor.md")
        assert f"The median of {examinations.PINGS} `PING`s" in text
        assert (diagnosis.servers.SLOW, diagnosis.servers.VERY_SLOW) == (0.005, 0.05)
        assert "Above 5 ms it is a note, above 50 ms a warning" in text
        assert (diagnosis.servers.SKEWED, diagnosis.servers.VERY_SKEWED) == (1, 30)
        assert "More than one second is a warning, more than 30 an error" in text
        assert (diagnosis.servers.LAG, diagnosis.servers.BEHIND) == (10, 2**20)
        assert "more than 1 MiB behind, was not heard of for more than 10 seconds" in text
        assert (diagnosis.stored.LARGE, diagnosis.stored.VERY_LARGE) == (16 * 1024, 128 * 1024)
        assert "more than 128 kB, or one in twenty more than 16 kB" in text
        assert (diagnosis.stored.MOSTLY, diagnosis.stored.MANY) == (0.8, 1000)
        assert "More than 80 % of at least 1,000 sessions" in text
        assert f"about {diagnosing.USUAL_SAMPLE:,} sessions" in text
        assert f"{diagnosing.USUAL_SAMPLE:,} unless given" in section(page("command.md"), "## `doctor`")
        for name in diagnosis.DANGEROUS:
            assert f"`{name}`" in section(text, "### `commands`")


class TestTheDocumentedRights:
    def test_are_those_of_the_code(self):
        rules = section(page("redis.md"), "## What an operator should set")
        printed = rights.rights_for(Settings(), command=True).rules("django")
        assert every(r"^ACL SETUSER .+$", rules) == printed

    def test_have_what_each_feature_needs_in_addition(self):
        (rows,) = tables(section(page("redis.md"), "## What an operator should set").replace(r"\|", "/"))
        assert [tuple(word.replace("/", "|")[1:] for word in code_words(row[1])) for row in rows] == [
            rights.DATABASE, rights.REPLICAS, rights.CLUSTER, rights.PLAIN, rights.SEVERAL,
            (Keys().budget_pattern,), Keys().moving_patterns, rights.LISTENING,
        ]  # fmt: skip

    def test_of_listening_are_those_of_the_code(self):
        (line,) = every(r"^ACL SETUSER .+$", section(page("revocations.md"), "## Rights"))
        found = rights.rights_for(Settings(), listens=True)
        assert set(line.split()[3:]) == {
            *(f"&{pattern}" for pattern in found.channels), *(f"+{command}" for command in found.on_channels)
        }  # fmt: skip

    def test_of_the_example_of_the_command_are_what_it_prints(self):
        (example,) = every(r"(?s)acl --user shop\n(.*?)\n```", page("command.md"))
        assert example.splitlines() == rights.rights_for(Settings()).rules("shop")


@pytest.mark.operator
class TestThePageOfTheCommand:
    def test_has_a_section_for_each_subcommand(self):
        named = every(r"^## `(.+)`$", page("command.md"))
        assert named == [*(subcommand.NAME for subcommand in SUBCOMMANDS), "clearsessions"]

    @pytest.mark.parametrize("name", [subcommand.NAME for subcommand in SUBCOMMANDS])
    def test_has_a_row_for_each_option_and_no_other(self, name):
        (action,) = Command().create_parser("manage.py", "redis_sessions")._subparsers._group_actions
        parser = action.choices[name]
        # Django's own options are accepted here as well, but explained by Django.
        own = [action for action in parser._actions if action.help != argparse.SUPPRESS]
        options = {text for action in own for text in action.option_strings}
        # Every subcommand has it, so the page explains it once, before all of them.
        assert "`--region`" in page("command.md").partition("\n## ")[0]
        options.remove("--region")
        rows = [row for table in tables(section(page("command.md"), f"## `{name}`")) for row in table]
        documented = {word.partition(" ")[0] for row in rows for word in code_words(row[0])}
        documented -= set(exposition.METRICS)
        assert documented == options - {"-h", "--help"}

    def test_shows_the_json_that_stats_writes(self, store):
        (example,) = every(r"(?s)stats --json\n(.*?)^```", page("command.md"))
        assert shape(json.loads(example)) == shape(sessions.statistics().as_dict())

    def test_lists_the_metrics_of_stats(self):
        *_, rows = tables(section(page("command.md"), "### For Prometheus"))
        documented = {name.strip("`"): (kind, meaning) for name, kind, meaning in rows}
        assert documented == exposition.METRICS

    def test_names_all_that_is_in_the_json_of_train_dictionary(self):
        gain = training.Gain(records=1, stored=4, zlib=3, built_in=2, trained=1)
        made = training.Training(dictionaries.Dictionary(128, b"text"), (), 1, 1, 1, 0, gain)
        (example,) = every(r"(?s)sessions-128.dict --json\n(.*?)^```", page("command.md"))
        assert shape(json.loads(example)) == shape({**made.as_dict(), "written": "sessions-128.dict"})

    def test_gives_the_numbers_of_training(self):
        text = section(page("command.md"), "## `train-dictionary`")
        assert f"{training.USUAL_SAMPLE:,} unless given" in text
        assert f"{training.USUAL_SIZE:,} unless given" in text
        assert f"{dictionaries.LARGEST_TEXT:,} at most" in text
        assert f"At least {training.FEWEST_SESSIONS} sessions" in text
        assert f"less than {100 * training.WORTHWHILE:.0f} %" in text
        assert training.LARGEST_SAMPLE == 8 * 2**20
        assert "8 MiB of session data" in text
        assert walks.LONGEST_SAMPLED == 64 * 1024
        assert "more than 64 kB" in text
        assert (training.FEWEST_PEOPLE, training.LEAST_SHARE) == (10, 0.01)
        assert "at least ten people, and of at least one in a hundred" in text


def shape(value):
    return {name: shape(inner) for name, inner in value.items()} if isinstance(value, dict) else type(value)


class TestThePageOfMoving:
    def test_gives_the_numbers_of_the_code(self):
        text = page("moving.md")
        assert arrivals.MARK_GRACE == 86_400
        assert "by one day" in text
        assert operations.RETENTION == 3600
        assert "within the last hour" in text
        assert f"{engines.BATCH} rows at a time" in text
        assert walks.LOOK == 100
        assert "a batch of about a hundred" in text


class TestACommandLine:
    @pytest.mark.parametrize("block", blocks("console"))
    def test_in_an_example_is_understood(self, block):
        for line in every(r"^\$ python manage\.py redis_sessions (.+)$", block):
            Command().create_parser("manage.py", "redis_sessions").parse_args(shlex.split(line))

    def test_of_make_is_in_the_makefile(self):
        targets = set(every(r"^([a-z][a-z ]*):", (ROOT / "Makefile").read_text()))
        known = {target for line in targets for target in line.split()}
        for path in PAGES:
            assert set(every(r"(?:`|\$ )make ([a-z]+)", path.read_text())) <= known


class TestThePageOfMetrics:
    def test_lists_those_of_prometheus(self):
        (rows,) = tables(section(page("metrics.md"), "## With Prometheus"))
        documented = {
            name.strip("`"): (kind, tuple(code_words(labels)), meaning)
            for name, kind, labels, meaning in rows
        }
        assert documented == prometheus.METRICS

    def test_lists_each_method_with_its_arguments(self):
        (rows,) = tables(section(page("metrics.md"), "## With anything else"))
        methods = {
            f"{name}({', '.join([*inspect.signature(method).parameters][1:])})"
            for name, method in inspect.getmembers(metrics.Metrics, inspect.isfunction)
        }
        assert {code_words(row[0])[0] for row in rows} == methods

    def test_names_each_operation_and_outcome(self):
        words = code_words(section(page("metrics.md"), "## With Prometheus").rpartition("```")[2])
        assert {*metrics.OPERATIONS, *metrics.CONFLICTS, stored.LIFE_OVER} <= set(words)


class TestThePageOfErrors:
    def test_draws_the_tree_of_the_code(self):
        (drawn,) = every(r"::\n\n((?:    .+\n)+)", errors.__doc__)
        assert f"```text\n{textwrap.dedent(drawn)}```" in page("errors.md")

    def test_explains_each_class(self):
        classes = {
            name
            for name, value in inspect.getmembers(errors, inspect.isclass)
            if issubclass(value, errors.SessionStoreError)
        }
        assert set(every(r"^## `(.+)`$", page("errors.md"))) == classes - {"SessionStoreError"}

    def test_lists_the_answers_that_pass_by_themselves(self):
        (rows,) = tables(section(page("errors.md"), "## `SessionStoreUnavailable`"))
        documented = {word.strip("`"): meaning for word, meaning in rows}
        assert documented == faults._PASSING
        for word, meaning in documented.items():
            error = faults.translated(redis.ResponseError(f"{word} for some reason"), "somewhere", 1)
            assert isinstance(error, errors.SessionStoreUnavailable)
            assert meaning in str(error)

    def test_tells_what_each_is_for_django(self):
        (rows,) = tables(section(page("errors.md"), "## Errors of Django"))
        documented = {code_words(row[0])[0]: set(code_words(row[1])) for row in rows}
        for name, value in inspect.getmembers(backend, inspect.isclass):
            if value.__module__ == backend.__name__ and issubclass(value, errors.SessionStoreError):
                ours = getattr(errors, name)
                assert documented.pop(name) == {base.__name__ for base in value.__bases__} - {ours.__name__}
        assert not documented


class TestThePageOfGuarantees:
    def races(self):
        text = section(page("guarantees.md"), "## Requests at the same time")
        headings = every(r"^### .+$", text)
        assert len(headings) > 10
        return {heading: section(text, heading) for heading in headings if heading != "### What was measured"}

    def test_draws_each_race_and_says_who_does_what(self):
        for heading, text in self.races().items():
            (drawing,) = every(r"(?s)^```text\n(.*?)^```$", text)
            assert drawing.startswith("request A  "), heading
            assert len(every(r"^- Django's cache engine: .+$", text)) == 1, heading
            assert len(every(r"^- Here: .+$", text)) == 1, heading
            assert len(every(r"^- Shown by: .+$", text)) == 1, heading

    def test_names_a_test_for_each_race(self):
        assert len(every(NAMED_TEST, page("guarantees.md"))) >= len(self.races())

    def test_gives_the_numbers_of_the_code(self):
        assert f"up to {stored.ATTEMPTS} times" in page("guarantees.md")
        assert operations.FORWARDING_TTL == 10
        assert "for ten seconds" in page("guarantees.md")


class TestThePageOfOutages:
    def test_has_what_happens_and_a_test_for_each_fault(self):
        (rows,) = tables(section(page("outages.md"), "## Faults"))
        assert len(rows) > 15
        for fault, peers, here, shown_by in rows:
            assert fault, rows
            assert peers, fault
            assert here, fault
            assert every(NAMED_TEST, shown_by), fault

    def test_names_every_fault_that_passes(self):
        assert set(faults._PASSING) - {"TRYAGAIN", "NOREPLICAS"} <= set(code_words(page("outages.md")))

    def test_gives_the_headers_of_the_answer(self):
        text = page("outages.md")
        assert f"`Retry-After: {middleware.RETRY_AFTER}`" in text
        assert f"`{middleware.OUTAGE_HEADER}: unavailable`" in text

    def test_gives_the_numbers_of_the_breaker(self):
        text = section(page("outages.md"), "## The budget and the breaker")
        assert "Three attempts in a row" in text
        assert breaker.THRESHOLD == 3
        assert f"every {breaker.PROBE_INTERVAL} seconds" in text
        assert f"{blocking.PROBE_PATIENCE * 1000:.0f} ms" in text
        assert "for one second" in text
        assert backend.OUTAGE_MEMORY == 1

    def test_quotes_lines_of_the_log_that_are_written(self):
        (rows,) = tables(section(page("outages.md"), "## Log lines"))
        code = "".join(path.read_text() for path in Path(errors.__file__).parent.rglob("*.py"))
        for level, line, _ in rows:
            for part in re.split("…", line.strip("`")):
                assert part.strip() in code, line
            assert level in ("error", "warning", "info")


class TestThePageOfProtection:
    def test_gives_the_reasons_of_the_code(self):
        text = page("protection.md")
        ring = protection.KeyRing.of((bytes(32),))
        assert f"`{protection.FOREIGN}`" in text
        assert f"`{protection.CUT_OFF}`" in text
        for number in (protection.UNPROTECTED, protection.ENCRYPTED, protection.SIGNED):
            assert f"`{ring.why_refused(number, b'none')}`" in text

    def test_gives_the_bytes_that_are_added(self):
        (row,) = (
            row for table in tables(page("protection.md")) for row in table if row[0].startswith("bytes")
        )
        assert row[1:] == [
            str(protection.TAG_LENGTH),
            str(protection.TAG_LENGTH + protection.NONCE_LENGTH),
        ]


class TestThePageOfSecurity:
    def rows(self):
        return [row for rows in tables(page("security.md")) for row in rows]

    def test_names_a_test_for_each_attempt_and_for_each_row_of_owasp(self):
        shown = [row for row in self.rows() if len(row) > 3]
        assert len(shown) > 45
        for row in shown:
            assert every(NAMED_TEST, row[-1]), row
            assert row[0], row
            assert row[1], row

    def test_has_each_row_of_owasp_that_a_test_has(self):
        (rows,) = tables(section(page("security.md"), "## OWASP's cheat sheet"))
        named = {
            name for row in rows for module, name in every(NAMED_TEST, row[-1]) if module == "test_owasp"
        }
        classes = set(every(r"^class (Test\w+)", (ROOT / "tests/test_owasp.py").read_text()))
        assert named == classes

    def test_gives_the_numbers_of_the_code(self):
        assert f"inflating stops at {sizes.GROWTH} times" in page("security.md")
        assert 32 * math.log2(len(VALID_KEY_CHARS)) > 165
        assert "165 random bits" in page("security.md")


class TestThePageOfTopologies:
    def test_has_a_configuration_for_each_kind_of_url(self):
        shown = "".join(every(r"(?s)^```python\n(.*?)^```", page("topologies.md")))
        for scheme in set(URL_SCHEMES) - {"embedded", "rediss+sentinel", "rediss+cluster"}:
            assert f'"{scheme}://' in shown, scheme


class TestThePageOfSizing:
    def rows(self, title):
        (found,) = tables(section(page("sizing.md"), f"### {title}"))
        return found

    def test_has_the_plans_that_its_figures_give(self):
        figures = Figures.read({title: self.rows(title) for title in TITLES})
        for table in plan_tables(figures):
            assert table.markdown().strip() in page("sizing.md"), table.title

    def test_has_every_figure_that_a_plan_needs(self):
        assert set(LABELS.values()) <= {row[0] for row in self.rows("A server")}

    def test_names_the_command_of_each_table_of_figures(self):
        for title in (*TITLES, "A failover on command", "Three masters against one"):
            assert every(r"python -m benchmarks (\w+)", section(page("sizing.md"), f"### {title}"))

    def test_has_places_for_the_next_run(self):
        for name in ("sizing", "plan", "masters"):
            assert f"<!-- {name}: begin -->" in page("sizing.md")
            assert f"<!-- {name}: end -->" in page("sizing.md")


NAMED_TEST = r"`tests/(\w+)\.py::(\w+)`"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
class TestATestThatIsNamed:
    def test_is_there(self, path):
        for module, name in every(NAMED_TEST, path.read_text()):
            tree = ast.parse((ROOT / "tests" / f"{module}.py").read_text())
            assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}, name


class TestWhatIsInRedis:
    def test_has_the_table_of_keys_that_the_code_has(self):
        (body,) = every(r"^Redis key .+\n=.+\n((?:.+\n)+?)=", keys.__doc__)
        rows = [re.split(r" {2,}", line.replace("``", "`")) for line in body.splitlines()]
        (documented,) = tables(section(page("redis.md"), "## Keys"))
        assert documented == rows
        assert (operations.FORWARDING_TTL, operations.MOVED_TTL) == (10, 60)

    def test_has_the_kinds_of_members_that_the_code_has(self):
        kinds = every(r"^- ``(.).*``", keys.__doc__)
        (rows,) = tables(section(page("redis.md"), "## A user's index"))
        assert [code_words(row[0])[0][0] for row in rows[1:]] == kinds

    def test_gives_the_numbers_of_an_index(self):
        text = section(page("redis.md"), "## A user's index")
        assert operations.RETENTION == 3600
        assert "for an hour" in text
        assert f"the last {operations.MOST_OVER:,}" in text
        life = 1209600
        assert (
            max(expiry.index_score(now, life) - now - life for now in range(10**6, 10**6 + life, 997))
            <= life / 64
        )
        assert "a 64th of its life" in text
        assert Keys("session").index(keys.user_marker("42")) in text

    def test_has_the_table_of_records_that_the_code_has(self):
        rows = every(r"^    (\d+|\.\.) +(\S+(?: \S+)*?) {2,}(.+)$", records.__doc__)
        (documented,) = tables(section(page("redis.md"), "## Records"))
        assert documented == [[cell.replace("``", "`") for cell in row] for row in rows]

    def test_has_the_protections_that_the_code_has(self):
        (rows,) = tables(section(page("redis.md"), "## Protected records"))
        assert [row[0] for row in rows] == [
            f"{number}, {name}" for number, name in protection.NAMES.items() if number
        ]

    def test_has_the_table_of_dictionary_files_that_the_code_has(self):
        rows = every(r"^    (\d+) +(\S+) {2,}(.+)$", dictionaries.__doc__)
        (documented,) = tables(section(page("redis.md"), "## Dictionaries of a project"))
        assert documented == [list(row) for row in rows]

    def test_lists_each_script_and_what_it_calls(self):
        (rows,) = tables(section(page("redis.md"), "## Scripts"))
        documented = {code_words(name)[0]: set(code_words(calls)) for name, _, calls in rows}
        found = {
            path.stem: set(every(r"redis\.p?call\('(\w+)'", path.read_text()))
            for path in Path(scripts.__file__).parent.glob("*.lua")
        }
        assert documented == found

    def test_gives_the_numbers_of_a_walk(self):
        assert f"with `SCAN`, {walks.PAGE} at a time" in page("redis.md")
        assert f"which fetches {walks.GLIMPSE:,} bytes at most" in page("redis.md")
        measured = f"{walks.MEASURED_AT_LEAST:,} sessions and one in {walks.MEASURED_EVERY} of the others"
        assert measured in page("redis.md")
        assert measured.replace("one", "for one") in page("command.md")
        assert f"`UNLINK` for {walks.BUNDLE} keys at a time" in page("redis.md")

    def test_gives_a_way_from_the_cookie_to_the_key(self):
        text = section(page("redis.md"), "## From a cookie to its Redis key")
        assert keys.digest("abcdefghijklmnopqrstuvwxyz012345") in text


ALL_SCRIPTS = {name: value for name, value in vars(scripts).items() if isinstance(value, scripts.Script)}
SCRIPTS = {script.digest: name.lower() for name, script in ALL_SCRIPTS.items()}


@pytest.fixture
def sent(store, known_scripts, monkeypatch):
    """The commands that were sent so far, each with its options or its script: ``["SET XX EX"]``."""
    commands = []

    def note(command):
        several = command if isinstance(command, list) else [command]
        commands.append([" ".join([one[0], *detail(one)]) for one in several])

    def detail(command):
        if command[0] == "EVALSHA":
            return [SCRIPTS[command[1]]]
        return [word for word in command[2:] if word in ("NX", "XX", "EX")]

    blocking, awaiting = BlockingClient.execute, AwaitingClient.execute

    def execute(self, command):
        note(command)
        return blocking(self, command)

    async def aexecute(self, command):
        note(command)
        return await awaiting(self, command)

    monkeypatch.setattr(BlockingClient, "execute", execute)
    monkeypatch.setattr(AwaitingClient, "execute", aexecute)
    return commands


def documented_commands(index):
    """``{what happens: [[command], …]}``, a list of commands for each round trip."""
    documented = {}
    for label, commands, trips in list(tables(section(page("redis.md"), "## Commands")))[index]:
        documented[label] = [[" ".join(code_words(command))] for command in commands.split(", ") if command]
        assert len(documented[label]) == int(trips)
    return documented


def fresh():
    """A stored session that is not loaded yet."""
    session = SessionStore()
    session["a"] = 0
    session.save()
    return SessionStore(session.session_key)


def loaded():
    session = fresh()
    session.get("a")
    return session


def changed():
    session = loaded()
    session["a"] = 1
    return session


def outrun():
    """A changed session that somebody else has saved since it was loaded."""
    session = changed()
    rival = SessionStore(session.session_key)
    rival["b"] = 1
    rival.save()
    return session


def gone():
    session = loaded()
    SessionStore(session.session_key).delete()
    return session


def overwriting():
    session = outrun()
    session.on_conflict = "overwrite"
    return session


def of(user, make=SessionStore):
    """A session with somebody signed in, which is not stored yet."""
    session = make()
    session["_auth_user_id"] = user
    return session


def noted(user="1"):
    """A stored session of a user, opened anew."""
    session = of(user)
    session.save()
    return SessionStore(session.session_key)


def noted_and_loaded():
    session = noted()
    session.get("a")
    return session


def unknown():
    return SessionStore("someunknownsessionkey")


def heard(listener):
    """What was announced, as far as it has arrived."""
    while (message := listener.get_message(timeout=0.1)) is not None:
        event = announcements.decode(message["data"])
        assert event is not None
        yield event


@pytest.fixture
def punctual(behind):
    """The server ends a WAIT when its time is up, not up to a tenth of a second later."""
    usual = behind.config_get("hz")
    behind.config_set("hz", 200)
    yield
    for name, value in usual.items():
        behind.config_set(name, value)


@pytest.mark.usefixtures("store")
class TestTheCommandsThatAreSent:
    def by_each(self, do, sent, table):
        found = {}
        for label, make, name, arguments in table:
            session = make()
            sent.clear()
            do(getattr(session, name), *arguments)
            trips = [[" ".join(commands)] for commands in sent]
            assert found.setdefault(label, trips) == trips
        return found

    def test_by_each_method_are_the_documented_ones(self, do, sent, behind, configure):
        def due():
            session = fresh()
            behind.setrange(configure(ROLLING=0.9).keys.record(session.session_key), 16, b"\0\0\0\1")
            return session

        def beyond():
            configure(MAX_SESSIONS_PER_USER=1)
            of("2").save()
            return of("2", loaded)

        table = (
            ("`load()`", fresh, "load", ()),
            ("`load()`", unknown, "load", ()),
            ("`load()` that extends the life", due, "load", ()),
            ("`exists()`", fresh, "exists", ("x" * 32,)),
            ("`create()`", SessionStore, "create", ()),
            ("`create()` of a signed-in session", lambda: of("1"), "create", ()),
            ("`save()` of a session that was loaded", changed, "save", ()),
            ("`save()` without a change", loaded, "save", ()),
            ("`save()` that signs somebody in", lambda: of("1", loaded), "save", ()),
            ("`save()` that signs somebody else in", lambda: of("2", noted_and_loaded), "save", ()),
            ("`save()` after somebody else's", outrun, "save", ()),
            ("`save()` of a session that was not loaded yet", fresh, "save", ()),
            ('`save()` with `CONFLICT: "overwrite"`', overwriting, "save", ()),
            ("`save(must_create=True)`", unknown, "save", (True,)),
            ("`mutate()`, `increment()`", loaded, "mutate", ("a", lambda value: value + 1)),
            ("`mutate()`, `increment()`", loaded, "increment", ("a",)),
            ("`mutate()`, `increment()` after somebody else's save", outrun, "increment", ("a",)),
            ("`delete()`, `flush()` of a session that was loaded", loaded, "delete", ()),
            ("`delete()`, `flush()` of a session that was loaded", noted_and_loaded, "flush", ()),
            ("`delete()` of a session that was not loaded", fresh, "delete", ()),
            ("`delete()` of a signed-in session that was not loaded", noted, "delete", ()),
            ("`cycle_key()` of a session that was loaded", loaded, "cycle_key", ()),
            ("`cycle_key()` of a session that was loaded", noted_and_loaded, "cycle_key", ()),
            ("`cycle_key()` after somebody else's save", outrun, "cycle_key", ()),
            ("`cycle_key()` of an anonymous session that is gone", gone, "cycle_key", ()),
            ("`save()` that signs in beyond `MAX_SESSIONS_PER_USER`", beyond, "save", ()),
        )
        documented = documented_commands(0)
        assert list(dict.fromkeys(label for label, *_ in table)) == list(documented)
        assert self.by_each(do, sent, table) == documented

    def test_while_keys_are_retired_are_the_documented_ones(self, do, sent, settings, monkeypatch):
        settings.SECRET_KEY_FALLBACKS = ["retired"]
        # Whether a rotation is a rehash has tests of its own, and so has its twin.
        monkeypatch.setattr(backend, "is_rehash", lambda data: True)

        async def ais_rehash(data):
            return True

        monkeypatch.setattr(backend, "ais_rehash", ais_rehash)

        def moved():
            session = fresh()
            SessionStore(session.session_key).cycle_key()
            return session

        def just_moved():
            session = loaded()
            SessionStore(session.session_key).cycle_key()
            return session

        table = (
            ("`load()` of an unknown session", unknown, "load", ()),
            ("`load()` under a key that has moved", moved, "load", ()),
            ("`delete()` of an unknown session", unknown, "delete", ()),
            ("`delete()` under a key that has moved", moved, "delete", ()),
            ("`cycle_key()` of a session that has just moved", just_moved, "cycle_key", ()),
        )
        assert self.by_each(do, sent, table) == documented_commands(1)

    def test_with_replicas_to_wait_for_are_the_documented_ones(
        self, do, sent, configure, punctual, little_patience
    ):
        def known():
            session = noted()
            session["a"] = 1
            return session

        table = (
            ("`create()` of an anonymous session", SessionStore, "create"),
            ("`create()` of a signed-in session", lambda: of("1"), "create"),
            ("`save()` with the same user as before", known, "save"),
            ("`save()` with another user", lambda: of("2", loaded), "save"),
            ("`cycle_key()` of an anonymous session", loaded, "cycle_key"),
            ("`cycle_key()` of a signed-in session", known, "cycle_key"),
            ("`delete()`, `flush()` of a session that was loaded", loaded, "delete"),
            ("`delete()`, `flush()` of a session that was loaded", known, "flush"),
            ("`delete()` of a session that was not loaded", noted, "delete"),
        )
        found = {}
        for label, make, name in table:
            configure(WAIT_REPLICAS=0)
            session = make()
            configure(WAIT_REPLICAS=1, TIMEOUT=5)
            sent.clear()
            try:
                do(getattr(session, name))
            except errors.SessionNotReplicated:
                assert sent[-1][-1] == "WAIT"
            trips = [[" ".join(command.split()[0] for command in trip)] for trip in sent]
            assert found.setdefault(label, trips) == trips
        assert found == documented_commands(4)

    @pytest.mark.django_db
    @pytest.mark.parametrize("package", ["django.contrib.sessions", "django_redis_sessions"])
    def test_by_each_request_are_the_documented_ones(self, sent, settings, package):
        settings.MIDDLEWARE = [f"{package}.middleware.SessionMiddleware", *settings.MIDDLEWARE[1:]]
        User.objects.create_user("alice", password="wonderland")
        visitor, newcomer, stranger = Client(), Client(), Client()
        stranger.cookies["sessionid"] = "no session key"
        found = {}
        for label, client, path in (
            ("without a cookie, nothing is written", visitor, "/read/"),
            ("without a cookie, the view writes", visitor, "/write/?cart=full"),
            ("the view reads the session", visitor, "/read/"),
            ("the view reads and writes", visitor, "/write/?cart=fuller"),
            ("the view does not use the session", visitor, "/untouched/"),
            ("signing in, with a cart from before", visitor, "/sign-in/"),
            ("signing in, without a cookie", newcomer, "/sign-in/"),
            ("signing out", visitor, "/sign-out/"),
            ("with a cookie that cannot be a session key", stranger, "/read/"),
        ):
            sent.clear()
            client.get(path)
            found[label] = [[command.split()[0] for command in trip] for trip in sent]
        assert found == documented_commands(2)

    def test_by_each_function_about_users_are_the_documented_ones(self, way, runner, sent):
        def call(function, *arguments, **options):
            sent.clear()
            if way == "blocking":
                function(*arguments, **options)
            else:
                runner.run(getattr(sessions, f"a{function.__name__}")(*arguments, **options))
            return [[" ".join(commands)] for commands in sent]

        def handle(session):
            return keys.digest(session.session_key)

        kept = noted()
        found = {
            "`of_user()`": call(sessions.of_user, "1"),
            "`get()`, `data()`": call(sessions.get, handle(kept)),
        }
        assert call(sessions.data, handle(kept)) == found["`get()`, `data()`"]
        found["`revoke()` of a user's session"] = call(sessions.revoke, handle(noted()))
        found["`revoke()` of an anonymous session"] = call(sessions.revoke, handle(fresh()))
        found["`revoke()` of a session that is gone"] = call(sessions.revoke, handle(gone()))
        noted()
        found["`revoke_user()` with `keep`"] = call(sessions.revoke_user, "1", keep=kept)
        found["`revoke_user()`"] = call(sessions.revoke_user, "1")
        assert found == documented_commands(5)

    @pytest.mark.django_db
    def test_by_each_request_of_somebody_to_be_seen_are_the_documented_ones(
        self, sent, settings, store, behind
    ):
        settings.MIDDLEWARE = [
            "django_redis_sessions.middleware.SessionMiddleware",
            *settings.MIDDLEWARE[1:],
        ]
        User.objects.create_user("alice", password="wonderland")
        visitor = Client()
        visitor.get("/sign-in/")
        name = store.keys.record(visitor.cookies["sessionid"].value)
        found = {}
        for label, path, agent, ago in (
            ("the view reads the session, from the same device", "/read/", "", 301),
            ("the view reads the session, from another device", "/read/", "curl/8", 301),
            ("the view reads and writes, from another device", "/write/?cart=full", "curl/9", 301),
            ("the view reads the session again, at once", "/read/", "curl/10", 0),
            ("the view does not use the session, from another device", "/untouched/", "curl/10", 301),
        ):
            header = records.header_of(behind.get(name))
            behind.setrange(name, records.LIFE_OFFSET, records.life(header.touched - ago, header.ttl + ago))
            sent.clear()
            visitor.get(path, headers={"user-agent": agent} if agent else None)
            found[label] = [[command.split()[0] for command in trip] for trip in sent]
        assert found == documented_commands(3)

    @pytest.mark.django_db
    @pytest.mark.parametrize("may_announce", [True, False])
    def test_are_permitted_by_the_documented_rights(
        self,
        configure,
        server,
        behind,
        prefix,
        settings,
        monkeypatch,
        punctual,
        little_patience,
        may_announce,
    ):
        rules = page("redis.md").replace(" django ", f" {prefix} ")
        rules = rules.replace("~session:", f"~{prefix}:").replace("&session:", f"&{prefix}:")
        *engine, command = every("^ACL SETUSER .+$", rules)
        settings.SECRET_KEY_FALLBACKS = ["retired"]
        monkeypatch.setattr(backend, "is_rehash", lambda data: True)
        behind.script_flush()  # so that EVAL is needed as well
        listener = behind.pubsub(ignore_subscribe_messages=True)
        listener.subscribe(f"{prefix}:revocations")
        listener.get_message(timeout=5)  # that it is subscribed
        try:
            for rule in engine:
                behind.execute_command(*rule.split())
            if not may_announce:
                behind.execute_command("ACL", "SETUSER", prefix, "resetchannels", "-publish")
            configure(URL=f"unix://{prefix}:password@{server.socket}")
            self.use_a_session()
            self.use_an_index(configure, behind, prefix, server)
            configure(URL=f"unix://{prefix}:password@{server.socket}")

            behind.execute_command(*command.split())
            old = of("1", fresh)
            old.save()
            assert sessions.statistics().census.memory > 0
            with pytest.raises(errors.TooFewSessions, match="4 could be read"):
                sessions.train_dictionary()
            behind.unlink(Keys(prefix).index(keys.user_marker("1")))
            assert sessions.reindex() == 1
            assert sessions.rewrite().current == 4
            configure(URL=f"unix://{prefix}:password@{server.socket}", SIGN=True, ACCEPT_UNPROTECTED=True)
            assert sessions.rewrite(patience=1).rewritten == 4
            configure(URL=f"unix://{prefix}:password@{server.socket}")
            assert sessions.count() == len(sessions.page().infos) == 4
            assert len(sessions.ranked("size", patience=1).infos) == 4
            assert sessions.contents(patience=1).sessions == 4
            places = []
            assert (
                sessions.purge(
                    user="nobody", resume="", patience=1, progress=lambda now: places.append(now.resume)
                )
                == 0
            )
            assert places[-1]
            self.use_another_engine(configure, prefix, server)
            behind.unlink(Keys(prefix).record(old.session_key))
            assert sessions.of_user("1") == []
            assert sessions.sweep() == 1
            assert sessions.revoke_all() == 3

            assert "`+wait`" in rules
            behind.execute_command("ACL", "SETUSER", prefix, "+wait", "+cluster|slots", "+asking")
            configure(URL=f"unix://{prefix}:password@{server.socket}", WAIT_REPLICAS=1, TIMEOUT=5)
            with pytest.raises(errors.SessionNotReplicated):
                SessionStore(old.session_key).delete()
        finally:
            behind.execute_command("ACL", "DELUSER", prefix)
            load_scripts(behind)
            events = {event.as_dict()["event"] for event in heard(listener)}
            listener.close()
        assert events == ({"revoked", "rotated", "user", "all"} if may_announce else set())

    def use_a_session(self):
        session = SessionStore()
        session.create()
        session.save()
        session["a"] = 1
        session.save()
        session.increment("a")
        outrun().save()
        old = session.session_key
        session.cycle_key()
        assert SessionStore(old)["a"] == 2
        session.on_conflict = "overwrite"
        session["a"] = 3
        session.save()
        assert session.exists(session.session_key)
        SessionStore(old).delete()
        assert not session.exists(session.session_key)
        SessionStore().create()

    def use_another_engine(self, configure, prefix, server):
        path = "tests.memory_engine"
        coming, staying = memory_engine.SessionStore(), memory_engine.SessionStore()
        for session in (coming, staying):
            session["_auth_user_id"] = "2"
            session.save()
        configure(URL=f"unix://{prefix}:password@{server.socket}", FALLBACK_ENGINES=[path])
        try:
            assert SessionStore(coming.session_key)["_auth_user_id"] == "2"
            SessionStore(coming.session_key).delete()
            assert not SessionStore().exists(coming.session_key)
            assert SessionStore().exists(staying.session_key)
            assert sessions.adopted() is not None
        finally:
            memory_engine.SessionStore.stored.clear()
        row = begun(DatabaseStore, "2")
        configure(URL=f"unix://{prefix}:password@{server.socket}")
        assert sessions.import_from("django.contrib.sessions.backends.db").moved == 1
        SessionStore(row.session_key).delete()
        configure(URL=f"unix://{prefix}:password@{server.socket}")

    def use_an_index(self, configure, behind, prefix, server):
        session = of("1", loaded)
        session.save()
        session.cycle_key()
        noted()
        noted()
        infos = sessions.of_user("1", current=session)
        assert [info.is_current for info in infos].count(True) == 1
        other = next(info.handle for info in infos if not info.is_current)
        assert sessions.get(other).user_id == "1"
        assert sessions.data(other) == {"_auth_user_id": "1"}
        assert sessions.revoke(other)
        assert sessions.revoke_user("1", keep=session) == 1
        configure(URL=f"unix://{prefix}:password@{server.socket}", MAX_SESSIONS_PER_USER=1)
        noted()
        configure(URL=f"unix://{prefix}:password@{server.socket}", MAX_SESSIONS_PER_USER=1, ON_LIMIT="refuse")
        with pytest.raises(errors.SessionLimitReached):
            of("1", loaded).save()
        other = noted("2")
        other.delete()
        assert sessions.revoke_user("1") == 1
        # Enough of what is over for the index to shed some.
        over = dict.fromkeys(
            (f"member{number}" for number in range(operations.MOST_OVER + 2)), time.time() - 9
        )
        behind.zadd(Keys(prefix).index(keys.user_marker("2")), over)
        noted("2").delete()
        behind.unlink(Keys(prefix).index(keys.user_marker("2")))


@pytest.mark.django_db
@pytest.mark.operator
class TestAPythonExample:
    @pytest.mark.parametrize("block", blocks("python"))
    def test_runs_and_its_settings_are_accepted(self, block, store, runner, monkeypatch):
        monkeypatch.setenv("SESSION_KEYS", "4" * 64)
        names = {"INSTALLED_APPS": [], "BASE_DIR": Path("/srv/mysite"), "__name__": "example"}
        code = compile(block, "example", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        result = eval(code, names)  # noqa: S307 - our own documentation
        if inspect.iscoroutine(result):
            runner.run(result)
        assert problems(names.get("SESSION_REDIS", {})) == []
        assert names.get("SESSION_ENGINE", "django_redis_sessions.backend") == "django_redis_sessions.backend"


class TestThePageOfDevices:
    def test_has_a_row_for_each_address_and_each_template(self):
        (addresses,) = tables(section(page("devices.md"), "## Including it"))
        documented = [[code_words(cell)[0].strip('"') for cell in row[:2]] for row in addresses]
        assert documented == [[str(url.pattern), f"{urls.app_name}:{url.name}"] for url in urls.urlpatterns]
        (templates,) = tables(section(page("devices.md"), "## Giving it the look of the site"))
        shipped = {
            path.name for path in (Path(urls.__file__).parent / "templates/django_redis_sessions").iterdir()
        }
        assert {code_words(row[0])[0] for row in templates} | {"base.html"} == shipped

    def test_gives_the_number_of_devices_on_a_page(self):
        assert f"{views.PER_PAGE} on a page" in page("devices.md")


class TestThePageOfServices:
    def test_has_a_row_for_each_method_and_no_other(self):
        of_client, of_session = tables(section(page("services.md"), "## Methods"))
        inherited = {*dir(MutableMapping), "Conflict", "Ended", "KeyTaken"}
        inherited |= {"arrival", "is_unavailable", "network", "outlive", "place", "unsealed"}  # for the site
        for rows, described in ((of_client, SessionClient), (of_session, ClientSession)):
            documented = [word.partition("(")[0] for row in rows for word in code_words(row[0])]
            public = {name for name in dir(described) if not name.startswith("_")} - inherited
            twins = {name for name in public if name[0] == "a" and name[1:] in public}
            assert len(documented) == len(set(documented))
            assert set(documented) == public - twins
            assert {name[1:] for name in twins} == {
                name for name in documented if inspect.isfunction(getattr(described, name))
            } - {"new", "close"}

    def test_has_a_row_for_each_argument(self):
        (rows,) = tables(section(page("services.md"), "## From plain values"))
        *_, others = [code_words(row[0]) for row in rows]
        documented = [word for row in rows[:-1] for word in code_words(row[0])]
        _, *parameters, rest = inspect.signature(SessionClient).parameters.values()
        assert documented == [parameter.name for parameter in (_, *parameters)]
        assert rest.kind is rest.VAR_KEYWORD
        assert set(others) <= {field.name for field in fields(Settings)}

    def test_shows_each_example_which_is_short_and_says_how_to_run_it(self):
        shown = every(r"^```\{literalinclude\} \.\./(examples/.+)$", page("services.md"))
        there = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("examples/*.py"))
        assert sorted(shown) == there
        for name in there:
            text = (ROOT / name).read_text()
            assert len(text.splitlines()) <= 80, name
            assert f"{Path(name).stem}:app" in ast.get_docstring(ast.parse(text)), name


class TestThePageOfStrategies:
    def test_has_each_of_the_tests_with_its_numbers(self):
        forms, attempts, costs, _ = tables(page("strategies.md"))
        named = [row[0].removesuffix(", the default") for row in forms]
        assert named == list(STRATEGIES)
        rows = {label: numbers for label, *numbers in costs}
        for at, (scheme, is_readable, trips, length) in enumerate(STRATEGIES.values()):
            assert ast.literal_eval(code_words(forms[at][1])[0]) == {"KEYS": scheme}
            assert rows["round trips of a forged cookie"][at] == str(trips)
            assert rows["characters in the cookie"][at] == str(length)
            assert attempts[0][1 + at].startswith(
                "signs in as anybody" if is_readable else "signs in as nobody"
            )

    def test_names_a_test_for_each_attempt(self):
        _, attempts, *_ = tables(page("strategies.md"))
        for row in attempts:
            assert every(NAMED_TEST, row[-1]), row


class TestTheSupportedVersions:
    def test_in_the_readme_are_those_of_the_metadata(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        (rows,) = tables(section((ROOT / "README.md").read_text(), "## Supported versions"))
        said = {name: versions.split(", ") for name, versions in rows}
        for name, classifier in (
            ("Python", r"Programming Language :: Python :: (3\.\d+)"),
            ("Django", r"Framework :: Django :: (\d\.\d)"),
        ):
            found = [re.fullmatch(classifier, line) for line in project["classifiers"]]
            assert said[name] == [match[1] for match in found if match]
        (least,) = (line.partition(">=")[2] for line in project["dependencies"] if line.startswith("redis"))
        assert said["redis-py"] == [f"{least} or newer"]


class TestAPage:
    def test_is_in_the_table_of_contents(self):
        listed = every(r"^[a-z]+$", "".join(every(r"(?s)^```\{toctree\}.*?^```", page("index.md"))))
        assert sorted(listed) == sorted(path.stem for path in DOCS.glob("*.md") if path.stem != "index")

    @pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
    def test_links_to_files_that_are_there(self, path):
        for target in every(r"\]\((?!\w+:)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), target
