"""What a project measures of its sessions, and that measuring harms none of them."""

import logging
import time

import pytest

from django_redis_sessions import checks, errors, metrics, records
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.errors import SessionStoreMisconfigured
from django_redis_sessions.metrics import CONFLICTS, OPERATIONS, Metrics
from django_redis_sessions.stored import LIFE_OVER


class Recorder(Metrics):
    """Remembers what it is told."""

    def __init__(self):
        self.told = []

    def operated(self, operation, seconds, outcome):
        assert 0 <= seconds < 60
        self.told.append((operation, outcome))

    def read(self, size):
        self.told.append(("read", size))

    def wrote(self, size):
        self.told.append(("wrote", size))

    def touched(self):
        self.told.append("touched")

    def conflicted(self, outcome):
        self.told.append(("conflicted", outcome))

    def discarded(self, reason):
        self.told.append(("discarded", reason))

    def unavailable(self, error):
        self.told.append(("unavailable", error))


recorder = Recorder()


class Broken(Metrics):
    def operated(self, operation, seconds, outcome):
        raise RuntimeError("the disk is full")


@pytest.fixture
def measured(configure):
    """``measured(ROLLING=True)``: configures, and gives the list of what is told from then on."""

    def set_up(**given):
        configure(METRICS="tests.test_metrics.recorder", **given)
        recorder.told.clear()
        return recorder.told

    return set_up


