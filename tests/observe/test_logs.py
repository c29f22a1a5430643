"""Logs: what the allow-list lets through, and that planted personal data never comes out, whatever path it takes."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import textwrap
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.errors import StoreBusy, UnknownAudience
from ent_notify.model.delivery import Channel, Urgency, VerdictKind
from ent_notify.observe import (
    FIELDS,
    configure_logging,
    describe_error,
    get_logger,
    log_statistics,
    pseudonym,
    use_pseudonym_key,
)

CANARIES = (
    "Zéphyrine Canari",
    "zephyrine.canari@famille.example",
    "06 12 34 56 78",
    "e2f1" * 16,  # an APNs token
    "dQw4w9WgXcQ:APA91bHPRgkF3JUikC4ENAHEeMrd41Zxv3hVZjC9KtT8OvPVGJ-hQMRKRrZuJAEcl7B338qju59zJMjw2DELjzEvxwYv7hH5",
    "Votre enfant est absent depuis 8 h",
    "postgresql://ent:motdepasse@db/ent",
)


@contextmanager
def configured(stream: io.StringIO) -> Iterator[None]:
    """All logs of the process, from debug up; the process's own arrangement comes back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("ent_notify")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    configure_logging("debug", pseudonym_key="clef de test", stream=stream)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        use_pseudonym_key(None)


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    with configured(stream):
        yield stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


log = get_logger("ent_notify.tests")


# ------------------------------------------------------------------ what passes


def test_a_line_says_when_where_what_and_its_fields(out: io.StringIO) -> None:
    log.info("chunk_settled", campaign=12, channel=Channel.EMAIL, verdict=VerdictKind.ACCEPTED, urgency=Urgency.BULK)
    (line,) = lines(out)
    assert datetime.fromisoformat(line.pop("at")).tzinfo is not None
    assert line == {
        "level": "info",
        "logger": "ent_notify.tests",
        "event": "chunk_settled",
        "campaign": 12,
        "channel": "email",
        "verdict": "accepted",
        "urgency": "bulk",
    }


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("deliveries", 1_000, 1_000),
        ("seconds", 0.12345678, 0.123457),
        ("worker", "hote-1.4242", "hote-1.4242"),
        ("reason", "smtp.5.1.1", "smtp.5.1.1"),
        ("school", "0541234A", "0541234A"),
        ("type", "HomeworkAssigned", "HomeworkAssigned"),
        ("file", "ENT_Complet_20260901_Eleve_0000.xml", "ENT_Complet_20260901_Eleve_0000.xml"),
        ("address", "127.0.0.1:8701", "127.0.0.1:8701"),
        ("until", datetime(2026, 9, 1, 7, tzinfo=UTC), "2026-09-01T07:00:00+00:00"),
        ("signal", "SIGTERM", "SIGTERM"),
        ("error", StoreBusy, "ent_notify.errors.StoreBusy"),
    ],
)
def test_an_allowed_value_is_written(out: io.StringIO, field: str, value: Any, shown: Any) -> None:
    log.info("something_happened", **{field: value})
    assert lines(out)[0][field] == shown


def test_a_person_is_a_pseudonym_that_the_key_decides(out: io.StringIO) -> None:
    log.info("inbox_read", person="AAF-1234567")
    first = lines(out)[0]["person"]
    assert first == pseudonym("AAF-1234567") and "1234567" not in first
    use_pseudonym_key("une autre clef")
    assert pseudonym("AAF-1234567") != first
    use_pseudonym_key("clef de test")
    assert pseudonym("AAF-1234567") == first != pseudonym("AAF-1234568")
    use_pseudonym_key(None)
    once = pseudonym("AAF-1234567")
    use_pseudonym_key(None)
    assert pseudonym("AAF-1234567") != once, "without a key, each process has its own"


def test_a_bound_field_stays(out: io.StringIO) -> None:
    log.bind(worker="w1").info("chunk_claimed", chunk=3)
    assert (lines(out)[0]["worker"], lines(out)[0]["chunk"]) == ("w1", 3)


def test_what_is_below_the_level_is_not_written(out: io.StringIO) -> None:
    configure_logging("warning", stream=out)
    log.info("chunk_claimed", chunk=3)
    assert out.getvalue() == ""


