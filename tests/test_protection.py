"""Records that nobody else can read, or make: sealed for one session, under keys that change."""

import base64
import importlib.util
import io
import json
import logging
import re
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise, permutations
from threading import Event

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions import conf, metrics, operations, protection, records, rewriting, sessions, walks
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.census import Census
from django_redis_sessions.configuration import Settings, problems, settings_from
from django_redis_sessions.diagnosis import Site, Stored, of_stored
from django_redis_sessions.dictionaries import Dictionary
from django_redis_sessions.errors import CorruptRecord, SessionStoreMisconfigured, SessionStoreUnavailable
from django_redis_sessions.executors import run
from django_redis_sessions.keys import digest
from django_redis_sessions.protection import KeyRing, described, key_from
from django_redis_sessions.records import Codec, Header, header_of, owner_of, revision_of
from django_redis_sessions.sessions import Severity
from tests.test_records import HEADER, LOGIN

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
SECRET, RETIRED = b"the secret key", b"the one before"
ALICE, BOB = "A" * 24, "B" * 24
PLAIN = KeyRing.of((), (SECRET,))
ENCRYPTED = KeyRing.of((NEW,), (SECRET,))
SIGNED = KeyRing.of((), (SECRET,), sign=True)

rings = pytest.mark.parametrize("ring", [ENCRYPTED, SIGNED], ids=["encrypted", "signed"])


def sealed(ring, payload=LOGIN, header=HEADER, of=ALICE, **codec):
    return Codec(ring=ring, **codec).seal(payload, header, of)


def opened(ring, record, of=ALICE, **codec):
    return Codec(ring=ring, **codec).open(record, of)[1]


def refused(ring, record, of=ALICE, **codec):
    with pytest.raises(CorruptRecord) as caught:
        opened(ring, record, of, **codec)
    return caught.value.reason


class TestAProtectedRecord:
    @rings
    @pytest.mark.parametrize("compression", ["dictionary", "zlib", None])
    @given(payload=st.binary(max_size=5000))
    def test_opens_to_what_was_sealed(self, ring, compression, payload):
        record = sealed(ring, payload, compression=compression)
        assert opened(ring, record) == payload
        assert header_of(record)[:4] == HEADER[:4]

    @rings
    @given(position=st.integers(min_value=0), flip=st.integers(1, 255))
    def test_with_one_changed_byte_is_refused_or_lives_otherwise(self, ring, position, flip):
        record = bytearray(sealed(ring))
        position %= len(record)
        record[position] ^= flip
        if 16 <= position < 24:
            assert opened(ring, bytes(record)) == LOGIN
        else:
            assert refused(ring, bytes(record))

    @rings
    def test_with_any_bit_changed_is_refused_or_lives_otherwise(self, ring):
        """All of them once: above, chance decides."""
        original = sealed(ring)
        for position in range(len(original)):
            for bit in range(8):
                record = bytearray(original)
                record[position] ^= 1 << bit
                if 16 <= position < 24:
                    assert opened(ring, bytes(record)) == LOGIN
                else:
                    assert refused(ring, bytes(record)), position

    @rings
    @given(length=st.integers(min_value=0), more=st.binary(min_size=1, max_size=20))
    def test_that_is_cut_off_or_longer_is_refused(self, ring, length, more):
        record = sealed(ring)
        assert refused(ring, record[: length % len(record)])
        assert refused(ring, record + more)

    @rings
    @given(body=st.binary(max_size=40))
    def test_with_any_other_body_is_refused(self, ring, body):
        assert refused(ring, sealed(ring, b"")[: 28 + len(HEADER.user)] + body)

    @rings
    @given(start=st.binary(min_size=5, max_size=5), rest=st.binary(max_size=120))
    def test_never_raises_anything_but_that_it_is_none(self, ring, start, rest):
        known = b"\x01\x00\x01\x02" + bytes([ring.writing.protection])
        ids = rest[:19] + ring.writing.id + rest[19:]
        for record in (start + rest, known + rest, known + ids):
            assert refused(ring, record)

    @rings
    def test_of_another_session_is_refused(self, ring):
        assert refused(ring, sealed(ring, of=BOB), of=ALICE) == protection.FOREIGN

    @rings
    def test_of_another_generation_is_refused(self, ring):
        for one, other in permutations((ring, replace(ring, generation=1), replace(ring, generation=2)), 2):
            assert refused(one, sealed(other)) == protection.FOREIGN

    @rings
    def test_cannot_be_put_together_from_two(self, ring):
        """Even of the same session, at different times."""
        one, other = sealed(ring), sealed(ring, LOGIN.replace(b"4211", b"4212"))
        for cut in range(5, len(one)):
            if cut not in (16, 24) and one[:cut] + other[cut:] not in (one, other):
                mixed = one[:cut] + other[cut:]
                if mixed[:16] + mixed[24:] not in (one[:16] + one[24:], other[:16] + other[24:]):
                    assert refused(ring, mixed), cut

    @rings
    def test_that_claims_to_need_no_key_is_refused(self, ring):
        for record in (sealed(PLAIN), stripped(sealed(ring))):
            assert refused(ring, record) == "it is not protected, and has to be"

    def test_that_is_signed_where_it_has_to_be_encrypted_is_refused(self):
        assert refused(ENCRYPTED, sealed(SIGNED)) == "it is signed, and has to be encrypted"

    def test_of_an_unknown_key_is_refused(self):
        other = KeyRing.of((OLD,), (RETIRED,), sign=True)
        assert (
            refused(other, sealed(ENCRYPTED)) == "it is encrypted with a key that this process does not have"
        )
        assert refused(other, sealed(SIGNED)) == "it is signed with a key that this process does not have"

    @rings
    def test_with_another_dictionary_of_that_number_is_refused(self, ring):
        one, other = Dictionary(200, b"text of one"), Dictionary(200, b"text of two")
        record = sealed(ring, b"text of one " * 9, compression=one)
        assert opened(ring, record, compression=one)
        assert refused(ring, record, compression=other) == protection.FOREIGN

    @rings
    def test_lets_a_touch_overwrite_the_life_in_place(self, ring):
        record = bytearray(sealed(ring))
        record[records.LIFE_OFFSET : records.LIFE_OFFSET + 8] = records.life(1_800_000_000, 77)
        header, payload = Codec(ring=ring).open(bytes(record), ALICE)
        assert (header.touched, header.ttl, payload) == (1_800_000_000, 77, LOGIN)

    @rings
    def test_tells_its_header_without_a_key(self, ring):
        record = sealed(ring)
        assert owner_of(record) == HEADER.user
        assert header_of(record[: records.LONGEST_HEADER]).key_id == ring.writing.id
        assert described(*ring.written) == f"{protection.NAMES[record[4]]}, key {record[24:28].hex()}"

    def test_is_hardly_longer(self):
        plain = len(sealed(PLAIN))
        assert (len(sealed(ENCRYPTED)) - plain, len(sealed(SIGNED)) - plain) == (22, 16)

    def test_is_unreadable_without_the_key_if_encrypted(self):
        payload = b"a text that says something" * 4
        assert payload in sealed(PLAIN, payload, compression=None)
        assert payload in sealed(SIGNED, payload, compression=None)
        assert b"says" not in sealed(ENCRYPTED, payload, compression=None)
        assert len({sealed(ENCRYPTED, payload, compression=None)[37:] for _ in range(100)}) == 100


