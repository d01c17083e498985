"""What is wrong with how this site keeps its sessions, and which rights does it need?"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import date
from functools import partial
from time import perf_counter, time

from django_redis_sessions import arrivals, census, conf, diagnosis, examinations, indexes, regions, walks
from django_redis_sessions.diagnosis import Finding, Severity, Stored
from django_redis_sessions.errors import CorruptRecord, SessionStoreError
from django_redis_sessions.operations import Operation
from django_redis_sessions.protection import FOREIGN
from django_redis_sessions.records import header_of
from django_redis_sessions.rights import Rights, rights_for

#: How many sessions are looked at unless somebody says otherwise.
USUAL_SAMPLE = 2000
#: How many protected ones are opened, and how many are read a second for it.
OPENED, USUAL_RATE = 20, 5000


def diagnose(sample: int = USUAL_SAMPLE) -> list[Finding]:
    """What was looked at and found: settings, servers, and about ``sample`` sessions; changes nothing.

    Connects as the site does. About twenty round trips for each server that holds sessions, and four or five
    for each 500 keys of the database that are looked at; where sessions are protected, some are opened.
    Raises nothing when Redis fails: that is a finding.
    """
    problems = diagnosis.of_problems(conf.problems())
    return problems or _together(regions.in_turn(partial(_diagnosing, sample)))


async def adiagnose(sample: int = USUAL_SAMPLE) -> list[Finding]:
    """Async twin of ``diagnose()``."""
    problems = diagnosis.of_problems(conf.problems())
    return problems or _together(await regions.ain_turn(partial(_diagnosing, sample)))


def acl_rules(*, command: bool = False, announces: bool = True, listens: bool = False) -> Rights:
    """The least rights that this site's Redis user needs; no round trip.

    With ``command``, also those that ``manage.py redis_sessions`` needs. Without ``announces``, sessions
    are ended all the same, and nobody is told; with ``listens``, also those of whoever wants to be told.
    ``Rights.rules()`` are lines for redis-cli.
    """
    return rights_for(
        conf.store().settings,
        command=command,
        announces=announces,
        listens=listens,
        leaves=conf.is_leaving(),
    )


def _together(answers: regions.Answers[list[Finding]]) -> list[Finding]:
    answers.all()
    return diagnosis.together(answers.results)


def _diagnosing(sample: int) -> Operation[list[Finding]]:
    site = conf.site()
    found = diagnosis.of_site(site)
    try:
        servers = yield from examinations.examine_all(time, perf_counter)
    except SessionStoreError as error:
        # Of a cluster nobody knows which servers there are.
        return [*found, *diagnosis.of_servers([_out_of_reach(error)], site, _today())]
    found += diagnosis.of_servers(servers, site, _today())
    if any(server.outage for server in servers):
        return found
    try:
        return [*found, *diagnosis.of_stored((yield from _stored(sample)), site)]
    except SessionStoreError as error:
        message = f"The sessions could not be looked at: {error}"
        return [*found, Finding(id="sessions", severity=Severity.NOTE, message=message, is_known=False)]


def _stored(sample: int) -> Operation[Stored]:
    store, counted = conf.store(), census.Census()

    def survey(_: int) -> Operation[census.Census]:
        return walks.survey(store.keys, counted, limit=sample)

    yield from walks.everywhere(survey)
    found = Stored(counted)
    if store.settings.user_index:
        found = Stored(counted, *(yield from indexes.coverage(store.keys, sample)))
    ring = store.codec.ring
    if any(protection and not ring.why_refused(protection, key) for protection, key in counted.protections):
        opening = _Opening()
        yield from walks.everywhere(opening.of_node)
        found = replace(found, opened=opening.opened, foreign=opening.foreign)
    if store.settings.fallback_engines and (adopted := (yield from arrivals.last(store.keys))) is not None:
        found = replace(found, quiet=max(0, int(time()) - adopted))
    return found


class _Opening:
    """Opens some of the protected sessions: a header tells of its key, and nothing of the generation."""

    def __init__(self) -> None:
        self.opened = self.foreign = 0

    def of_node(self, masters_left: int) -> Operation[int]:
        """Open one master's share of them."""
        limit = -(-max(0, OPENED - self.opened) // masters_left)
        return walks.sample(conf.store().keys, self._take, limit=limit, rate=USUAL_RATE)

    def _take(self, name: str, record: bytes) -> bool:
        store = conf.store()
        with suppress(CorruptRecord):
            header = header_of(record)
            if header.protection and not store.codec.ring.why_refused(header.protection, header.key_id):
                self.opened += 1
                self.foreign += _is_foreign(record, store.keys.handle_of(name))
        return True


def _is_foreign(record: bytes, handle: str) -> bool:
    try:
        conf.store().codec.open(record, handle)
    except CorruptRecord as error:
        # What a missing dictionary leaves unread, for example, is not about the seal.
        return error.reason == FOREIGN
    return False


def _out_of_reach(error: SessionStoreError) -> diagnosis.Server:
    return diagnosis.Server(address=error.address or "", outage=str(error))


def _today() -> date:
    return date.fromtimestamp(time())
