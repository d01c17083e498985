"""What counts as a session key, and who decides it."""

import traceback

import pytest
from django.core.checks import run_checks
from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions import conf, schemes
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.errors import SessionStoreMisconfigured, SessionStoreRefused
from django_redis_sessions.keys import Keys
from django_redis_sessions.schemes import Hashed, Plain, Signed, digest, is_handle

SECRET, ANOTHER = "a secret", "another secret"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
BUILT_IN = [Hashed(), Plain(), Signed(SECRET)]


class Cards:
    """A project's own scheme: made from the secret, known by a prefix."""

    def __init__(self, secret):
        self.start = f"card-{digest(secret)[:4]}-"

    def new(self):
        return self.start + Hashed().new()

    def name(self, session_key):
        return digest(session_key) if session_key.startswith(self.start) else None


class Nameless:
    def __init__(self, secret):
        pass

    def new(self):
        return "x" * 32


class Plainly(Nameless):
    def name(self, session_key):
        return session_key


class Forgetful(Nameless):
    def name(self, session_key):
        return None


class Failing(Nameless):
    def name(self, session_key):
        return digest(session_key.split(".")[1])


class Needy:
    def __init__(self):
        pass

    new = name = None


class Unsecured:
    def __init__(self):
        pass

    def new(self):
        return "x" * 32

    def name(self, session_key):
        return digest(session_key)


class Constant(Nameless):
    def name(self, session_key):
        return digest(session_key)


class OneName(Nameless):
    def new(self):
        return Hashed().new()

    def name(self, session_key):
        return "x" * 24


class Hexadecimal(Unsecured):
    """Its error quotes what it is called with."""

    def __init__(self, secret):
        int(secret, 16)


class Telling(Constant):
    def __init__(self, secret):
        self.secret = secret

    def name(self, session_key):
        raise ValueError(self.secret)


class TellingAtOnce(Telling):
    def new(self):
        raise KeyError(self.secret)


class TestEveryScheme:
    @pytest.mark.parametrize("scheme", BUILT_IN)
    def test_knows_the_session_keys_that_it_makes(self, scheme):
        made = {scheme.new() for _ in range(100)}
        assert len(made) == 100
        assert len({scheme.name(session_key) for session_key in made} - {None}) == 100

    @pytest.mark.parametrize("scheme", BUILT_IN)
    def test_makes_keys_that_fit_into_columns_of_40_characters(self, scheme):
        assert len(scheme.new()) <= 40

    @pytest.mark.parametrize("scheme", BUILT_IN)
    @given(text=st.text())
    def test_has_an_answer_for_any_text(self, scheme, text):
        name = scheme.name(text)
        assert name is None or name == text or is_handle(name)

    @pytest.mark.parametrize("scheme", BUILT_IN)
    @pytest.mark.parametrize("text", ["", "\ud800" * 40, "x" * 5000, "a:b:c:d:e", "\0" * 40, "é" * 40])
    def test_takes_no_nonsense_for_a_session_key(self, scheme, text):
        assert scheme.name(text) is None

    @pytest.mark.parametrize("scheme", BUILT_IN)
    def test_calls_a_session_by_the_same_handle(self, scheme):
        session_key = scheme.new()
        assert Keys.handle_of(scheme.name(session_key)) == digest(session_key)


class TestHalfACharacter:
    """A lone surrogate, which no encoding has."""

    @pytest.mark.parametrize("scheme", ["hashed", "plain", "signed"])
    def test_in_a_session_key_is_an_unknown_session(self, configure, do, scheme):
        configure(KEYS=scheme)
        assert do(SessionStore("\ud800" * 10).load) == {}
        do(SessionStore("\ud800" * 10).flush)
        assert not do(SessionStore().exists, "\ud800" * 10)
        do(SessionStore().delete, "\ud800" * 10)
        session = SessionStore("\ud800" * 10)
        session["a"] = 1
        do(session.save)


class TestAPlainKey:
    def test_is_never_a_handle_so_that_nobody_signs_in_by_one(self):
        """Handles stand in logs, and a record that is hashed still is named by one."""
        assert Plain().name(digest("k" * 32)) is None
        assert Plain().name("x" * 24) is None
        assert Plain().name("x" * 23) == "x" * 23