def stripped(record):
    """``record`` as if it had never been protected, with a checksum that fits."""
    head = record[:4] + b"\0" + record[5:16]
    return head + record[16:24] + zlib.crc32(record[28:], zlib.crc32(head)).to_bytes(4) + record[28:]


class TestTheProtectedFormat:
    """What was written by an earlier version has to open for ever: these bytes are never edited."""

    def test_of_encrypted_records_is_frozen(self):
        record = bytes.fromhex(FROZEN_ENCRYPTED)
        assert opened(replace(ENCRYPTED, generation=7), record) == LOGIN

    def test_of_signed_records_is_frozen(self):
        record = bytes.fromhex(FROZEN_SIGNED)
        assert opened(replace(SIGNED, generation=7), record) == LOGIN

    def test_has_ids_of_keys_that_are_frozen(self):
        assert ENCRYPTED.writing.id.hex() == FROZEN_IDS[0]
        assert SIGNED.writing.id.hex() == FROZEN_IDS[1]


FROZEN_ENCRYPTED = (
    "0100020201d138f86417dc6553f100096553f164001275006357176d6e696e65627974657343bb203d1932d4f41293a7fe"
    "47212c65038852abbbd3e78e9f59c980d3f3e53ad39809fcff303502296e4f93baf7559b88008e036294a251c66385d1fa"
    "1e0e2268"
)
FROZEN_SIGNED = (
    "01000202024efa6cf3b7be6553f100096553f164001275006bd713786e696e6562797465733b0c1f26f9a3d6c9a1f9a0c5"
    "f8fd6d21aa0f9a4c9f3f1d6e0a3c8b7f9e5d4c3bc37488899121addc520b007263ee11e747113b35c6f9f4f5e63200"
)
FROZEN_IDS = ("6357176d", "6bd71378")


class TestARingOfKeys:
    def test_writes_with_the_first_and_opens_with_all(self):
        both = KeyRing.of((NEW, OLD))
        assert header_of(sealed(both)).key_id == ENCRYPTED.writing.id
        assert opened(both, sealed(KeyRing.of((OLD,)))) == LOGIN
        assert refused(ENCRYPTED, sealed(KeyRing.of((OLD,))))

    def test_signs_with_the_secret_key_and_opens_with_its_fallbacks(self):
        both = KeyRing.of((), (SECRET, RETIRED), sign=True)
        before = sealed(KeyRing.of((), (RETIRED,), sign=True))
        assert opened(both, before) == LOGIN
        assert opened(both, sealed(SIGNED)) == opened(SIGNED, sealed(both)) == LOGIN
        assert refused(SIGNED, before)

    @pytest.mark.parametrize(
        "steps",
        [
            # Nothing, then encrypted.
            [
                KeyRing.of((), (SECRET,)),
                KeyRing.of((None, NEW), (SECRET,)),
                KeyRing.of((NEW,), (SECRET,), accept_unprotected=True),
                KeyRing.of((NEW,), (SECRET,)),
            ],
            # Nothing, then signed.
            [
                KeyRing.of((), (SECRET,)),
                KeyRing.of((), (SECRET,), sign=True, accept_unprotected=True),
                KeyRing.of((), (SECRET,), sign=True),
            ],
            # Signed, then encrypted.
            [
                KeyRing.of((), (SECRET,), sign=True),
                KeyRing.of((None, NEW), (SECRET,), sign=True),
                KeyRing.of((NEW,), (SECRET,), sign=True),
                KeyRing.of((NEW,), (SECRET,)),
            ],
            # Another key.
            [KeyRing.of((OLD,)), KeyRing.of((OLD, NEW)), KeyRing.of((NEW, OLD)), KeyRing.of((NEW,))],
            # Another SECRET_KEY: SECRET is NEW here.
            [
                KeyRing.of((), (RETIRED,), sign=True),
                KeyRing.of((), (RETIRED, SECRET), sign=True),
                KeyRing.of((), (SECRET, RETIRED), sign=True),
                KeyRing.of((), (SECRET,), sign=True),
            ],
        ],
        ids=["encrypting", "signing", "signed to encrypted", "new key", "new secret key"],
    )
    def test_can_change_one_process_after_the_other_in_these_steps_and_back(self, steps):
        """At each step, processes of two neighbours serve the same sessions; rewriting comes before the last."""
        for here, there in pairwise(steps):
            if there is not steps[-1]:
                assert opened(here, sealed(there)) == opened(there, sealed(here)) == LOGIN
        assert opened(steps[-1], Codec(ring=steps[-2]).reseal(sealed(steps[-2]), ALICE)) == LOGIN
        assert refused(steps[-1], sealed(steps[0]))

    def test_shows_no_key(self):
        ring = KeyRing.of((NEW, OLD), (SECRET,), sign=True)
        settings = settings_from({"ENCRYPTION_KEYS": [NEW, OLD]})
        for shown in (repr(ring), repr(settings), repr(Codec(ring=ring)), str(ring)):
            assert repr(NEW)[2:-1] not in shown
            assert repr(OLD)[2:-1] not in shown
            assert NEW.hex() not in shown

    def test_has_a_key_of_its_own_for_each_purpose(self):
        """A project that makes its key from SECRET_KEY signs with another one."""
        ring = KeyRing.of((NEW,), (NEW,), sign=True)
        assert len({key.id for key in ring}) == len({key.secret for key in ring}) == 2


