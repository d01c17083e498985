"""A ``SESSION_REDIS`` of django-redis-sessions is answered with its equivalent, and without its password."""

import ast
import os
import re

import pytest

from django_redis_sessions import checks, errors
from django_redis_sessions.configuration import problems, settings_from

SECRET = "s3cret/word"


def advised(hint, monkeypatch):
    """The value that the hint writes down, as Python reads it."""
    (text,) = re.findall(r"Write SESSION_REDIS = (\{.*\})\. The sessions", hint)
    compile(text, "hint", "eval", ast.PyCF_ONLY_AST)
    monkeypatch.setenv("REDIS_PASSWORD", "from-the-environment")
    return eval(text, {"os": os})  # noqa: S307 - our own words


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"host": "redis.example"}, {"URL": "redis://redis.example:6379/0"}),
        (
            {"host": "h", "port": 6380, "db": 2, "password": SECRET, "prefix": "shop"},
            {"URL": "redis://:from-the-environment@h:6380/2", "PREFIX": "shop"},
        ),
        (
            {"port": 6380, "socket_timeout": 0.5, "retry_on_timeout": False},
            {"URL": "redis://localhost:6380/0", "TIMEOUT": 0.5},
        ),
        (
            {"unix_domain_socket_path": "/run/redis.sock", "db": 1},
            {"URL": "unix:///run/redis.sock?db=1"},
        ),
        (
            {"unix_domain_socket_path": "/run/redis.sock", "password": SECRET},
            {"URL": "unix://:from-the-environment@/run/redis.sock"},
        ),
        (
            {"db": 3, "url": f"rediss://user:{SECRET[:6]}@h:1/3", "prefix": ""},
            {"URL": "rediss://user:from-the-environment@h:1/3"},
        ),
        ({"db": 0, "url": "redis://s3cret@h/0"}, {"URL": "redis://:from-the-environment@h/0"}),
        ({"db": 0, "url": "redis://h/0?password=s3cret"}, {"URL": "redis://h/0"}),
        ({"db": 0, "url": "redis://[h/0?password=s3cret"}, {"URL": "…"}),
        (
            {"sentinel_list": [("a", 1), ("b", 2)], "sentinel_master_alias": "main", "password": SECRET},
            {"URL": "redis+sentinel://:from-the-environment@a:1,b:2/main/0"},
        ),
    ],
)
class TestALegacySetting:
    def test_is_answered_with_its_equivalent(self, given, wanted, monkeypatch):
        (problem,) = problems(given)
        assert problem.id == "E007"
        assert advised(problem.hint, monkeypatch) == wanted
        if wanted["URL"] != "…":
            assert settings_from(wanted).url == wanted["URL"]
        assert "redis_sessions import --from redis_sessions.session --legacy-url" in problem.hint
        assert ("--legacy-prefix shop" in problem.hint) == bool(given.get("prefix"))

    def test_gives_no_password_away(self, given, wanted, settings):
        settings.SESSION_REDIS = given
        (message,) = checks.check_settings()
        assert "s3cret" not in message.msg + message.hint
        with pytest.raises(errors.SessionStoreMisconfigured) as caught:
            settings_from(given)
        assert "s3cret" not in str(caught.value)


class TestAPoolOfServers:
    def test_has_no_equivalent(self):
        (problem,) = problems({"pool": [{"host": "a", "password": "s3cret"}]})
        assert "no equivalent" in problem.hint
        assert "s3cret" not in problem.hint


class TestAMixture:
    def test_reports_other_names_as_well(self):
        assert [problem.id for problem in problems({"host": "h", "Timeout": 1})] == ["E007", "E002"]
