"""Which text do the sessions of many people share, and what would it save as a preset dictionary?

A dictionary is committed to a repository, so nothing may enter it that belongs to one visitor.
A payload is cut into words and what stands between them; only what stands in the sessions of at
least ``threshold()`` different people is looked at any further, and neighbours are joined only
where the two together stand in that many people's sessions again. So every fragment as a whole is
text that so many people share. People are told apart by the user marker; without one, each
session counts as a person. Where fragments meet in the dictionary, a text arises that nobody has.

Which fragments are worth their place is estimated as deflate would see it: text that matches
costs its distance and length, text that does not costs its bytes. What is used most stands last,
where it is reached with the fewest bits; room that is left in front goes to the package's own
dictionary, which is public text.

Pure computing: about five seconds for 5,000 sessions of 1 kB, and twenty bytes of memory for each of theirs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any

from django_redis_sessions.dictionaries import DICTIONARIES, NEWEST, Dictionary
from django_redis_sessions.errors import CorruptRecord, TooFewSessions
from django_redis_sessions.protection import KeyRing
from django_redis_sessions.records import Codec, Header

#: Fewer sessions say nothing about those to come.
FEWEST_SESSIONS = 100
#: A fragment has to stand in the sessions of so many people, or of this share of them if that is more.
FEWEST_PEOPLE, LEAST_SHARE = 10, 0.01
#: Every so many-th person is kept out of the training, to measure on.
HELD_OUT = 5
#: A dictionary that saves less than this share is not worth a file and a deployment.
WORTHWHILE = 0.05
#: Sessions that a sample takes, and bytes that a dictionary has, unless somebody says otherwise.
USUAL_SAMPLE, USUAL_SIZE = 5000, 4096
#: No more bytes of sessions than these are held.
LARGEST_SAMPLE = 8 * 1024 * 1024

# What follows in a session is seldom shared, and a record that long gains little by a dictionary.
_LONGEST_LOOK = 8192
# Bytes that a match in the dictionary costs, and what deflate makes of a byte that matches nothing.
_MATCH, _LITERAL = 2.7, 0.85

_cut = re.compile(rb"[0-9A-Za-z\x80-\xff]+|[^0-9A-Za-z\x80-\xff]+").findall

_Pair = tuple[int, int]
_Run = tuple[int, ...]
# What is left of one person's sessions: the runs of symbols that many people share.
_Shape = frozenset[_Run]


def threshold(people: int) -> int:
    """In how many people's sessions a fragment has to stand, among so many people."""
    return max(FEWEST_PEOPLE, -int(-people * LEAST_SHARE // 1))


@dataclass(frozen=True, slots=True)
class Fragment:
    """A text that the sessions of at least so many ``people`` share."""

    text: bytes
    people: int


@dataclass(frozen=True, slots=True)
class Gain:
    """Bytes of records that took no part in the training, all together, as they would be written with each way."""

    records: int
    stored: int
    zlib: int
    built_in: int
    trained: int

    @property
    def saved(self) -> float:
        """The share (0 to 1) that the new dictionary saves of the smallest of the others; below 0 if it loses."""
        best = min(self.stored, self.zlib, self.built_in)
        return 1 - self.trained / best if best else 0.0

    @property
    def is_worthwhile(self) -> bool:
        """Whether that is worth a file that every deployment has to carry along."""
        return self.saved >= WORTHWHILE


@dataclass(frozen=True, slots=True)
class Training:
    """A trained dictionary, what is in it, what it was made from, and what it saves."""

    dictionary: Dictionary
    fragments: tuple[Fragment, ...]
    sessions: int
    people: int
    #: In how many people's sessions each fragment stands at least.
    threshold: int
    #: Records that could not be opened, and were left out.
    unreadable: int
    gain: Gain

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; sizes in bytes, ``bytes_per_record`` on average."""
        gain = self.gain
        sizes = {name: getattr(gain, name) for name in ("stored", "zlib", "built_in", "trained")}
        return {
            "number": self.dictionary.number,
            "size": len(self.dictionary.text),
            "fragments": len(self.fragments),
            "sessions": self.sessions,
            "people": self.people,
            "threshold": self.threshold,
            "unreadable": self.unreadable,
            "held_out": gain.records,
            "bytes_per_record": {name: round(size / gain.records, 1) for name, size in sizes.items()},
            "saved_percent": round(100 * gain.saved, 1),
            "worthwhile": gain.is_worthwhile,
        }


@dataclass(slots=True)
class Sample:
    """Sessions to train on, of whoever they are; ``size`` in bytes."""

    codec: Codec
    unreadable: int = 0
    size: int = 0
    _opened: list[tuple[Header, bytes, int]] = field(default_factory=list)

    def add(self, record: bytes, digest: str) -> bool:
        """Take the record of the session with this digest; whether there is room for more."""
        try:
            header, payload = self.codec.open(record, digest)
        except CorruptRecord:
            self.unreadable += 1
        else:
            self._opened.append((header, payload, len(record)))
            self.size += len(payload)
        return not self.is_full

    @property
    def is_full(self) -> bool:
        """Whether it has taken as much as it can hold."""
        return self.size >= LARGEST_SAMPLE

    def __len__(self) -> int:
        return len(self._opened)

    def trained(self, number: int, size: int) -> Training:
        """A dictionary with this ``number`` and at most ``size`` bytes; ``TooFewSessions`` if nothing comes of it."""
        if len(self) < FEWEST_SESSIONS:
            found = f" of {len(self) + self.unreadable} that were found; `redis_sessions doctor` says why"
            raise TooFewSessions(
                f"at least {FEWEST_SESSIONS} sessions are needed, and {len(self)} could be read"
                f"{found if self.unreadable else ''}"
            )
        people = self._people()
        held_out = [each for number, person in enumerate(people) if not number % HELD_OUT for each in person]
        learnt = [person for number, person in enumerate(people) if number % HELD_OUT]
        least = threshold(len(learnt))
        shared = shared_fragments([[payload for _, payload, _ in person] for person in learnt], least)
        chosen = worthwhile_fragments(shared, size)
        if not chosen:
            raise TooFewSessions(f"the sessions of no {least} people share a text that is worth keeping")
        text = b"".join(fragment.text for fragment in chosen)
        dictionary = Dictionary(number, _end(DICTIONARIES[NEWEST], size - len(text)) + text)
        gain = _gain(held_out, dictionary, self.codec.ring)
        return Training(dictionary, tuple(chosen), len(self), len(people), least, self.unreadable, gain)

    def _people(self) -> list[list[tuple[Header, bytes, int]]]:
        """Sessions by person; whoever is not signed in is a person for each session."""
        known: dict[bytes, list[tuple[Header, bytes, int]]] = {}
        strangers = []
        for opened in self._opened:
            if opened[0].is_anonymous:
                strangers.append([opened])
            else:
                known.setdefault(opened[0].user, []).append(opened)
        return [*known.values(), *strangers]


def _end(text: bytes, size: int) -> bytes:
    return text[-size:] if size > 0 else b""


def _gain(held_out: Sequence[tuple[Header, bytes, int]], dictionary: Dictionary, ring: KeyRing) -> Gain:
    def written(codec: Codec) -> int:
        # What protects them makes them longer, whichever way they are compressed.
        codec = replace(codec, ring=ring)
        return sum(len(codec.seal(payload, header, "")) for header, payload, _ in held_out)

    return Gain(
        records=len(held_out),
        stored=sum(size for _, _, size in held_out),
        zlib=written(Codec("zlib")),
        built_in=written(Codec("dictionary")),
        trained=written(Codec(dictionary)),
    )


@dataclass(frozen=True, slots=True)
class Shared:
    """Tokens that stand one after another in the sessions of so many ``people``."""

    tokens: tuple[bytes, ...]
    people: int

    @property
    def text(self) -> bytes:
        """The tokens as they stand."""
        return b"".join(self.tokens)


def shared_fragments(people: Sequence[Sequence[bytes]], least: int) -> list[Shared]:
    """Every token, and every joined run of tokens, that stands in payloads of at least ``least`` people."""
    counted: Counter[bytes] = Counter()
    for payloads in people:
        counted.update({token for payload in payloads for token in _cut(payload[:_LONGEST_LOOK])})
    # In an order that does not depend on the process, so that the same sample gives the same dictionary.
    found = [Shared((token,), number) for token, number in sorted(counted.items()) if number >= least]
    symbols = {shared.tokens[0]: symbol for symbol, shared in enumerate(found)}
    shapes: Counter[_Shape] = Counter(
        frozenset(run for payload in payloads for run in _runs(payload, symbols)) for payloads in people
    )
    while pairs := _shared_pairs(shapes, least):
        shapes = _joined(shapes, pairs, found)
    return found


def _runs(payload: bytes, symbols: dict[bytes, int]) -> Iterator[_Run]:
    """Stretches of known tokens, as symbols; what is not shared parts them and is forgotten."""
    run: list[int] = []
    for symbol in map(symbols.get, _cut(payload[:_LONGEST_LOOK])):
        if symbol is not None:
            run.append(symbol)
        elif run:
            yield tuple(run)
            run = []
    if run:
        yield tuple(run)


def _shared_pairs(shapes: Counter[_Shape], least: int) -> dict[_Pair, int]:
    """Neighbours that stand side by side in the sessions of at least ``least`` people, and of how many."""
    counted: Counter[_Pair] = Counter()
    for shape, people in shapes.items():
        for pair in {pair for run in shape for pair in pairwise(run)}:
            counted[pair] += people
    return {pair: people for pair, people in counted.items() if people >= least}


def _joined(shapes: Counter[_Shape], pairs: dict[_Pair, int], found: list[Shared]) -> Counter[_Shape]:
    """The shapes with shared pairs made one symbol each; adds the new ones to ``found``.

    Each run gets shorter by a quarter at least where all of it is shared, so few rounds are needed.
    """
    symbols: dict[_Pair, int] = {}
    runs: dict[_Run, _Run] = {}
    after: Counter[_Shape] = Counter()
    for shape, people in shapes.items():
        for run in shape:
            if run in runs:
                continue
            places = _places(run, pairs)
            for pair in places.values():
                if pair not in symbols:
                    symbols[pair] = len(found)
                    found.append(Shared(found[pair[0]].tokens + found[pair[1]].tokens, pairs[pair]))
            runs[run] = tuple(
                symbols[places[at]] if at in places else symbol
                for at, symbol in enumerate(run)
                if at - 1 not in places
            )
        # A single symbol has no neighbour any more.
        after[frozenset(runs[run] for run in shape if len(runs[run]) > 1)] += people
    return after


def _places(run: _Run, pairs: dict[_Pair, int]) -> dict[int, _Pair]:
    """Where in a run two neighbours become one: the most shared first, and none of them twice."""
    # Equally shared pairs are taken in an order of their own, so a text is parsed alike wherever it stands.
    ranked = sorted(
        ((pairs[pair], pair, at) for at, pair in enumerate(pairwise(run)) if pair in pairs), reverse=True
    )
    places: dict[int, _Pair] = {}
    for _, pair, at in ranked:
        if at - 1 not in places and at + 1 not in places:
            places[at] = pair
    return places


def worthwhile_fragments(shared: Iterable[Shared], size: int) -> list[Fragment]:
    """The fragments that save most in at most ``size`` bytes, those that are used most last."""
    covered: set[bytes | tuple[bytes, bytes]] = set()
    chosen: dict[bytes, Fragment] = {}
    room = size

    def worth(candidate: Shared) -> float:
        """Estimated bytes that it saves in all sessions together, given what is in the dictionary already."""
        tokens = candidate.tokens
        saved = sum(_LITERAL * len(token) - _MATCH for token in tokens if token not in covered)
        saved += _MATCH * sum(edge not in covered for edge in pairwise(tokens))
        return candidate.people * saved

    # What is chosen makes the rest worth less, so only the best of outdated estimates has to be made anew.
    waiting = [(-worth(candidate), number, candidate) for number, candidate in enumerate(shared)]
    heapify(waiting)
    while waiting:
        _, number, candidate = heappop(waiting)
        estimate = worth(candidate)
        if waiting and -estimate > waiting[0][0]:
            if estimate > 0:
                heappush(waiting, (-estimate, number, candidate))
            continue
        text = candidate.text
        inside = [part for part in chosen if part in text]
        needed = len(text) - sum(map(len, inside))
        if estimate > 0 and needed <= room and not any(text in whole for whole in chosen):
            for part in inside:
                del chosen[part]
            room -= needed
            chosen[text] = Fragment(text, candidate.people)
            covered.update(candidate.tokens, pairwise(candidate.tokens))
    return sorted(chosen.values(), key=lambda each: (each.people * len(each.text), each.text))
