"""From which device does a request come, as far as the project wants it recorded?

``DEVICES`` decides, with a word or with a function of the project's, which is imported when it is
first needed. Whatever that function does, the request goes on: nothing is recorded then, and the
log says why once in each process.
"""

from __future__ import annotations

import logging

from django.http import HttpRequest

from django_redis_sessions import conf
from django_redis_sessions.configuration import DEVICES, SETTING, Problem
from django_redis_sessions.devices import Device, network
from django_redis_sessions.references import function_named

_log = logging.getLogger("django_redis_sessions")


def device_of(request: HttpRequest) -> Device | None:
    """What is to be recorded of where ``request`` comes from: nothing if without parts, and no change if None."""
    devices = conf.store().settings.devices
    if devices is None:
        return Device()
    if devices not in DEVICES:
        return _asked(devices, request)
    address, agent = request.META.get("REMOTE_ADDR"), request.META.get("HTTP_USER_AGENT")
    if devices == "agent":
        return Device(None, agent)
    device = Device(address, agent)
    return device.masked() if devices == "masked" else device


def network_of(request: HttpRequest) -> str | None:
    """Whose budget an anonymous session of ``request`` comes from; None if nobody can tell.

    The address that ``DEVICES`` has a function for, else ``REMOTE_ADDR``, whatever of it may be recorded.
    """
    devices = conf.store().settings.devices
    if devices is None or devices in DEVICES:
        return network(request.META.get("REMOTE_ADDR"))
    device = _asked(devices, request)
    return None if device is None else network(device.address)


def problem() -> Problem | None:
    """What is wrong with the function that ``DEVICES`` names, if it names one."""
    devices = conf.store().settings.devices
    if devices in DEVICES or devices is None:
        return None
    try:
        function_named(devices)
    except Exception as error:  # whatever the project's module raises while it is imported
        return Problem(
            "E005",
            f"{SETTING}['DEVICES'] names {devices}, which cannot be used: {error}.",
            "It has to be a function that takes a request and gives a Device or None.",
        )
    return None


def _asked(path: str, request: HttpRequest) -> Device | None:
    try:
        device = function_named(path)(request)
        if device is not None and not isinstance(device, Device):
            raise TypeError(f"it gave {type(device).__name__} in place of a Device or None")
    except Exception as error:  # whatever the project's function raises
        _warn_once(path, error)
        return None
    return device


_warned: set[str] = set()


def _warn_once(path: str, error: Exception) -> None:
    if path not in _warned:
        _warned.add(path)
        _log.warning("Where visitors come from is not recorded: %s failed", path, exc_info=error)
