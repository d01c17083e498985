"""What of a request is recorded under each value of ``DEVICES``, and what a project's own function may do."""

import logging
import re
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.test import RequestFactory

from django_redis_sessions import references, visitors
from django_redis_sessions.devices import Device
from django_redis_sessions.visitors import device_of

HERE = "tests.test_visitors"


@pytest.fixture(autouse=True)
def forgotten():
    """No function is known, and none has been complained about."""
    references.function_named.cache_clear()
    visitors._warned.clear()
    yield
    references.function_named.cache_clear()
    visitors._warned.clear()


@pytest.fixture
def request_from():
    def made(address="203.0.113.77", agent="curl/8", **more):
        return RequestFactory().get("/", REMOTE_ADDR=address, HTTP_USER_AGENT=agent, **more)

    return made


def own(request):
    return Device("198.51.100.1", request.headers["X-Told"])


def says_nothing(request):
    return None


def fails(request):
    raise RuntimeError("no such proxy")


def gives_text(request):
    return "203.0.113.77"


async def awaited(request):
    return Device()


no_function = 5


class TestWhatIsRecorded:
    @pytest.mark.parametrize(
        ("devices", "device"),
        [
            ("full", Device("203.0.113.77", "curl/8")),
            ("masked", Device("203.0.113.0", "curl/8")),
            ("agent", Device(None, "curl/8")),
            (None, Device()),
        ],
    )
    def test_is_what_the_setting_says(self, configure, request_from, devices, device):
        configure(DEVICES=devices)
        assert device_of(request_from()) == device

    def test_is_all_of_it_by_default(self, store, request_from):
        assert device_of(request_from()) == Device("203.0.113.77", "curl/8")

    def test_may_be_missing(self, store, request_from):
        """Behind a unix socket a server gives no address, and clients need not say what they are."""
        request = request_from(address="")
        del request.META["HTTP_USER_AGENT"]
        assert device_of(request) == Device()
        del request.META["REMOTE_ADDR"]
        assert device_of(request) == Device()


class TestAProjectsFunction:
    def test_decides(self, configure, request_from):
        configure(DEVICES=f"{HERE}.own")
        assert device_of(request_from(HTTP_X_TOLD="a robot")) == Device("198.51.100.1", "a robot")

    def test_may_say_nothing(self, configure, request_from, caplog):
        configure(DEVICES=f"{HERE}.says_nothing")
        assert device_of(request_from()) is None
        assert not caplog.records

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("fails", "no such proxy"),
            ("gives_text", "it gave str in place of a Device or None"),
            ("awaited", "coroutine function"),
            ("no_function", "cannot be called"),
            ("missing", 'does not define a "missing"'),
        ],
    )
    def test_that_fails_is_reported_once_and_breaks_nothing(
        self, configure, request_from, caplog, name, reason
    ):
        configure(DEVICES=f"{HERE}.{name}")
        assert device_of(request_from()) is None
        assert device_of(request_from()) is None
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert f"{HERE}.{name} failed" in record.getMessage()
        assert reason in str(record.exc_info[1])


class TestTheCheck:
    @pytest.fixture(autouse=True)
    def with_the_middleware(self, settings):
        """Without it, another check finds that nobody notes devices."""
        settings.MIDDLEWARE = ["django_redis_sessions.middleware.SessionMiddleware", *settings.MIDDLEWARE[1:]]

    def found(self):
        return [message for message in run_checks() if message.id.startswith("django_redis_sessions")]

    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            ("nowhere.at_all", "No module named 'nowhere'"),
            (f"{HERE}.missing", 'does not define a "missing"'),
            (f"{HERE}.awaited", "coroutine function"),
            (f"{HERE}.no_function", "cannot be called"),
        ],
    )
    def test_names_a_function_that_cannot_be_used(self, configure, path, reason):
        configure(DEVICES=path)
        (message,) = self.found()
        assert message.id == "django_redis_sessions.E005"
        assert f"names {path}, which cannot be used: " in message.msg
        assert reason in message.msg

    @pytest.mark.parametrize("devices", [f"{HERE}.own", "full", "masked", "agent", None])
    def test_is_silent_about_what_can(self, configure, devices):
        configure(DEVICES=devices)
        assert self.found() == []

    def test_leaves_other_problems_to_others(self, settings):
        settings.SESSION_REDIS = {"DEVICES": "ful"}
        assert [message.id for message in self.found()] == ["django_redis_sessions.E003"]


class TestTheDocumentedFunctionForProxies:
    @pytest.fixture
    def behind_proxies(self):
        page = (Path(__file__).parents[1] / "docs" / "settings.md").read_text()
        (block,) = (
            block for block in re.findall(r"(?ms)^```python\n(.*?)^```", page) if "FORWARDED" in block
        )
        names = {}
        exec(compile(block, "example", "exec"), names)  # noqa: S102 - our own documentation
        assert names["TRUSTED_PROXIES"] == 2
        return names["behind_proxies"]

    @pytest.mark.parametrize(
        ("forwarded", "address"),
        [
            ("198.51.100.9, 10.0.0.2", "198.51.100.9"),
            ("198.51.100.9,10.0.0.2", "198.51.100.9"),
            ("2001:db8::9, 10.0.0.2", "2001:db8::9"),
            # What the client itself wrote stands further to the left, and is not believed.
            ("1.2.3.4, 198.51.100.9, 10.0.0.2", "198.51.100.9"),
            ("<script>, 198.51.100.9, 10.0.0.2", "198.51.100.9"),
            # Whoever comes around the proxies can write what they like.
            ("10.0.0.2", None),
            ("", None),
            (None, None),
            ("unknown, 10.0.0.2", None),
        ],
    )
    def test_believes_the_trusted_proxies_and_nobody_else(
        self, behind_proxies, request_from, forwarded, address
    ):
        more = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
        assert behind_proxies(request_from("10.0.0.1", **more)) == Device(address, "curl/8")
