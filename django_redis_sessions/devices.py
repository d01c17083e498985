"""From which device does a visitor come?

Of signed-in sessions ``visitors`` finds out and the record keeps it, as one entry among the
session's data: ``{"_session_device": {"address": "203.0.113.7", "agent": "Mozilla/5.0 …"}}``, where
either part may be missing. Both parts are what a client or a proxy has claimed, and nothing here
believes them: what is no address is none, and a user agent is short and printable.

``described()`` puts a user agent into words for people. Browsers claim to be one another for the
sake of old sites, so it goes by the marks that each has for itself, and says nothing it cannot see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

#: The session's key for its device.
KEY = "_session_device"
#: A user agent is cut behind so many characters.
LONGEST_AGENT = 256
#: So many leading bits are left of an address that is masked.
BITS_OF_IPV4, BITS_OF_IPV6 = 24, 48
#: So many leading bits of an IPv6 address are one customer's, who may change the rest at will.
BITS_OF_CUSTOMER = 64
#: What a user agent is called that says nothing known.
UNKNOWN = "Unknown device"

_ADDRESS, _AGENT = "address", "agent"
# No address is longer, with blanks around it and an interface.
_LONGEST_ADDRESS = 100


@dataclass(frozen=True, slots=True)
class Device:
    """An IP address and a user agent; None in place of what is missing, or is none."""

    address: str | None = None
    user_agent: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", _canonical(self.address) if _is_short(self.address) else None)
        object.__setattr__(self, "user_agent", _cleaned(self.user_agent))

    def masked(self) -> Device:
        """The same with less of its address."""
        return Device(masked(self.address), self.user_agent)

    @property
    def entry(self) -> dict[str, str]:
        """What a session holds of it under ``KEY``; empty if that is nothing."""
        parts = ((_ADDRESS, self.address), (_AGENT, self.user_agent))
        return {name: value for name, value in parts if value is not None}


def device_in(data: Mapping[str, Any]) -> Device:
    """The device that a session's data names; without parts where it names none, or nonsense."""
    entry = data.get(KEY)
    return Device(entry.get(_ADDRESS), entry.get(_AGENT)) if isinstance(entry, dict) else Device()


def masked(address: Any) -> str | None:
    """The first address of the network that ``address`` is in; None for what is no address.

    Of IPv4 the last 8 bits are made zero, of IPv6 the last 80.
    """
    parsed = _parsed(address) if _is_short(address) else None
    if parsed is None:
        return None
    bits = BITS_OF_IPV4 if parsed.version == 4 else BITS_OF_IPV6
    return str(ip_network((parsed, bits), strict=False).network_address)


def network(address: Any) -> str | None:
    """What one visitor can hardly change of an address: IPv4 as it is, of IPv6 the first 64 bits."""
    parsed = _parsed(address) if _is_short(address) else None
    if parsed is None:
        return None
    bits = 32 if parsed.version == 4 else BITS_OF_CUSTOMER
    return str(ip_network((parsed, bits), strict=False).network_address)


def _is_short(address: Any) -> bool:
    # ip_address() takes numbers and bytes for addresses as well.
    return isinstance(address, str) and len(address) <= _LONGEST_ADDRESS


# A request needs it twice, and the next one of the same visitor again.
@lru_cache(maxsize=1024)
def _canonical(address: str) -> str | None:
    parsed = _parsed(address)
    return None if parsed is None else str(parsed)


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        # What stands behind % is a network interface of this server.
        parsed = ip_address(address.strip().partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return parsed if mapped is None else mapped


def _cleaned(user_agent: Any) -> str | None:
    if not isinstance(user_agent, str):
        return None
    text = user_agent[: 4 * LONGEST_AGENT]
    if not text.isprintable():
        text = "".join(filter(str.isprintable, text))
    return text[:LONGEST_AGENT].strip() or None


# The first whose mark stands in the text. Nearly all have Safari's, most have Chrome's.
_BROWSERS = (
    ("Edge", ("Edg/", "EdgA/", "EdgiOS/", "Edge/")),
    ("Opera", ("OPR/", "OPT/", "OPiOS/", "Opera/", "Opera ")),
    ("Samsung Internet", ("SamsungBrowser/",)),
    ("Firefox", ("Firefox/", "FxiOS/")),
    ("Chrome", ("Chrome/", "CriOS/", "Chromium/")),
    ("Internet Explorer", ("MSIE ", "Trident/")),
    ("Safari", ("Safari/",)),
)
_SYSTEMS = (
    ("Windows Phone", ("Windows Phone",)),
    ("iPhone", ("iPhone", "iPod")),
    ("iPad", ("iPad",)),
    ("Android", ("Android",)),
    ("ChromeOS", ("CrOS ",)),
    ("Windows", ("Windows",)),
    ("macOS", ("Macintosh",)),
    ("Linux", ("Linux", "X11")),
)
_APPLE = ("iPhone", "iPad", "macOS")
# Robots call themselves one. CUBOT makes telephones.
_robot = re.compile(r"(?<![\w-])(?!cubot)[\w-]*(?:bot|spider|crawler)(?![a-z])", re.IGNORECASE)
_known_robot = re.compile(r"facebookexternalhit|meta-externalagent|Mediapartners-Google|HeadlessChrome")
# Programs that claim to be no browser put their name and version first.
_program = re.compile(r"(?!Mozilla/|Opera/)([A-Za-z][\w.-]{0,39})/v?\d")


def described(user_agent: str | None) -> str:
    """A few words for a person, such as "Firefox on Windows", "Safari on iPhone", "Googlebot" or "curl".

    ``UNKNOWN`` for what it does not recognise, nothing for no user agent. An iPad that asks for
    desktop pages says that it is a Mac, and so does this.
    """
    text = _cleaned(user_agent)
    if text is None:
        return ""
    if robot := _robot.search(text) or _known_robot.search(text):
        return robot[0]
    if program := _program.match(text):
        return program[1]
    system = _first(_SYSTEMS, text)
    browser = _first(_BROWSERS, text)
    if browser == "Safari" and system not in _APPLE:
        browser = None  # one of the many that claim it
    return " on ".join(filter(None, (browser, system))) or UNKNOWN


def _first(named: tuple[tuple[str, tuple[str, ...]], ...], text: str) -> str | None:
    return next((name for name, marks in named if any(mark in text for mark in marks)), None)
