import subprocess
import sys

import pytest
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core.checks import run_checks
from django.test.utils import override_settings

from django_redis_sessions import conf
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.errors import SessionStoreMisconfigured
from django_redis_sessions.middleware import SessionMiddleware
from tests.servers import RedisServer


class TestTheProjectsSettings:
    def test_are_read_once(self, store):
        assert conf.store() is store

    def test_are_read_again_after_a_change(self, store):
        with override_settings(SESSION_REDIS={"PREFIX": "other"}):
            assert conf.store().keys.prefix == "other"
        assert conf.store().keys.prefix == store.keys.prefix

    def test_may_be_absent(self, settings):
        del settings.SESSION_REDIS
        assert conf.store().settings.url == "redis://localhost:6379/0"

    def test_raise_the_same_words_that_the_check_reports(self, settings):
        settings.SESSION_REDIS = {"PREFIXX": "x"}
        (found,) = [message for message in run_checks() if message.id == "django_redis_sessions.E002"]
        with pytest.raises(SessionStoreMisconfigured) as caught:
            SessionStore("some-session-key").load()
        assert str(caught.value) == f"{found.msg} {found.hint}"
        assert found.hint == "Did you mean 'PREFIX'?"


class TestTheChecks:
    def test_are_silent_about_a_sound_configuration(self, store):
        assert not [message for message in run_checks() if message.id.startswith("django_redis_sessions")]

    def test_warn_of_an_embedded_server_in_production(self, settings):
        settings.SESSION_REDIS = {"URL": "embedded://"}
        settings.DEBUG = False
        found = run_checks(include_deployment_checks=True)
        assert "django_redis_sessions.W001" in [message.id for message in found]

    @pytest.mark.parametrize(("url", "debug"), [("embedded://", True), ("redis://localhost", False)])
    def test_do_not_warn_elsewhere(self, settings, url, debug):
        settings.SESSION_REDIS = {"URL": url}
        settings.DEBUG = debug
        found = run_checks(include_deployment_checks=True)
        assert "django_redis_sessions.W001" not in [message.id for message in found]


class TestTheEvictionCheck:
    def found(self):
        ours = ("django_redis_sessions.W002", "django_redis_sessions.W003")
        return [message for message in run_checks(include_deployment_checks=True) if message.id in ours]

    def test_warns_of_a_policy_that_ends_sessions_in_use(self, settings):
        with RedisServer("--maxmemory-policy", "allkeys-lru") as server:
            settings.SESSION_REDIS = {"URL": server.url}
            (message,) = self.found()
            assert "maxmemory-policy is allkeys-lru" in message.msg
            assert "noeviction" in message.hint

    def test_is_silent_about_others(self, store):
        assert self.found() == []

    def test_says_when_it_cannot_ask(self, settings):
        settings.SESSION_REDIS = {"URL": "unix:///nowhere/redis.sock"}
        (message,) = self.found()
        assert message.id == "django_redis_sessions.W002"


class TestTheCheckOfThePasswordValidator:
    """Under Django's middleware nobody knows the session in which a password is changed."""

    VALIDATOR = "django_redis_sessions.passwords.RevokeOtherSessions"
    DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
    OURS = "django_redis_sessions.middleware.SessionMiddleware"

    def found(self, settings, validator, *middleware):
        settings.AUTH_PASSWORD_VALIDATORS = [{"NAME": validator}]
        settings.MIDDLEWARE = [*middleware, *settings.MIDDLEWARE[1:]]
        return [message for message in run_checks() if message.id == "django_redis_sessions.W010"]

    @pytest.mark.parametrize("middleware", [DJANGOS, f"{__name__}.SubclassOfDjangos"])
    def test_warns_of_djangos_middleware_and_names_ours(self, settings, middleware):
        (message,) = self.found(settings, self.VALIDATOR, middleware)
        assert "signed out with a 400" in message.msg
        assert self.OURS in message.hint

    @pytest.mark.parametrize("middleware", [OURS, f"{__name__}.SubclassOfOurs"])
    def test_is_silent_with_ours(self, settings, middleware):
        assert self.found(settings, self.VALIDATOR, middleware) == []

    def test_is_silent_without_the_validator(self, settings):
        other = "django.contrib.auth.password_validation.MinimumLengthValidator"
        assert self.found(settings, other, self.DJANGOS) == []

    def test_is_silent_where_there_are_no_sessions(self, settings):
        assert self.found(settings, self.VALIDATOR) == []

    def test_leaves_it_to_django_to_report_what_cannot_be_imported(self, settings):
        assert self.found(settings, "nowhere.to.be.Found", "nowhere.either", self.DJANGOS) == []

    def test_takes_a_function_for_what_it_is(self, settings):
        assert len(self.found(settings, self.VALIDATOR, f"{__name__}.some_function", self.DJANGOS)) == 1


class SubclassOfDjangos(DjangoSessionMiddleware):
    pass


class SubclassOfOurs(SessionMiddleware):
    pass


def some_function(get_response):
    return get_response


class TestTheEngineModule:
    def test_imports_without_the_sessions_app(self):
        """Django's own test runner replaces INSTALLED_APPS; the engine must not care."""
        program = (
            "from django.conf import settings; settings.configure(INSTALLED_APPS=[])\n"
            "import django; django.setup()\n"
            "from django_redis_sessions.backend import SessionStore\n"
            "assert SessionStore('short').session_key is None\n"
        )
        subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