class TestResealing:
    def test_changes_the_protection_and_nothing_else(self):
        before = sealed(PLAIN)
        codec = Codec(ring=replace(ENCRYPTED, accepts_unprotected=True))
        after = codec.reseal(before, ALICE)
        header, payload = codec.open(after, ALICE)
        assert payload == LOGIN
        assert header._replace(protection=0, key_id=b"") == header_of(before)
        assert codec.is_current(header)
        assert not codec.is_current(header_of(before))
        assert revision_of(after) == revision_of(before)

    def test_of_what_does_not_open_is_refused(self):
        with pytest.raises(CorruptRecord):
            Codec(ring=ENCRYPTED).reseal(sealed(PLAIN), ALICE)


class TestTheSettings:
    @pytest.mark.parametrize(
        "value",
        [
            NEW,
            NEW.hex(),
            NEW.hex().upper(),
            base64.b64encode(NEW).decode(),
            base64.urlsafe_b64encode(NEW).decode(),
        ],
    )
    def test_take_a_key_in_each_form(self, value):
        assert key_from(value) == NEW
        assert settings_from({"ENCRYPTION_KEYS": [value]}).encryption_keys == (NEW,)

    @given(key=st.binary(min_size=32, max_size=32))
    def test_take_any_key(self, key):
        for text in (key.hex(), base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode()):
            assert key_from(text) == key

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (NEW.hex(), "is one text, but must be a list of keys: write it between brackets, ['…']"),
            (NEW, "is one text"),
            ({NEW.hex()}, "is no list"),
            ([], "is an empty list; leave it out to encrypt nothing"),
            ((), "is an empty list"),
            ([NEW[:31]], "number 1, that has 31 bytes"),
            ([NEW, "secret-passphrase"], "number 2, that is neither 64 hexadecimal digits"),
            (["x" * 64], "neither 64 hexadecimal"),
            ([NEW.hex() + "\n"], "neither 64 hexadecimal"),
            ([12], "neither bytes nor text"),
            ([NEW, None], "None only stands first, with keys behind it"),
            ([None], "None only stands first, with keys behind it"),
            ([None, NEW, OLD, NEW.hex()], "a key twice, as number 2 and as number 4"),
        ],
    )
    def test_refuse_what_is_no_key_without_showing_it(self, value, words):
        (problem,) = problems({"ENCRYPTION_KEYS": value})
        assert words in problem.message
        for each in (NEW.hex(), repr(NEW)[2:-1], "passphrase", "xxxx"):
            assert each not in problem.message
            assert each not in (problem.hint or "")

    def test_say_how_a_key_is_made_where_one_cannot_be_read_and_nowhere_else(self):
        (problem,) = problems({"ENCRYPTION_KEYS": ["4" * 63]})
        assert "Make a key with" in problem.message
        for value in ([], NEW.hex(), [None], [NEW, NEW]):
            (problem,) = problems({"ENCRYPTION_KEYS": value})
            assert "Make a key" not in f"{problem.message} {problem.hint}"

    def test_may_say_that_nothing_is_encrypted(self):
        assert settings_from({"ENCRYPTION_KEYS": None}) == settings_from({})

    @pytest.mark.parametrize("value", [-1, 2**63, True, 1.0, "1", None])
    def test_refuse_what_is_no_generation(self, value):
        assert problems({"GENERATION": value, "SIGN": True})

    @pytest.mark.parametrize("name", ["SIGN", "ACCEPT_UNPROTECTED"])
    def test_refuse_what_is_no_switch(self, name):
        assert problems({name: 1})

    def test_refuse_a_generation_of_nothing(self):
        (problem,) = problems({"GENERATION": 1})
        assert "ends no session" in problem.message
        assert not problems({"GENERATION": 1, "SIGN": True})
        assert not problems({"GENERATION": 1, "ENCRYPTION_KEYS": [NEW]})

    def test_protect_nothing_by_default(self):
        assert settings_from({}) == Settings()
        assert conf.store().codec.ring.writing is None

    def test_are_read_again_when_the_secret_key_changes(self, configure, settings):
        store = configure(SIGN=True)
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another one"
        again = conf.store()
        assert again.codec.ring.signing[1] == store.codec.ring.writing != again.codec.ring.writing
        assert again.connections is store.connections

    def test_need_no_secret_key_where_nothing_is_signed(self, monkeypatch):
        def none(project):
            raise ImproperlyConfigured

        monkeypatch.setattr(conf, "settings", type("Project", (), {"SECRET_KEY": property(none)})())
        assert conf.secret_keys(are_needed=False) == ()
        with pytest.raises(ImproperlyConfigured):
            conf.secret_keys()
        with pytest.raises(SessionStoreMisconfigured, match="needs a SECRET_KEY"):
            KeyRing.of((), (), sign=True)


