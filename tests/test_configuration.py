from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from django_redis_sessions.configuration import Settings, problems, settings_from, target_of
from django_redis_sessions.errors import SessionStoreMisconfigured


class TestASoundConfiguration:
    def test_may_be_empty(self):
        assert settings_from({}) == Settings()

    def test_takes_durations_as_numbers_and_timedeltas(self):
        assert settings_from({"TTL": timedelta(days=1)}).ttl == 86400
        assert settings_from({"TTL": 0.5}).ttl == 1
        assert settings_from({"TTL": None}).ttl is None
        assert settings_from({"TIMEOUT": timedelta(milliseconds=250)}).timeout == 0.25
        assert settings_from({"ABSOLUTE_TTL": timedelta(seconds=1.5)}).absolute_ttl == 2

    @pytest.mark.parametrize(("given", "share"), [(False, None), (True, 0.0), (0, 0.0), (0.5, 0.5)])
    def test_takes_rolling_as_a_switch_or_a_share(self, given, share):
        assert settings_from({"ROLLING": given}).rolling == share

    @pytest.mark.parametrize(
        "url",
        [
            "redis://localhost",
            "redis://user:p%40ss@redis.internal:6380/3?socket_keepalive=yes",
            "rediss://localhost/0",
            "unix:///run/redis.sock?db=1",
            "embedded://",
            "embedded:///var/tmp/sessions",
            "redis+sentinel://one,two:26380/mymaster",
            "rediss+sentinel://user:p%40ss@one/mymaster/3?sentinel_username=u&sentinel_password=p",
            "redis+cluster://one:7000,two:7001",
            "rediss+cluster://user:p%40ss@one/0",
        ],
    )
    def test_names_a_server(self, url):
        assert settings_from({"URL": url}).url == url

    def test_may_wait_for_replicas_and_go_without_a_session(self):
        settings = settings_from({"WAIT_REPLICAS": 2, "ON_OUTAGE": "anonymous"})
        assert (settings.wait_replicas, settings.on_outage) == (2, "anonymous")

    @pytest.mark.parametrize(
        ("given", "ways"),
        [
            ("zlib", "zlib"),
            (None, None),
            ("sessions-128.dict", ("sessions-128.dict",)),
            ("/srv/shop/sessions", ("/srv/shop/sessions",)),
            (Path("sessions"), ("sessions",)),
            ([Path("new.dict"), "old.dict"], ("new.dict", "old.dict")),
            (("dictionary", "old.dict"), ("dictionary", "old.dict")),
            ([None, "old.dict"], (None, "old.dict")),
        ],
    )
    def test_takes_compression_as_a_word_a_file_or_several(self, given, ways):
        assert settings_from({"COMPRESSION": given}).compression == ways

    @pytest.mark.parametrize("given", ["full", "masked", "agent", None, "shop.visitors.device_of"])
    def test_says_what_is_recorded_of_devices(self, given):
        assert settings_from({"DEVICES": given}).devices == given

    def test_takes_last_seen_as_a_duration_or_none(self):
        assert settings_from({"LAST_SEEN": timedelta(minutes=1)}).last_seen == 60
        assert settings_from({"LAST_SEEN": 0.5}).last_seen == 1
        assert settings_from({"LAST_SEEN": None}).last_seen is None

    def test_may_have_other_credentials_for_sentinels(self):
        assert problems({"OPTIONS": {"sentinel_kwargs": {"username": "u", "password": "p"}}}) == []


