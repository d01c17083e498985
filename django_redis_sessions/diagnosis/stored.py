"""What can be said of the sessions themselves, from a sample?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from django_redis_sessions.configuration import SETTING
from django_redis_sessions.diagnosis.facts import Site, Stored
from django_redis_sessions.diagnosis.findings import SETTINGS, SHELL, Finding, error, note, ok, span, warning
from django_redis_sessions.protection import ENCRYPTED, NAMES, SIGNED, UNPROTECTED, Key, KeyRing, described
from django_redis_sessions.sizes import WARNED_FROM

#: Bytes: what hardly any session should exceed, and what none should.
LARGE, VERY_LARGE = 16 * 1024, 128 * 1024
#: The share of anonymous sessions that is worth a word, and of how many sessions at least.
MOSTLY, MANY = 0.8, 1000


def of_stored(stored: Stored, site: Site) -> list[Finding]:
    """Everything."""
    return [
        finding
        for rule in (_ttl, _readable, _protection, _anonymous, _size, _index, _fallback)
        for finding in rule(stored, site)
    ]


def _ttl(stored: Stored, site: Site) -> Iterator[Finding]:
    if stored.census.without_ttl:
        message = (
            f"{stored.census.without_ttl:,} of {stored.census.sessions:,} sessions have no ttl and never end."
        )
        yield warning("without-ttl", message, SHELL, "manage.py redis_sessions purge --idle 30d")
    else:
        yield ok("without-ttl", f"Each of {stored.census.sessions:,} sessions has a ttl.")


def _readable(stored: Stored, site: Site) -> Iterator[Finding]:
    if stored.census.unreadable:
        message = (
            f"{stored.census.unreadable:,} of {stored.census.sessions:,} records are no sessions that this version "
            f"knows: another program uses the prefix, or a newer version wrote them."
        )
        yield warning("unreadable", message, SETTINGS, f'{SETTING}["PREFIX"] = "…"')


_REWRITE = "manage.py redis_sessions rewrite"
# What makes records readable again that are not, by the protection that they have.
_REFUSED = {
    UNPROTECTED: f'{SETTING}["ACCEPT_UNPROTECTED"] = True  # until `rewrite` is done',
    ENCRYPTED: f'{SETTING}["ENCRYPTION_KEYS"] = […, "THE KEY OF BEFORE"]',
    SIGNED: 'SECRET_KEY_FALLBACKS = ["THE SECRET_KEY OF BEFORE"]',
}


def _protection(stored: Stored, site: Site) -> Iterator[Finding]:
    found, ring = stored.census.protections, site.ring
    refused = {how: ring.why_refused(*how) for how in found if how[0] in NAMES}
    for how, why in refused.items():
        if why is not None:
            message = (
                f"{found[how]:,} of {stored.census.sessions:,} sessions are of no use ({described(*how)}): "
                f"{why.replace('it ', 'each ', 1)}. "
                f"Their visitors are signed out."
            )
            line = (
                _REFUSED[how[0]] if ring.accepts_signed or how[0] != SIGNED else f'{SETTING}["SIGN"] = True'
            )
            yield error("protection", message, SETTINGS, line)
    if stored.foreign:
        message = (
            f"{stored.foreign:,} of {stored.opened:,} protected sessions that were opened are of no use, although "
            f"their keys are there: each was changed, or sealed for another GENERATION. Their visitors are signed out."
        )
        line = f'{SETTING}["GENERATION"] = …  # the number of before, unless it was raised to end them'
        yield error("protection", message, SETTINGS, line)
    if stored.foreign or any(refused.values()):
        return
    if ring.writing is None and not any(protection for protection, _ in found):
        message = (
            "Nothing is encrypted or signed: who reads Redis reads sessions, and who writes to it makes them."
        )
        yield ok("protection", message)
        return
    left = sum(count for how, count in found.items() if how != ring.written)
    if left and ring.writing is None:
        message = (
            f"{left:,} of {stored.census.sessions:,} sessions are protected, and new ones are not ({_mix(stored)}). "
            f"`rewrite` takes the protection away; if you are beginning with it, the line is the next step instead."
        )
        yield note("protection", message, SETTINGS, _begin(ring))
    elif left:
        message = f"{left:,} of {stored.census.sessions:,} sessions are not protected as new ones are ({_mix(stored)})."
        yield note("protection", message, SHELL, _REWRITE)
    else:
        opened = f"; of {stored.opened:,} that were tried, all open" if stored.opened else ""
        yield ok(
            "protection", f"Each of {stored.census.sessions:,} sessions is protected as new ones are{opened}."
        )
    yield from _acceptance(stored, site)
    yield from _older_keys(stored, site)


def _begin(ring: KeyRing) -> str:
    if ring.encrypting:
        return f'{SETTING}["ENCRYPTION_KEYS"] = ["THE KEY", …]  # without None'
    return f'{SETTING}["SIGN"] = True'


def _acceptance(stored: Stored, site: Site) -> Iterator[Finding]:
    if site.ring.writing is None or not site.ring.accepts_unprotected:
        return
    left = stored.census.protections[UNPROTECTED, b""]
    message = (
        "Sessions that are not protected are accepted: whoever can write to Redis can sign in as anybody."
    )
    if left:
        message += f" {left:,} of {stored.census.sessions:,} still are such, and have to be rewritten first."
    yield warning(
        "accept-unprotected", message, SETTINGS, f'del {SETTING}["ACCEPT_UNPROTECTED"]  # after `rewrite`'
    )


# Where a key belongs that new records are to be written with.
_TO_WRITE = {ENCRYPTED: "to the front", SIGNED: "to SECRET_KEY"}


def _older_keys(stored: Stored, site: Site) -> Iterator[Finding]:
    """Keys that are there for reading alone: whether they can go."""
    ring, found = site.ring, stored.census.protections
    # While nothing is encrypted yet, the keys are there for what is to come.
    numbered: Sequence[tuple[int, Key]]
    if ring.written[0] == ENCRYPTED:
        setting, end = f"{SETTING}['ENCRYPTION_KEYS']", ""
        numbered = [*enumerate(ring.encrypting, 1)][1:]
    elif ring.written[0] == SIGNED:
        # Django needs those for the hashes inside of sessions, which it renews when their visitors come.
        setting, end = "SECRET_KEY_FALLBACKS", " What else Django needs it for is not looked at."
        numbered = [*enumerate(ring.signing)][1:]
    else:
        return
    for number, key in numbered:
        called = f"key number {number} of {setting} (id {key.id.hex()})"
        used = found[key.protection, key.id]
        if used:
            message = f"{used:,} of {stored.census.sessions:,} sessions still need {called}."
            yield note("older-keys", message, SHELL, _REWRITE)
        elif stored.census.is_complete:
            use = f"remove it if it is an old one, move it {_TO_WRITE[key.protection]} if it is the next"
            yield ok("older-keys", f"No record needs {called}: {use}.{end}")
        else:
            message = f"None of the {stored.census.sessions:,} sessions that were looked at needs {called}."
            yield note("older-keys", message, SHELL, f"{_REWRITE} --dry-run  # looks at all of them")


def _mix(stored: Stored) -> str:
    """How the sessions are protected, in percent."""
    found = stored.census.protections
    return "; ".join(
        f"{described(*how)}: {count / stored.census.sessions:.0%}" for how, count in found.most_common()
    )


def _anonymous(stored: Stored, site: Site) -> Iterator[Finding]:
    census = stored.census
    share = census.anonymous / (census.sessions or 1)
    message = f"{share:.0%} of {census.sessions:,} sessions are anonymous."
    shortened = site.settings.anonymous_ttl is not None or site.settings.probation_ttl is not None
    if share > MOSTLY and census.sessions >= MANY and not shortened:
        yield note("anonymous", message, SETTINGS, f'{SETTING}["ANONYMOUS_TTL"] = 86400')
    else:
        yield ok("anonymous", message)


def _size(stored: Stored, site: Site) -> Iterator[Finding]:
    usual, largest = stored.census.size_at(0.95), stored.census.size_at(1.0)
    limit = site.settings.max_size
    message = f"The largest record has {largest:,} bytes; 95 % have no more than {usual:,}."
    # Which keys of a session are large, only its project can change.
    line = "request.session[…]  # keep the key of a row or a file, not its content"
    if limit is not None and largest > limit:
        message += (
            f" MAX_SIZE allows {limit:,}: what is larger is read, and stored as long as it does not grow."
        )
        yield warning("size", message, "views.py", line)
    elif largest > min(VERY_LARGE, (limit or math.inf) / WARNED_FROM):
        yield warning("size", f"{message} Every request of that visitor fetches all of it.", "views.py", line)
    elif usual > LARGE:
        yield note("size", message, "views.py", line)
    else:
        yield ok("size", message)


def _index(stored: Stored, site: Site) -> Iterator[Finding]:
    if stored.signed_in is None or stored.unlisted is None:
        yield note(
            "index",
            "USER_INDEX is off: to find or end a user's sessions, all have to be looked at.",
            SETTINGS,
            f'{SETTING}["USER_INDEX"] = True',
        )
    elif stored.unlisted:
        message = (
            f"{stored.unlisted:,} of {stored.signed_in:,} signed-in sessions are not in their user's index: "
            f"nobody finds them to end them."
        )
        yield warning("index", message, SHELL, "manage.py redis_sessions reindex")
    else:
        yield ok("index", f"Each of {stored.signed_in:,} signed-in sessions is in its user's index.")


def _fallback(stored: Stored, site: Site) -> Iterator[Finding]:
    if not site.settings.fallback_engines:
        return
    line = f'del {SETTING}["FALLBACK_ENGINES"]'
    cost = "each cookie that nobody knows, and each sign-in and sign-out, asks them for nothing"
    # The other engines go by Django's setting, whatever TTL says here.
    longest = max(site.cookie_age, site.idle_life)
    if stored.quiet is None:
        message = f"No session has come from FALLBACK_ENGINES yet. After {span(longest)} without one, {cost}."
        yield note("fallback", message, SETTINGS, f"{line}  # by then")
    elif stored.quiet > longest:
        message = f"For {span(stored.quiet, exact=False)} no session has come from FALLBACK_ENGINES: {cost}."
        yield warning("fallback", message, SETTINGS, line)
    else:
        yield ok("fallback", f"A session came from FALLBACK_ENGINES {span(stored.quiet, exact=False)} ago.")