class TestMeasuring:
    def test_tells_of_each_operation_and_its_bytes(self, measured, do, behind, store):
        told = measured()
        session = SessionStore()
        session["a"] = 1
        do(session.create)
        size = behind.strlen(store.keys.record(session.session_key))
        assert told == [("wrote", size), ("create", "done")]
        told.clear()
        again = SessionStore(session.session_key)
        do(again.load)
        assert told == [("read", size), ("load", "done")]
        told.clear()
        assert do(again.exists, session.session_key)
        assert told == [("exists", "done")]
        told.clear()
        do(session.save)
        assert told == ["touched", ("save", "done")]
        told.clear()
        do(session.mutate, "a", lambda value: value + 1)
        do(session.cycle_key)
        do(session.delete)
        assert [each for each in told if each[0] in OPERATIONS] == [
            ("mutate", "done"), ("cycle_key", "done"), ("delete", "done")
        ]  # fmt: skip

    def test_tells_a_miss_from_a_hit(self, measured, do):
        told = measured()
        do(SessionStore("x" * 32).load)
        assert told == [("load", "missing")]

    @pytest.mark.parametrize(
        ("policy", "outcome"), [("merge", "merged"), ("strict", "refused"), ("overwrite", None)]
    )
    def test_tells_what_came_of_a_conflict(self, measured, do, policy, outcome):
        told = measured(CONFLICT=policy)
        session = SessionStore()
        do(session.create)
        rival = SessionStore(session.session_key)
        rival["theirs"] = 1
        do(rival.save)
        session["mine"] = 1
        told.clear()
        if policy == "strict":
            with pytest.raises(errors.SessionConflict):
                do(session.save)
            assert ("save", "SessionConflict") in told
        else:
            do(session.save)
        conflicts = [each[1] for each in told if each[0] == "conflicted"]
        assert conflicts == ([] if outcome is None else [outcome])
        assert set(conflicts) <= set(CONFLICTS)

    def test_tells_of_a_record_that_is_overwritten_while_its_key_changes(self, measured, do):
        told = measured(CONFLICT="overwrite")
        session = SessionStore()
        do(session.create)
        rival = SessionStore(session.session_key)
        rival["theirs"] = 1
        do(rival.save)
        do(session.cycle_key)
        assert ("conflicted", "overwritten") in told

    def test_tells_when_another_user_has_come_in_between(self, measured, do):
        told = measured()
        session = SessionStore()
        do(session.create)
        rival = SessionStore(session.session_key)
        rival["_auth_user_id"] = "1"
        do(rival.save)
        session["_auth_user_id"] = "2"
        with pytest.raises(errors.SessionEnded):
            do(session.save)
        assert told[-2:] == [("conflicted", "refused"), ("save", "SessionEnded")]

    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            (b"anything", "it has an unknown format"),
            (b"\x01", "its header is cut off"),
            (records.Codec().seal(b"[]", records.Header(1, 1, 60), ""), "its body is no dict"),
            (records.Codec().seal(b"{}", records.Header(1, 1, 60), "")[:-1], "it is cut off or damaged"),
        ],
        ids=["format", "header", "body", "damage"],
    )
    def test_counts_the_reason_for_each_session_that_is_discarded(
        self, measured, do, store, behind, record, reason
    ):
        told = measured()
        behind.set(store.keys.record("x" * 32), record, ex=60)
        do(SessionStore("x" * 32).load)
        assert ("discarded", reason) in told

    def test_counts_those_whose_life_is_over(self, measured, do, monkeypatch):
        told = measured(ABSOLUTE_TTL=100)
        session = SessionStore()
        do(session.create)
        monkeypatch.setattr("django_redis_sessions.held.time", lambda: time.time() + 200)
        do(SessionStore(session.session_key).load)
        assert ("discarded", LIFE_OVER) in told
        assert told[-1] == ("load", "missing")

    def test_tells_of_an_extension_on_reading(self, measured, do, monkeypatch):
        told = measured(ROLLING=True)
        session = SessionStore()
        do(session.create)
        told.clear()
        monkeypatch.setattr("django_redis_sessions.held.time", lambda: time.time() + 10)
        do(SessionStore(session.session_key).load)
        assert "touched" in told

    def test_tells_of_outages(self, configure, do):
        configure(URL="unix:///nowhere/redis.sock", METRICS="tests.test_metrics.recorder", RETRIES=0)
        recorder.told.clear()
        with pytest.raises(errors.SessionStoreUnavailable):
            do(SessionStore("x" * 32).load)
        assert recorder.told == [
            ("unavailable", "SessionStoreUnavailable"),
            ("load", "SessionStoreUnavailable"),
        ]

    def test_tells_of_records_that_were_fetched_ahead(self, measured, runner):
        told = measured()
        session = SessionStore()
        session.create()
        told.clear()

        async def request():
            again = SessionStore(session.session_key)
            again.load_ahead()
            await again.aload()

        runner.run(request())
        assert [each[0] for each in told] == ["read", "load"]

    def test_tells_of_outages_that_were_met_ahead(self, configure, runner):
        configure(URL="unix:///nowhere/redis.sock", METRICS="tests.test_metrics.recorder", RETRIES=0)
        recorder.told.clear()

        async def request():
            session = SessionStore("x" * 32)
            session.load_ahead()
            with pytest.raises(errors.SessionStoreUnavailable):
                await session.aload()

        runner.run(request())
        assert recorder.told == [
            ("unavailable", "SessionStoreUnavailable"),
            ("load", "SessionStoreUnavailable"),
        ]

    def test_names_the_error_of_a_function_that_mutates(self, measured, do):
        told = measured()
        session = SessionStore()
        do(session.create)
        with pytest.raises(ZeroDivisionError):
            do(session.mutate, "a", lambda value: 1 / 0)
        assert told[-1] == ("mutate", "ZeroDivisionError")

    def test_tells_of_no_life_that_could_not_be_written(self, measured, do):
        told = measured(LAST_SEEN=1)
        session = SessionStore()
        session["_auth_user_id"] = "1"
        do(session.create)
        again = SessionStore(session.session_key)
        do(again.load)
        header = again._baseline.header
        earlier = header._replace(touched=header.touched - 100, ttl=header.ttl + 100)
        again._baseline = again._baseline._replace(header=earlier)
        do(session.flush)
        told.clear()
        do(again.see, None)
        assert told == [("see", "done")]


class TestMetricsThatFail:
    def test_harm_no_session_and_are_logged_once(self, configure, do, caplog):
        configure(METRICS="tests.test_metrics.Broken")
        session = SessionStore()
        do(session.create)
        assert do(SessionStore(session.session_key).load) == {}
        assert [each.message for each in caplog.records] == [
            "METRICS failed in operated(); this is logged once."
        ]

    def test_that_cannot_be_imported_leave_sessions_unmeasured(self, configure, caplog):
        assert configure(METRICS="nowhere.to_be_found").metrics is None
        assert "Sessions are not measured" in caplog.text
        assert [each.id for each in checks.check_metrics()] == ["django_redis_sessions.E008"]

    @pytest.mark.parametrize(
        "path", ["tests.test_metrics.TestMeasuring", "tests.test_metrics.missing", "time.time"]
    )
    def test_have_to_be_metrics(self, path):
        with pytest.raises(SessionStoreMisconfigured, match="METRICS"):
            metrics.named(path)

    def test_are_checked(self, configure):
        configure()
        assert checks.check_metrics() == []
        configure(METRICS="tests.test_metrics.recorder")
        assert checks.check_metrics() == []
        configure(METRICS="tests.test_metrics.Recorder")
        assert checks.check_metrics() == []

    def test_need_a_dotted_path(self, configure):
        with pytest.raises(SessionStoreMisconfigured, match="dotted path"):
            configure(METRICS="prometheus")