class TestABrokenConfiguration:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ([], "not a dict"),
            ("redis://localhost", "not a dict"),
            ({"URLS": "x"}, "has no setting 'URLS'. Did you mean 'URL'?"),
            ({"url": "redis://localhost"}, "Did you mean 'URL'?"),
            ({"TIME_OUT": 1}, "Did you mean 'TIMEOUT'?"),
            ({"ENTIRELY_UNKNOWN": 1}, "Known names: URL, OPTIONS,"),
            ({"URL": None}, "['URL'] is not a string"),
            ({"URL": "redsi://localhost"}, "did you mean 'redis://'"),
            ({"URL": "localhost:6379"}, "is not supported"),
            ({"URL": "redis://"}, "names no host"),
            ({"URL": "unix://"}, "names no socket"),
            ({"URL": "redis://host:port"}, "cannot be read as a URL"),
            ({"URL": "embedded://some/dir"}, "needs three slashes"),
            ({"URL": "redis://h?decode_responses=True"}, "records are bytes"),
            ({"URL": "redis://h?max_connections=5"}, "belongs in SESSION_REDIS['OPTIONS']"),
            ({"URL": "redis://h?socket_timeout=5"}, "belongs in SESSION_REDIS['TIMEOUT']"),
            ({"OPTIONS": {"socket_timeout": 5}}, "belongs in SESSION_REDIS['TIMEOUT']"),
            ({"URL": "redis://one,two"}, "which only redis+sentinel:// and redis+cluster:// do"),
            ({"URL": "redis+sentinel://one"}, "names no Sentinel service"),
            ({"URL": "redis+sentinel:///mymaster"}, "names no host"),
            ({"URL": "redis+sentinel://one:port/mymaster"}, "cannot be read as a URL"),
            ({"URL": "redis+sentinels://one/mymaster"}, "did you mean 'redis+sentinel://'"),
            ({"URL": "redis+cluster://one/1"}, "a cluster has only number 0"),
            ({"URL": "redis+cluster://one?socket_timeout=5"}, "belongs in SESSION_REDIS['TIMEOUT']"),
            ({"OPTIONS": {"read_from_replicas": True}}, "replicas, which lag"),
            ({"OPTIONS": []}, "not a dict"),
            ({"OPTIONS": {"decode_responses": True}}, "records are bytes"),
            ({"PREFIX": ""}, "must be a word"),
            ({"PREFIX": "two words"}, "must be a word"),
            ({"PREFIX": "new\nline"}, "must be a word"),
            ({"TTL": 0}, "above zero"),
            ({"TTL": -5}, "above zero"),
            ({"TTL": True}, "no duration"),
            ({"TTL": "3600"}, "no duration"),
            ({"TTL": float("nan")}, "above zero"),
            ({"TTL": float("inf")}, "above zero"),
            ({"ANONYMOUS_TTL": 0}, "above zero"),
            ({"ABSOLUTE_TTL": "2w"}, "no duration"),
            ({"PROBATION_TTL": -1}, "above zero"),
            ({"ROLLING": 1}, "True, False or a share of the life"),
            ({"ROLLING": -0.1}, "Use True, False, or a number from 0 to below 1"),
            ({"ROLLING": None}, "True, False or a share of the life"),
            ({"CONFLICT": "merg"}, "did you mean 'merge'"),
            ({"INTERRUPTED": "ignore"}, "must be one of 'raise', 'drop'"),
            ({"TIMEOUT": None}, "no duration"),
            ({"KEYS": "hashd"}, "did you mean 'hashed'"),
            ({"COMPRESSION": "brotli"}, "must be one of 'dictionary', 'zlib', None"),
            ({"COMPRESSION": "dictionry"}, "or the path of a dictionary file; did you mean 'dictionary'"),
            ({"COMPRESSION": 128}, "must be one of 'dictionary', 'zlib', None, or the path"),
            ({"COMPRESSION": []}, "is an empty list"),
            ({"COMPRESSION": ["new.dict", "zlb"]}, "is 'zlb', but must be one of"),
            ({"COMPRESSION": [["new.dict"]]}, "A path has a dot or a slash in it, or is a pathlib.Path"),
            ({"COMPRESSION": b"new.dict"}, "must be one of"),
            ({"RETRIES": -1}, "whole number from 0 to 10"),
            ({"RETRIES": True}, "whole number from 0 to 10"),
            ({"WAIT_REPLICAS": 11}, "whole number from 0 to 10"),
            ({"WAIT_REPLICAS": "1"}, "whole number from 0 to 10"),
            ({"ON_OUTAGE": "anonymus"}, "did you mean 'anonymous'"),
            ({"DEVICES": "ful"}, "or the dotted path of a function; did you mean 'full'"),
            (
                {"DEVICES": "shop..device_of"},
                "must be one of 'full', 'masked', 'agent', None, or the dotted path",
            ),
            ({"DEVICES": "shop.visitors:device_of"}, "or the dotted path of a function"),
            ({"DEVICES": True}, "or the dotted path of a function"),
            ({"DEVICES": len}, "or the dotted path of a function"),
            ({"LAST_SEEN": 0}, "above zero"),
            ({"LAST_SEEN": False}, "no duration"),
        ],
    )
    def test_is_refused_with_what_to_do(self, given, message):
        with pytest.raises(SessionStoreMisconfigured) as caught:
            settings_from(given)
        assert message in str(caught.value)

    def test_has_all_its_problems_named_at_once(self):
        found = problems({"URLL": "x", "TTL": 0, "KEYS": "none"})
        assert [problem.id for problem in found] == ["E002", "E003", "E003"]

    @pytest.mark.parametrize(
        "url",
        [
            "redis://user:hunter2@host:63x79/0",
            "redis://:hunter2/path",
            "http://u:hunter2@h",
            "redis://[:hunter2",
            "redis+sentinel://u:hunter2@one",
            "redis+cluster://u:hunter2@one/1",
            "redis+sentinel://one?sentinel_password=hunter2",
        ],
    )
    def test_never_repeats_a_password(self, url):
        assert not any("hunter2" in f"{problem.message}{problem.hint}" for problem in problems({"URL": url}))

    def test_hides_the_text_of_a_url_that_cannot_be_read(self):
        with pytest.raises(SessionStoreMisconfigured) as caught:
            target_of("redis://user:hunter2@host:63x79/0")
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


class TestTheSettings:
    def test_are_all_documented(self):
        import pathlib

        page = pathlib.Path(__file__).parent.parent / "docs" / "settings.md"
        text = page.read_text()
        for field in fields(Settings):
            assert f"`{field.name.upper()}`" in text
