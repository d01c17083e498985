import pytest

from django_redis_sessions.configuration import settings_from
from django_redis_sessions.dictionaries import Dictionary
from django_redis_sessions.dictionary_files import codec, problems
from django_redis_sessions.errors import SessionStoreMisconfigured
from django_redis_sessions.records import Codec, Header

PAYLOAD = b'{"a_key_that_is_used_by_the_project":"and its value"}'
OLD, NEW = Dictionary(128, PAYLOAD[:20]), Dictionary(129, PAYLOAD)


@pytest.fixture
def directory(tmp_path):
    for name, content in (
        ("old.dict", OLD.dumped()),
        ("new.dict", NEW.dumped()),
        ("same.dict", NEW.dumped()),
        ("rival.dict", Dictionary(129, b"another text").dumped()),
        ("cut.dict", NEW.dumped()[:-3]),
        ("notes.txt", b"just some notes"),
        ("low.dict", NEW.dumped()[:8] + b"\x01" + NEW.dumped()[9:]),
    ):
        (tmp_path / name).write_bytes(content)
    return tmp_path


def read(given, directory):
    return codec(settings_from({"COMPRESSION": given}).compression, str(directory))


class TestAWord:
    @pytest.mark.parametrize("word", ["dictionary", "zlib", None])
    def test_needs_no_file(self, word):
        assert read(word, "/nowhere") == Codec(word) == read([word], "/nowhere")


class TestAFile:
    @pytest.mark.parametrize("many", [lambda path: path, lambda path: [path], lambda path: (path,)])
    def test_compresses_new_records(self, directory, many):
        found = read(many("new.dict"), directory)
        assert found == Codec(NEW, (NEW,))
        assert found == read(many(directory / "new.dict"), "/elsewhere")

    def test_that_comes_first_writes_and_all_read(self, directory):
        found = read(["new.dict", "old.dict"], directory)
        assert found.compression == NEW
        for earlier in (Codec(OLD), Codec(NEW), Codec("dictionary"), Codec("zlib"), Codec(None)):
            assert found.open(earlier.seal(PAYLOAD, Header(1, 2, 3), ""), "")[1] == PAYLOAD

    @pytest.mark.parametrize("word", ["dictionary", "zlib", None])
    def test_behind_a_word_is_for_reading_only(self, directory, word):
        found = read([word, "old.dict"], directory)
        assert found.compression == word
        assert found.open(Codec(OLD).seal(PAYLOAD, Header(1, 2, 3), ""), "")[1] == PAYLOAD

    def test_may_be_there_twice(self, directory):
        assert read(["new.dict", "same.dict"], directory).dictionaries == (NEW,)


class TestAFileThatCannotBeUsed:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("missing.dict", "missing.dict, which cannot be read: No such file or directory."),
            (".", "which cannot be read: Is a directory."),
            ("notes.txt", "notes.txt, which cannot be used: it is no dictionary file."),
            ("cut.dict", "cut.dict, which cannot be used: it is damaged: its checksum does not fit."),
            ("low.dict", "low.dict, which cannot be used: its number is 1, but must be from 128 to 255."),
            (["new.dict", "rival.dict"], "rival.dict, but another file there has number 129 too."),
        ],
    )
    def test_is_a_problem_and_an_error_in_the_same_words(self, directory, given, message):
        (problem,) = problems(settings_from({"COMPRESSION": given}).compression, str(directory))
        assert problem.id == "E004"
        assert message in problem.message
        with pytest.raises(SessionStoreMisconfigured) as caught:
            read(given, directory)
        assert str(caught.value) == f"{problem.message} {problem.hint}"

    def test_does_not_hide_the_next(self, directory):
        found = problems(("dictionary", "missing.dict", "new.dict", "cut.dict"), str(directory))
        assert len(found) == 2