class TestASignedKey:
    scheme = Signed(SECRET)

    def test_has_40_characters_of_which_126_bits_are_random(self):
        made = [self.scheme.new() for _ in range(3000)]
        assert {len(key) for key in made} == {40}
        # Each of the 21 characters may be any of the 64.
        assert all({key[at] for key in made} == set(ALPHABET) for at in range(21))

    def test_is_frozen(self):
        """Whoever has a cookie of today is to be known by later versions."""
        key = "AAAAAAAAAAAAAAAAAAAAA" + self.scheme._proof("AAAAAAAAAAAAAAAAAAAAA")
        assert key == "AAAAAAAAAAAAAAAAAAAAA" + "uqemBWsTYJAuFX28XT7"
        assert self.scheme.name(key) == digest(key)

    def test_cannot_be_made_without_the_secret(self):
        assert self.scheme.name(Signed(ANOTHER).new()) is None

    def test_is_no_other_when_one_character_is(self):
        key = self.scheme.new()
        for at in range(40):
            for letter in set(ALPHABET) - {key[at]}:
                assert self.scheme.name(key[:at] + letter + key[at + 1 :]) is None

    def test_is_neither_longer_nor_shorter(self):
        key = self.scheme.new()
        assert self.scheme.name(key[:-1]) is None
        assert self.scheme.name(key + "A") is None
        assert self.scheme.name(key + "\n") is None

    def test_takes_bytes_for_a_secret(self):
        assert Signed(SECRET.encode()).name(self.scheme.new()) is not None

    def test_is_not_proved_by_the_secret_itself(self):
        """What else is made with SECRET_KEY has other keys: this one is derived with a salt."""
        assert SECRET.encode() not in self.scheme._key


class TestSeveralSchemes:
    def test_give_each_session_the_names_it_may_have(self):
        keys = Keys("p", (Hashed(), Plain()))
        assert keys.names("k" * 32) == (digest("k" * 32), "k" * 32)
        assert keys.name("k" * 32) == digest("k" * 32)
        assert keys.names(None) == keys.names("no key") == ()

    def test_do_not_repeat_a_name(self):
        signed = Signed(SECRET)
        key = signed.new()
        assert Keys("p", (signed, Hashed())).names(key) == (digest(key),)

    def test_make_new_keys_by_the_first(self):
        signed = Signed(SECRET)
        assert signed.name(Keys("p", (signed, Hashed())).new())
        assert len(Keys("p", (Hashed(), signed)).new()) == 32

    def test_tell_which_sessions_need_another_key(self):
        keys = Keys("p", (Signed(SECRET), Hashed()))
        assert keys.lasting("k" * 32) is None
        assert keys.lasting(keys.new()) is not None

    def test_are_told_apart_by_the_name_alone(self):
        keys = Keys("p", (Plain(), Hashed()))
        assert {keys.handle_of(name) for name in keys.names("k" * 32)} == {digest("k" * 32)}

    def test_name_a_session_by_its_handle_for_text_that_is_no_key_too(self):
        assert Keys().handle("no key") == digest("no key")

    def test_have_no_name_for_what_is_no_key(self):
        with pytest.raises(ValueError, match="no session key"):
            Keys().name("no key")


class TestRetiredSecrets:
    def test_are_honoured_and_make_no_new_keys(self):
        now, before = schemes.schemes(["signed"], [SECRET, ANOTHER])
        old = Signed(ANOTHER).new()
        keys = Keys("p", (now, before))
        assert keys.accepts(old)
        assert keys.lasting(old) is None
        assert before.name(keys.new()) is None

    def test_are_given_to_a_projects_own_class_one_by_one(self):
        now, before = schemes.schemes(["tests.test_schemes.Cards"], [SECRET, ANOTHER])
        assert now.name(now.new())
        assert now.name(before.new()) is None

    def test_are_needed_by_signed_keys(self):
        with pytest.raises(SessionStoreMisconfigured, match="need a secret"):
            schemes.schemes(["signed"], [])
        assert schemes.schemes(["hashed", "plain"], []) == (Hashed(), Plain())