def test_the_base_is_content_with_everything():
    base = Metrics()
    base.operated("load", 0.1, "done")
    base.read(1)
    base.wrote(1)
    base.touched()
    base.conflicted("merged")
    base.discarded("it is empty")
    base.unavailable("SessionStoreUnavailable")


class TestPrometheus:
    @pytest.fixture
    def registry(self):
        client = pytest.importorskip("prometheus_client")
        return client.CollectorRegistry()

    def test_has_all_that_is_documented(self, registry):
        from django_redis_sessions import prometheus

        measure = prometheus.PrometheusMetrics(registry)
        measure.operated("load", 0.0003, "done")
        measure.read(100)
        measure.wrote(50)
        measure.touched()
        measure.conflicted("merged")
        measure.discarded("it is empty")
        measure.unavailable("SessionStoreUnavailable")
        found = {
            sample.name: sample.value
            for family in registry.collect()
            for sample in family.samples
            if not sample.name.endswith(("_created", "_bucket"))
        }
        names = {name for name in prometheus.METRICS if name.endswith("_total")}
        assert {name for name in found if name.endswith("_total")} == names
        assert found["redis_sessions_operation_seconds_count"] == 1
        assert found["redis_sessions_read_bytes_total"] == 100

    def test_can_be_named(self, registry, configure):
        configured = configure(METRICS="django_redis_sessions.prometheus.PrometheusMetrics")
        session = SessionStore()
        session.create()
        assert configured.metrics is not None


@pytest.fixture
def lines(caplog):
    """All that is logged, as programs get it."""
    caplog.set_level(logging.DEBUG)
    return lambda: [
        " ".join(map(str, {**vars(each), "text": each.getMessage()}.values())) for each in caplog.records
    ]


class TestLogLines:
    def test_tell_programs_which_session_was_discarded_and_why(self, store, behind, caplog):
        behind.set(store.keys.record("x" * 32), b"anything", ex=60)
        SessionStore("x" * 32).load()
        (line,) = caplog.records
        assert line.session_handle == store.keys.name("x" * 32)
        assert line.reason == "it has an unknown format"

    def test_tell_programs_which_server_is_away(self, configure, caplog):
        configure(URL="unix:///nowhere/redis.sock", RETRIES=0)
        for _ in range(4):
            with pytest.raises(errors.SessionStoreUnavailable):
                SessionStore("x" * 32).load()
        assert [each.redis_address for each in caplog.records] == ["unix:///nowhere/redis.sock"]

    def test_never_hold_a_session_key(self, configure, behind, lines, monkeypatch):
        """Whatever goes wrong that is logged about a session."""
        from django_redis_sessions import operations

        for scheme in ("hashed", "plain"):
            store = configure(KEYS=scheme, ROLLING=True, METRICS="tests.test_metrics.Broken")
            session = SessionStore()
            session["_auth_user_id"] = "1"
            session.create()
            key = session.session_key

            def refused(*_, **__):
                raise errors.SessionStoreRefused("Redis refused the command with OOM.")
                yield

            with monkeypatch.context() as patched:
                patched.setattr(operations, "touch", refused)
                patched.setattr(operations, "forget", refused)
                patched.setattr("django_redis_sessions.held.time", lambda: time.time() + 1000)
                patched.setattr("django_redis_sessions.seen.time", lambda: time.time() + 1000)
                again = SessionStore(key)
                again.load()
                again.see(None)
                again.delete()
            behind.set(store.keys.record(key), b"anything", ex=60)
            SessionStore(key).load()
            found = lines()
            assert len(found) >= 4
            assert not [line for line in found if key in line]