class TestAMissingLibrary:
    @pytest.fixture
    def missing(self, monkeypatch):
        for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "cryptography", None)

    @pytest.mark.usefixtures("missing")
    def test_is_an_error_that_says_what_to_install(self, configure, settings):
        with pytest.raises(SessionStoreMisconfigured, match=r"pip install 'django-redis-sessionstore\[encr"):
            configure(ENCRYPTION_KEYS=[NEW])
        (found,) = [message for message in run_checks() if message.id == "django_redis_sessions.E010"]
        assert "pip install" in found.msg
        settings.SESSION_REDIS = {}

    @pytest.mark.usefixtures("missing")
    def test_is_not_missed_by_signing(self, configure, do):
        configure(SIGN=True)
        session = begun(cart="full")
        assert do(SessionStore(session.session_key).load) == {"cart": "full"}

    def test_that_was_never_installed_is_noticed(self, monkeypatch):
        monkeypatch.setattr(protection, "find_spec", lambda name: None)
        assert not protection.can_encrypt()

    def test_is_not_imported_by_those_who_do_not_encrypt(self):
        code = "import sys, django_redis_sessions.records; print('cryptography' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False"
        assert importlib.util.find_spec("cryptography") is not None


# With a server ------------------------------------------------------------------------------------------------------

PROTECTIONS = {
    "encrypted": {"ENCRYPTION_KEYS": [NEW]},
    "signed": {"SIGN": True},
    "encrypted, keys plain": {"ENCRYPTION_KEYS": [NEW], "KEYS": "plain"},
}

protections = pytest.mark.parametrize("given", PROTECTIONS.values(), ids=PROTECTIONS)


def begun(**data):
    session = SessionStore()
    session.update(data)
    session.save()
    return session


def record_of(session, behind):
    return behind.get(conf.store().keys.record(session.session_key))


def put(session, record, behind):
    behind.set(conf.store().keys.record(session.session_key), record, keepttl=True)


def protection_of(session, behind):
    header = header_of(record_of(session, behind))
    return protection.NAMES[header.protection]


class Told(metrics.Metrics):
    reasons = []

    def discarded(self, reason):
        self.reasons.append(reason)