class TestAClassOfTheProjects:
    @pytest.mark.parametrize(
        ("path", "wrong"),
        [
            ("tests.test_schemes.Nobody", "cannot be imported"),
            ("tests.no_such_module.Cards", "cannot be imported"),
            ("tests.test_schemes.SECRET", "is no class"),
            ("tests.test_schemes.Nameless", "has no method name()"),
            ("tests.test_schemes.Needy", "has no method new()"),
            ("tests.test_schemes.Plainly", "gives a name that is no handle"),
            ("tests.test_schemes.Forgetful", "does not know the session keys that it makes"),
            ("tests.test_schemes.Failing", "whose name() raises IndexError for what a cookie may say"),
            ("tests.test_schemes.TellingAtOnce", "whose new() raises KeyError."),
            ("tests.test_schemes.Hexadecimal", "cannot be made from SECRET_KEY: ValueError"),
            ("tests.test_schemes.Constant", "whose new() gives the same session key twice"),
            ("tests.test_schemes.OneName", "whose name() is the same for two session keys"),
            ("tests.test_schemes.Unsecured", "cannot be made from SECRET_KEY"),
        ],
    )
    def test_that_cannot_be_used_is_a_system_check(self, configure, path, wrong, settings):
        settings.SESSION_REDIS = {"KEYS": path}
        (found,) = [message for message in run_checks(tags=["sessions"]) if message.id.endswith("E009")]
        assert wrong in found.msg

    @pytest.mark.parametrize("name", ["Hexadecimal", "Telling", "TellingAtOnce"])
    def test_that_fails_does_not_quote_the_secret(self, name):
        assert "s3cr3t" not in schemes.problem(f"tests.test_schemes.{name}", "s3cr3t")

    def test_that_cannot_be_made_says_so_without_the_secret(self):
        secrets = ["s3cr" + "3t"]
        with pytest.raises(SessionStoreMisconfigured) as raised:
            schemes.schemes(["tests.test_schemes.Hexadecimal"], secrets)
        # All that a log has of it, the errors that led to it too.
        assert "s3cr3t" not in "".join(traceback.format_exception(raised.value))

    def test_that_fails_when_it_is_imported_does_not_quote_the_secret(self, monkeypatch, tmp_path):
        (tmp_path / "failing_scheme.py").write_text('raise RuntimeError("s3cr3t")\n')
        monkeypatch.syspath_prepend(tmp_path)
        told = schemes.problem("failing_scheme.Any", "s3cr3t")
        assert "cannot be imported: RuntimeError" in told
        assert "s3cr3t" not in told

    def test_that_makes_one_key_again_and_again_is_named_by_the_error(self, configure, do):
        configure(KEYS="tests.test_schemes.Constant")
        do(SessionStore().create)
        with pytest.raises(
            SessionStoreRefused, match=r"Check tests\.test_schemes\.Constant, which KEYS names"
        ):
            do(SessionStore().create)

    def test_that_can_be_used_is_none(self, settings):
        settings.SESSION_REDIS = {"KEYS": ["tests.test_schemes.Cards", "hashed"]}
        assert conf.problems() == []
        assert conf.store().keys.new().startswith("card-")


class TestTheSetting:
    @pytest.mark.parametrize(
        ("value", "wrong"),
        [
            ("hashd", "did you mean 'hashed'"),
            (["signed", "hased"], "did you mean 'hashed'"),
            ("sined", "'signed', or the dotted path of a class; did you mean 'signed'"),
            (["signed", "signed"], "names 'signed' twice"),
            (["tests.test_schemes.Cards", "hashed", "tests.test_schemes.Cards"], "Cards' twice"),
            ([], "is an empty list"),
            (None, "must be one of"),
            ([None], "must be one of"),
            ({"hashed"}, "must be one of"),
        ],
    )
    def test_is_refused_with_a_suggestion(self, settings, value, wrong):
        settings.SESSION_REDIS = {"KEYS": value}
        (problem,) = conf.problems()
        assert problem.id == "E003"
        assert wrong in problem.message

    @pytest.mark.parametrize("value", ["signed", ["signed"], ("signed",)])
    def test_cannot_refuse_what_fallback_engines_have(self, settings, value):
        engines = ["django.contrib.sessions.backends.db"]
        settings.SESSION_REDIS = {"KEYS": value, "FALLBACK_ENGINES": engines}
        (problem,) = conf.problems()
        assert "refuses every session key" in problem.message
        settings.SESSION_REDIS = {"KEYS": ["signed", "hashed"], "FALLBACK_ENGINES": engines}
        assert conf.problems() == []

    def test_follows_a_changed_secret_key(self, settings):
        settings.SESSION_REDIS = {"KEYS": "signed"}
        old = conf.store().keys.new()
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another secret, another secret, another secret"
        assert conf.store().keys.lasting(old) is None
        assert conf.store().keys.accepts(old)
        settings.SECRET_KEY_FALLBACKS = []
        assert not conf.store().keys.accepts(old)

    def test_keeps_the_connections_when_nothing_depends_on_the_secret(self, settings):
        settings.SESSION_REDIS = {"KEYS": ["hashed", "plain"]}
        store = conf.store()
        settings.SECRET_KEY = "another secret, another secret, another secret"
        assert conf.store().connections is store.connections