def test_a_host_gets_the_line_as_text_and_as_a_mapping() -> None:
    records: list[logging.LogRecord] = []

    class Host(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger("ent_notify.tests.host")
    logger.addHandler(Host())
    logger.setLevel("INFO")
    get_logger("ent_notify.tests.host").info("chunk_claimed", chunk=3, name=CANARIES[0])
    (record,) = records
    assert record.getMessage() == '{"event":"chunk_claimed","chunk":3,"dropped":1}'
    assert record.__dict__["ent_notify"] == {"event": "chunk_claimed", "chunk": 3, "dropped": 1}


# ------------------------------------------------------------------ what does not


class Impostor(StrEnum):
    NAME = CANARIES[0]


@pytest.mark.parametrize("field", [*FIELDS, "name", "email", "token", "body", "event_data"])
def test_no_field_lets_a_canary_through(out: io.StringIO, field: str) -> None:
    for canary in (*CANARIES, Impostor.NAME):
        for value in (canary, [canary], {"a": canary}, ValueError(canary), canary.encode()):
            log.info("something_happened", **{field: value})
    written = json.dumps(lines(out), ensure_ascii=False)
    assert len(lines(out)) == 40
    assert [canary for canary in CANARIES if canary in written] == []


free = st.text(min_size=1) | st.integers() | st.floats() | st.binary() | st.none() | st.lists(st.text())


@given(values=st.dictionaries(st.sampled_from([*FIELDS, "name", "email"]) | st.text(min_size=1), free, max_size=6))
def test_every_line_is_json_of_allowed_fields(values: dict[str, Any]) -> None:
    stream = io.StringIO()
    values.pop("event", None)
    with configured(stream):
        cast(Any, log).info("something_happened", **values)
    (line,) = lines(stream)
    assert line.keys() <= {"at", "level", "logger", "event", "dropped", *FIELDS}


def test_what_is_dropped_is_counted(out: io.StringIO) -> None:
    before = log_statistics()
    log.info("chunk_settled", name=CANARIES[0], chunk="trois")
    log.info(CANARIES[5], chunk=3)
    cast(Any, log).info("absent: %s", CANARIES[0])
    after = log_statistics()
    assert after["fields_dropped"] - before["fields_dropped"] == 2
    assert after["events_unnamed"] - before["events_unnamed"] == 2
    assert [(line["event"], line.get("dropped")) for line in lines(out)] == [
        ("chunk_settled", 2),
        ("unnamed_event", None),
        ("unnamed_event", None),
    ]


def thrower(error: Exception) -> Exception:
    raise error


def raising(canary: str) -> Exception:
    """An exception that holds ``canary`` wherever one can."""
    secret = canary  # a local value
    cause = UnknownAudience(f"no such person: {secret}")
    cause.add_note(secret)
    group = ExceptionGroup(secret, [KeyError(secret), OSError(2, secret, secret)])
    group.__cause__ = cause
    try:
        return thrower(group)
    except ExceptionGroup as caught:
        return caught


@pytest.mark.parametrize("canary", CANARIES)
def test_an_exception_shows_classes_and_places_alone(out: io.StringIO, canary: str) -> None:
    error = raising(canary)
    assert canary in "".join(traceback.format_exception(error)), "the canary is planted"
    log.error("import_failed", error=error)
    log.error("import_failed", exc_info=error)
    log.error("import_failed", exc_info=(type(error), error, error.__traceback__))
    try:
        raise error
    except ExceptionGroup:
        log.exception("import_failed")
    logging.getLogger("asyncpg").error("%s", canary, exc_info=error)
    assert canary not in json.dumps(lines(out), ensure_ascii=False)
    for line in lines(out):
        shown = line["error"]
        assert shown["class"] == "builtins.ExceptionGroup"
        assert shown["cause"]["class"] == "ent_notify.errors.UnknownAudience"
        assert [part["class"] for part in shown["group"]] == ["builtins.KeyError", "builtins.FileNotFoundError"]
        assert shown["group"][1]["code"] == "ENOENT"
        assert any(place.startswith(__name__) and place.endswith(" thrower") for place in shown["at"])


def test_an_endless_chain_ends() -> None:
    error: Exception = ValueError("0")
    for depth in range(1_000):
        error.__cause__, error = None, ValueError(str(depth))
    first = second = ValueError("a")
    second.__cause__ = first  # a loop
    assert len(json.dumps(describe_error(second))) < 4_000

    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        raise ValueError

    with pytest.raises(ValueError) as caught:
        deep(200)
    assert len(describe_error(caught.value)["at"]) == 12


@pytest.mark.parametrize("canary", CANARIES)
def test_what_other_libraries_log_is_a_place_without_words(out: io.StringIO, canary: str) -> None:
    logging.getLogger("aioapns").warning("Notification %s failed", canary)
    logging.getLogger(canary).error(canary)
    logging.getLogger("ent_notify.elsewhere").info(f"for {canary}")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(canary, stacklevel=1)
    assert canary not in json.dumps(lines(out), ensure_ascii=False)
    assert [line["event"] for line in lines(out)] == ["library_message"] * 4
    assert [line["logger"] for line in lines(out)] == ["aioapns", "other", "ent_notify.elsewhere", "py.warnings"]


def test_a_line_that_cannot_be_written_is_counted_and_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(28, "No space left")

    with configured(Broken()):
        before = log_statistics()["lines_failed"]
        logging.getLogger("aioapns").error("%s", CANARIES[0])
        assert log_statistics()["lines_failed"] == before + 1
    captured = capsys.readouterr()
    assert captured.err + captured.out == ""


def test_a_process_that_dies_shows_no_words() -> None:
    program = textwrap.dedent("""
        import threading
        from ent_notify.observe import configure_logging
        canary = "".join(["Zephy", "rine Ca", "nari"])
        configure_logging()
        class Finalized:
            def __del__(self):
                raise ValueError(canary)
        def fail(word):
            raise ValueError(word)
        thread = threading.Thread(target=fail, args=(canary,), name=canary)
        thread.start()
        thread.join()
        Finalized()
        fail(canary)
    """)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "Canari" not in ended.stderr + ended.stdout
    events = [json.loads(line)["event"] for line in ended.stderr.splitlines()]
    assert events == ["uncaught_error_in_thread", "error_in_finalizer", "uncaught_error"]