@protections
class TestASession:
    def test_lives_as_any_other(self, configure, do, behind, given):
        configure(**given)
        session = SessionStore()
        session["_auth_user_id"] = "1"
        do(session.save)
        again = SessionStore(session.session_key)
        assert do(again.get, "_auth_user_id") == "1"
        again["cart"] = "full"
        do(again.save)
        rival = SessionStore(session.session_key)
        do(rival.load)
        again["cart"], rival["wish"] = "fuller", "list"
        do(again.save)
        do(rival.save)
        old = rival.session_key
        do(rival.cycle_key)
        assert do(SessionStore(old).load) == {}
        assert do(SessionStore(rival.session_key).load) == {
            "_auth_user_id": "1", "cart": "fuller", "wish": "list"}  # fmt: skip
        assert do(rival.increment, "count") == 1
        assert header_of(record_of(rival, behind)).protection == conf.store().codec.ring.written[0]

    def test_of_somebody_else_is_discarded_and_nobody_is_signed_in(
        self, configure, do, behind, given, caplog
    ):
        configure(**given)
        alice, bob = begun(_auth_user_id="1"), begun(_auth_user_id="2")
        of_alice, of_bob = record_of(alice, behind), record_of(bob, behind)
        put(alice, of_bob, behind)
        put(bob, of_alice, behind)
        for session in (alice, bob):
            caplog.clear()
            assert do(SessionStore(session.session_key).load) == {}
            (line,) = [line for line in caplog.records if line.name == "django.security.SuspiciousSession"]
            assert line.levelno == logging.WARNING
            assert line.reason == protection.FOREIGN
            assert line.session_handle == digest(session.session_key)
            assert session.session_key not in caplog.text
            assert NEW.hex() not in caplog.text

    def test_that_is_discarded_is_counted_by_its_reason(self, configure, do, behind, given):
        configure(**given, METRICS="tests.test_protection.Told")
        session, other = begun(a=1), begun(a=2)
        put(session, record_of(other, behind), behind)
        put(other, stripped(record_of(other, behind)), behind)
        Told.reasons.clear()
        for each in (session, other):
            do(SessionStore(each.session_key).load)
        assert Told.reasons == [protection.FOREIGN, "it is not protected, and has to be"]

    def test_that_moved_does_not_open_under_its_old_key(self, configure, do, behind, given):
        configure(**given)
        session = begun(_auth_user_id="1")
        old = SessionStore(session.session_key)
        do(session.cycle_key)
        behind.set(conf.store().keys.record(old.session_key), record_of(session, behind), ex=60)
        assert do(old.load) == {}

    def test_from_before_a_new_generation_is_discarded(self, configure, do, behind, given):
        configure(**given)
        session = begun(_auth_user_id="1")
        backup = record_of(session, behind)
        configure(**given, GENERATION=1)
        assert do(SessionStore(session.session_key).load) == {}
        put(session, backup, behind)
        assert do(SessionStore(session.session_key).load) == {}

    def test_that_is_not_protected_is_discarded(self, configure, do, behind, given):
        configure(**given)
        session = begun(cart="full")
        forged = Codec().seal(b'{"_auth_user_id":"1"}', header_of(record_of(session, behind)), "")
        put(session, forged, behind)
        assert do(SessionStore(session.session_key).load) == {}
        assert not do(sessions.get, digest(session.session_key)).is_readable

    @pytest.mark.operator
    def test_that_is_unreadable_is_shown_with_the_reason(self, configure, do, behind, given):
        configure(**given)
        session = begun(a=1)
        configure(**{**given, "GENERATION": 1})
        handle = conf.store().keys.handle(session.session_key)
        assert do(sessions.get, handle).why_unreadable == protection.FOREIGN
        assert f"The data cannot be read: {protection.FOREIGN}." in call("show", handle)

    @pytest.mark.operator
    def test_is_seen_by_operators(self, configure, do, behind, given):
        configure(**given)
        session = begun(_auth_user_id="1", cart="full")
        handle = digest(session.session_key)
        assert do(sessions.data, handle) == {"_auth_user_id": "1", "cart": "full"}
        (info,) = do(sessions.of_user, "1")
        assert info.user_id == "1"
        assert [each.user_id for each in do(sessions.page).infos] == ["1"]
        assert do(sessions.contents).held_by["cart"] == 1
        behind.unlink(conf.store().keys.index(header_of(record_of(session, behind)).user))
        assert do(sessions.reindex) == 1
        assert do(sessions.revoke, handle)

    @pytest.mark.operator
    def test_can_be_learnt_from(self, configure, do, behind, given):
        """The dictionary is a file in a repository, and in the clear: whoever trains one decides that."""
        configure(**given)
        for number in range(110):
            begun(_auth_user_id=str(number), shopping_basket={"article": "teapot", "number": number % 3})
        trained = do(sessions.train_dictionary)
        assert trained.unreadable == 0
        assert b"shopping_basket" in trained.dictionary.text


@pytest.mark.django_db
@protections
@pytest.mark.parametrize("package", ["django.contrib.sessions", "django_redis_sessions"])
class TestTwoPeople:
    @pytest.mark.parametrize("view", ["/who/", "/read/", "/aread/"])
    def test_whose_records_were_swapped_are_both_strangers(
        self, configure, behind, django_user_model, settings, given, package, view
    ):
        configure(**given)
        settings.MIDDLEWARE = [f"{package}.middleware.SessionMiddleware", *settings.MIDDLEWARE[1:]]
        found = []
        for name in ("alice", "bob"):
            client = Client()
            client.force_login(django_user_model.objects.create_user(name))
            assert client.get("/who/").content.decode() == name
            found.append((client, SessionStore(client.cookies["sessionid"].value)))
        (_, first), (_, second) = found
        one, other = record_of(first, behind), record_of(second, behind)
        put(first, other, behind)
        put(second, one, behind)
        for client, _ in found:
            assert client.get(view).content in (b"", b"{}")
            assert client.get("/who/").content == b""


@pytest.mark.operator
class TestDeployingInSteps:
    @pytest.fixture
    def rewrite(self, do):
        def rewrite():
            return do(sessions.rewrite)

        return rewrite

    def test_leads_from_plain_to_encrypted_to_another_key(self, configure, do, behind, rewrite):
        configure()
        first = begun(_auth_user_id="1")
        configure(ENCRYPTION_KEYS=[None, OLD])
        assert SessionStore(first.session_key)["_auth_user_id"] == "1"
        second = begun(_auth_user_id="2")
        configure(ENCRYPTION_KEYS=[OLD], ACCEPT_UNPROTECTED=True)
        third = begun(_auth_user_id="3")
        configure(ENCRYPTION_KEYS=[None, OLD])  # a process that was not restarted yet
        assert do(SessionStore(third.session_key).get, "_auth_user_id") == "3"
        configure(ENCRYPTION_KEYS=[OLD], ACCEPT_UNPROTECTED=True)
        done = rewrite()
        assert (done.found, done.rewritten, done.current) == (3, 2, 1)
        configure(ENCRYPTION_KEYS=[OLD])
        configure(ENCRYPTION_KEYS=[OLD, NEW])
        configure(ENCRYPTION_KEYS=[NEW, OLD])
        fourth = begun(_auth_user_id="4")
        done = rewrite()
        old = KeyRing.of((OLD,)).writing.id.hex()
        assert (done.rewritten, done.by_key[f"encrypted, key {old}"]) == (3, 3)
        configure(ENCRYPTION_KEYS=[NEW])
        for number, session in enumerate((first, second, third, fourth), 1):
            assert do(SessionStore(session.session_key).load) == {"_auth_user_id": str(number)}
            assert protection_of(session, behind) == "encrypted"

    def test_leads_to_signed_and_through_a_new_secret_key(self, configure, do, behind, rewrite, settings):
        configure()
        session = begun(_auth_user_id="1")
        configure(SIGN=True, ACCEPT_UNPROTECTED=True)
        other = begun(_auth_user_id="2")
        configure()  # a process that was not restarted yet
        assert do(SessionStore(other.session_key).load) == {"_auth_user_id": "2"}
        configure(SIGN=True, ACCEPT_UNPROTECTED=True)
        assert rewrite().rewritten == 1
        configure(SIGN=True)
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "a new one"
        assert do(SessionStore(session.session_key).load) == {"_auth_user_id": "1"}
        assert rewrite().rewritten == 2
        (found,) = findings(do, "older-keys")
        assert (found.severity, "No record needs" in found.message) == (Severity.OK, True)
        assert "can be removed" not in found.message
        settings.SECRET_KEY_FALLBACKS = []
        assert do(SessionStore(session.session_key).load) == {"_auth_user_id": "1"}
        assert protection_of(session, behind) == "signed"

    def test_leads_back(self, configure, do, behind, rewrite):
        configure(ENCRYPTION_KEYS=[NEW])
        session = begun(_auth_user_id="1")
        configure(ENCRYPTION_KEYS=[NEW], ACCEPT_UNPROTECTED=True)
        configure(ENCRYPTION_KEYS=[None, NEW])
        assert rewrite().rewritten == 1
        configure()
        assert do(SessionStore(session.session_key).load) == {"_auth_user_id": "1"}


