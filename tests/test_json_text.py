import pytest
from django.contrib.sessions.serializers import JSONSerializer
from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions import json_text

# Surrogates are what a browser may send and JSON can write.
TEXT = st.text(st.characters(exclude_categories=[]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
DATA = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


class TestData:
    @given(DATA)
    def test_is_written_as_django_writes_it_to_the_byte(self, data):
        assert json_text.dumps(data) == JSONSerializer().dumps(data)

    @given(DATA)
    def test_is_read_as_django_reads_it(self, data):
        payload = JSONSerializer().dumps(data)
        assert repr(json_text.loads(payload)) == repr(JSONSerializer().loads(payload))

    @pytest.mark.parametrize("data", [{1, 2}, b"bytes", object()])
    def test_that_json_does_not_know_is_refused(self, data):
        with pytest.raises(TypeError):
            json_text.dumps(data)

    @pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[1]x", b"\x80\x04N."])
    def test_that_is_no_json_is_refused(self, payload):
        with pytest.raises(ValueError, match="line 1"):
            json_text.loads(payload)
