import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions.dictionaries import (
    LARGEST_NUMBER,
    LARGEST_TEXT,
    SMALLEST_NUMBER,
    Dictionary,
    number_after,
    parsed,
)
from django_redis_sessions.errors import SessionStoreMisconfigured

TEXT = b'"cart":{"teapot":1}'
FILE = Dictionary(128, TEXT).dumped()


class TestTheFile:
    @given(number=st.integers(SMALLEST_NUMBER, LARGEST_NUMBER), text=st.binary(min_size=1))
    def test_reads_back_as_what_was_dumped(self, number, text):
        assert parsed(Dictionary(number, text).dumped()) == Dictionary(number, text)

    def test_is_frozen(self):
        """What one version has written, later ones can read."""
        assert bytes.fromhex("895253440d0a0001 80 826482c7") + TEXT == FILE

    def test_is_taken_for_text_by_no_tool(self):
        assert b"\0" in FILE[:8]
        assert FILE[0] > 127

    def test_tells_apart_what_has_another_text_or_another_number(self):
        assert len({Dictionary(*each).checksum for each in ((128, b"a"), (129, b"a"), (128, b"b"))}) == 3

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "no dictionary file"),
            (FILE[:12], "no dictionary file"),
            (b"-----BEGIN PRIVATE KEY-----", "no dictionary file"),
            (FILE[:7] + b"\2" + FILE[8:], "newer format"),
            (FILE[:-1], "damaged"),
            (FILE[:-1] + b"x", "damaged"),
            (FILE.replace(b"\r\n", b"\n") + b" ", "no dictionary file"),
            (FILE[:8] + b"\x7f" + FILE[9:], "its number is 127, but must be from 128 to 255"),
            (FILE[:13], "it holds 0 bytes"),
            (FILE + bytes(LARGEST_TEXT), f"but must hold 1 to {LARGEST_TEXT}"),
        ],
    )
    def test_that_cannot_be_one_is_refused_with_the_reason(self, content, reason):
        with pytest.raises(ValueError, match=reason):
            parsed(content)

    @given(content=st.binary(max_size=40))
    def test_raises_nothing_else(self, content):
        for front in (b"", FILE[:8]):
            try:
                parsed(front + content)
            except ValueError:
                pass


class TestTheNextNumber:
    def test_is_one_above_the_highest(self):
        assert number_after(set()) == 128
        assert number_after({128, 131}) == 132

    def test_ends_at_255(self):
        with pytest.raises(SessionStoreMisconfigured, match="number 255, after which there is none"):
            number_after({255})