@pytest.fixture
def mixed(configure):
    """Plain sessions on a site that encrypts by now; gives them, the store does the rest."""
    configure()
    made = [begun(_auth_user_id=str(number), cart=["teapot"] * number) for number in range(30)]
    configure(ENCRYPTION_KEYS=[NEW], ACCEPT_UNPROTECTED=True)
    return made


@pytest.mark.operator
class TestRewriting:
    def test_changes_neither_data_nor_life(self, mixed, do, behind):
        before = [(header_of(record_of(each, behind)), behind.pttl(name_of(each))) for each in mixed]
        done = do(sessions.rewrite)
        assert (done.found, done.rewritten, done.unreadable, done.missed) == (30, 30, 0, 0)
        for number, (session, (header, left)) in enumerate(zip(mixed, before, strict=True)):
            after = header_of(record_of(session, behind))
            assert after[:4] == header[:4]
            assert 0 <= left - behind.pttl(name_of(session)) < 60_000
            assert do(SessionStore(session.session_key).load)["cart"] == ["teapot"] * number

    def test_may_be_repeated(self, mixed, do, behind):
        do(sessions.rewrite)
        before = [record_of(each, behind) for each in mixed]
        done = do(sessions.rewrite)
        assert (done.rewritten, done.current) == (0, 30)
        assert [record_of(each, behind) for each in mixed] == before

    def test_changes_nothing_in_a_dry_run(self, mixed, do, behind):
        before = [record_of(each, behind) for each in mixed]
        assert do(sessions.rewrite, dry_run=True).rewritten == 30
        assert [record_of(each, behind) for each in mixed] == before

    def test_never_unpickles(self, mixed, do, monkeypatch):
        monkeypatch.setattr(SessionStore, "_loads", None)
        assert do(sessions.rewrite).rewritten == 30

    def test_leaves_what_it_cannot_open(self, mixed, do, behind):
        put(mixed[0], b"anything", behind)
        put(mixed[1], sealed(KeyRing.of((OLD,))), behind)
        put(mixed[2], record_of(mixed[3], behind)[:-1], behind)
        before = [record_of(each, behind) for each in mixed[:3]]
        done = do(sessions.rewrite)
        assert (done.rewritten, done.unreadable, done.by_key["no session"]) == (27, 3, 1)
        assert "3  left as they were: unreadable; `redis_sessions doctor` says why" in call("rewrite")
        assert [record_of(each, behind) for each in mixed[:3]] == before

    def test_does_not_launder_what_is_not_accepted(self, mixed, configure, do):
        configure(ENCRYPTION_KEYS=[NEW])
        assert do(sessions.rewrite).unreadable == 30

    @pytest.mark.parametrize("before", range(1, 7))
    def test_overwrites_no_save_and_prevents_none(self, configure, do, behind, interrupt, before):
        """Whichever command a rival's save comes before, both the save and the protection are there in the end."""
        configure()
        session = begun(cart="empty", other=1)
        configure(ENCRYPTION_KEYS=[NEW], ACCEPT_UNPROTECTED=True)
        held = SessionStore(session.session_key)
        held["other"] = 2

        def rival():
            saving = SessionStore(session.session_key)
            saving["cart"] = "full"
            saving.save()

        with interrupt(by=rival, before=before) as race:
            done = do(sessions.rewrite)
        assert done.missed == 0
        if race.happened:
            assert SessionStore(session.session_key)["cart"] == "full"
        assert protection_of(session, behind) == "encrypted"
        do(held.save)
        assert SessionStore(session.session_key)["other"] == 2

    def test_disturbs_no_request_that_has_read_the_session(self, mixed, configure, do):
        """The revision stays, so even a strict save finds what it has read."""
        configure(ENCRYPTION_KEYS=[NEW], ACCEPT_UNPROTECTED=True, CONFLICT="strict")
        strict = SessionStore(mixed[5].session_key)
        strict["cart"] = "full"
        do(sessions.rewrite)
        do(strict.save)
        assert SessionStore(strict.session_key)["cart"] == "full"

    def test_leaves_a_life_that_was_extended_meanwhile(self, mixed, do, behind, monkeypatch):
        session = mixed[7]
        known = Codec.reseal

        def reseal(codec, record, of):
            if of == digest(session.session_key):
                behind.setrange(name_of(session), records.LIFE_OFFSET, records.life(2_000_000_000, 4242))
                behind.expire(name_of(session), 4242)
            return known(codec, record, of)

        monkeypatch.setattr(Codec, "reseal", reseal)
        do(sessions.rewrite)
        header = header_of(record_of(session, behind))
        assert (header.touched, header.ttl) == (2_000_000_000, 4242)
        assert 4240 <= behind.ttl(name_of(session)) <= 4242

    def test_brings_nobody_back_who_signs_out_meanwhile(self, mixed, do, behind, monkeypatch):
        known = Codec.reseal

        def reseal(codec, record, of):
            if of == digest(mixed[3].session_key):
                behind.unlink(name_of(mixed[3]))
            return known(codec, record, of)

        monkeypatch.setattr(Codec, "reseal", reseal)
        do(sessions.rewrite)
        assert record_of(mixed[3], behind) is None

    def test_gives_up_on_a_session_that_others_save_all_the_time(self, mixed, do, behind, monkeypatch):
        known = Codec.reseal

        def reseal(codec, record, of):
            if of == digest(mixed[3].session_key):
                put(mixed[3], Codec().seal(b"{}", Header(1, 2, 3), ""), behind)
            return known(codec, record, of)

        monkeypatch.setattr(Codec, "reseal", reseal)
        assert do(sessions.rewrite).missed == 1

    def test_loses_nothing_that_requests_write_at_the_same_time(self, configure, do):
        """Two keys take turns while others count; whoever lost a write would end below the number of writes."""
        store = configure(ENCRYPTION_KEYS=[NEW, OLD])
        made = [begun(count=0) for _ in range(10)]
        codecs = [replace(store.codec, ring=KeyRing.of(keys)) for keys in ((OLD, NEW), (NEW, OLD))]
        are_done = Event()

        def rewrite():
            rewritten = 0
            while not are_done.is_set():
                for codec in codecs:
                    done = run(store.connections.client(), rewriting.rewrite_all(store.keys, codec))
                    rewritten += done.rewritten
            return rewritten

        def count(session):
            for _ in range(20):
                do(SessionStore(session.session_key).increment, "count")
                held = SessionStore(session.session_key)
                held["last"] = held["count"]
                held.save()

        with ThreadPoolExecutor(1) as pool:
            rewriter = pool.submit(rewrite)
            try:
                for session in made:
                    count(session)
            finally:
                are_done.set()
        assert rewriter.result() > 10
        assert [SessionStore(each.session_key)["count"] for each in made] == [20] * 10
        assert [SessionStore(each.session_key)["last"] for each in made] == [20] * 10

    def test_goes_at_a_limited_rate(self, store):
        codec = Codec(ring=KeyRing.of((NEW,), accept_unprotected=True))
        steps = rewriting.rewrite_all(store.keys, codec, pace=walks.Pace(rate=10))
        replies = iter([["server"], (b"0", [b"session:r:x" * 3, b"session:r:y"]), [sealed(ENCRYPTED)] * 2])
        step = next(steps)
        while not isinstance(step, operations.Pause):
            step = steps.send(next(replies))
        assert step.seconds == 0.2

    @pytest.mark.parametrize("is_dry_run", [True, False])
    def test_begins_again_where_another_process_answers_unless_it_only_counts(self, keys, is_dry_run):
        rewriter = rewriting._Rewriting(keys, Codec(), is_dry_run, 0)
        if is_dry_run:
            with pytest.raises(SessionStoreUnavailable, match="Begin again"):
                rewriter.begin_again()
        else:
            rewriter.begin_again()

    def test_says_what_it_did(self, mixed):
        begun(cart="full")
        found = json.loads(call("rewrite", "--dry-run", "--json"))
        key = f"encrypted, key {ENCRYPTED.writing.id.hex()}"
        assert found == {
            "found": 31, "rewritten": 30, "current": 1, "missed": 0, "unreadable": 0,
            "by_key": {"none": 30, key: 1}, "dry_run": True,
        }  # fmt: skip
        assert "30  would be rewritten" in call("rewrite", "--dry-run")
        out = call("rewrite", "--rate", "100000")
        assert "31 sessions found." in out
        assert f"1  {key}\n" in out
        assert "30  rewritten\n" in out
        assert call("rewrite", "--verbosity", "0") == ""


def name_of(session):
    return conf.store().keys.record(session.session_key)


def call(*arguments):
    out = io.StringIO()
    call_command("redis_sessions", *arguments, stdout=out)
    return out.getvalue()


def findings(do, id_="protection"):
    return [found for found in do(sessions.diagnose) if found.id == id_]


@pytest.mark.operator
class TestTheDoctor:
    def test_has_nothing_to_say_where_nothing_is_protected(self, configure, do):
        configure()
        begun(a=1)
        (found,) = findings(do)
        assert found.severity is Severity.OK
        assert "Nothing is encrypted or signed" in found.message

    def test_is_content_with_a_site_that_is_done(self, configure, do):
        configure(ENCRYPTION_KEYS=[NEW])
        begun(a=1)
        (found,) = findings(do)
        assert found.severity is Severity.OK
        assert (
            found.message
            == "Each of 1 sessions is protected as new ones are; of 1 that were tried, all open."
        )
        assert findings(do, "accept-unprotected") == []

    def test_warns_of_a_site_that_still_accepts_anything(self, mixed, do):
        (found,) = findings(do)
        assert found.severity is Severity.NOTE
        assert "30 of 30 sessions are not protected as new ones are (none: 100%)" in found.message
        assert "rewrite" in found.line
        (found,) = findings(do, "accept-unprotected")
        assert found.severity is Severity.WARNING
        assert "30 of 30 still are such" in found.message
        sessions.rewrite()
        (found,) = findings(do, "accept-unprotected")
        assert "still are" not in found.message

    def test_refuses_to_have_a_key_retired_that_is_in_use(self, configure, do):
        configure(ENCRYPTION_KEYS=[OLD])
        for _ in range(3):
            begun(a=1)
        configure(ENCRYPTION_KEYS=[NEW, OLD])
        begun(a=1)
        (found,) = findings(do, "older-keys")
        assert found.severity is Severity.NOTE
        assert "3 of 4 sessions still need key number 2 of SESSION_REDIS['ENCRYPTION_KEYS']" in found.message
        configure(ENCRYPTION_KEYS=[NEW])
        (found,) = findings(do)
        assert found.severity is Severity.ERROR
        assert "3 of 4 sessions are of no use (encrypted, key " in found.message
        assert ": each is encrypted with a key that this process does not have." in found.message
        assert 'SESSION_REDIS["ENCRYPTION_KEYS"] = […' in found.line
        configure(ENCRYPTION_KEYS=[NEW, OLD])
        sessions.rewrite()
        (found,) = findings(do, "older-keys")
        assert found.severity is Severity.OK
        assert "No record needs key number 2 of" in found.message

    def test_does_not_have_the_next_key_removed_before_its_turn(self, configure, do):
        configure(ENCRYPTION_KEYS=[OLD, NEW])
        begun(a=1)
        (found,) = findings(do, "older-keys")
        assert found.severity is Severity.OK
        assert (
            f"key number 2 of SESSION_REDIS['ENCRYPTION_KEYS'] (id {ENCRYPTED.writing.id.hex()})"
            in found.message
        )
        assert "remove it if it is an old one, move it to the front if it is the next." in found.message

    def test_numbers_the_fallbacks_of_the_secret_key(self, configure, do, settings):
        configure(SIGN=True)
        settings.SECRET_KEY_FALLBACKS = ["an old one"]
        begun(a=1)
        (found,) = findings(do, "older-keys")
        assert "No record needs key number 1 of SECRET_KEY_FALLBACKS" in found.message
        assert "move it to SECRET_KEY if it is the next. What else Django" in found.message

    def test_does_not_have_protection_taken_away_in_passing(self, configure, do):
        configure(ENCRYPTION_KEYS=[NEW])
        begun(a=1)
        configure(ENCRYPTION_KEYS=[None, NEW])
        begun(a=1)
        (found,) = findings(do)
        assert found.severity is Severity.NOTE
        assert "1 of 2 sessions are protected, and new ones are not" in found.message
        assert "`rewrite` takes the protection away" in found.message
        assert found.line == 'SESSION_REDIS["ENCRYPTION_KEYS"] = ["THE KEY", …]  # without None'
        configure(SIGN=True)
        begun(a=1)
        configure(ENCRYPTION_KEYS=[None, NEW], SIGN=True)
        assert not [found for found in findings(do) if "takes the protection" in found.message]

    @pytest.mark.parametrize("protected", [{"ENCRYPTION_KEYS": [NEW]}, {"SIGN": True}])
    def test_opens_some_to_learn_of_another_generation(self, configure, do, protected):
        configure(**protected)
        for _ in range(30):
            begun(a=1)
        configure(**protected, GENERATION=1)
        begun(a=1)
        (found,) = findings(do)
        assert found.severity is Severity.ERROR
        # A master of a cluster may have fewer than its share of them.
        opened = re.search(r"of (\d+) protected sessions that were opened are of no use", found.message)
        assert 10 <= int(opened[1]) <= 20
        assert "sealed for another GENERATION" in found.message
        assert 'SESSION_REDIS["GENERATION"] = …' in found.line

    def test_does_not_take_a_sample_for_all(self):
        ring = KeyRing.of((NEW, OLD))
        sample = Census()
        sample.count([b""] * 4, [60] * 4, [sealed(ring)] * 4)
        found = of_stored(Stored(sample), Site(settings=Settings(), ring=ring))
        (finding,) = [each for each in found if each.id == "older-keys"]
        assert finding.severity is Severity.NOTE
        assert "that were looked at" in finding.message

    def test_knows_a_secret_key_that_is_missing(self, configure, do, settings):
        configure(SIGN=True)
        begun(a=1)
        settings.SECRET_KEY = "a new one"
        (found,) = findings(do)
        assert found.severity is Severity.ERROR
        assert "SECRET_KEY_FALLBACKS" in found.line

    def test_knows_what_was_never_protected_and_what_was_only_signed(self, configure, do):
        configure(SIGN=True)
        begun(a=1)
        configure()
        begun(a=1)
        configure(ENCRYPTION_KEYS=[NEW])
        lines = {found.line for found in findings(do)}
        assert lines == {
            'SESSION_REDIS["SIGN"] = True',
            'SESSION_REDIS["ACCEPT_UNPROTECTED"] = True  # until `rewrite` is done',
        }

    def test_shows_no_key(self, mixed, do):
        text = repr([found.as_dict() for found in do(sessions.diagnose)])
        assert NEW.hex() not in text
        assert repr(NEW)[2:-1] not in text

    def test_lets_stats_tell_the_mix(self, mixed):
        mixed[0].save()
        begun(a=1)
        out = call("stats")
        assert f"protection encrypted, key {ENCRYPTED.writing.id.hex()}" in out
        assert "protection none" in out
