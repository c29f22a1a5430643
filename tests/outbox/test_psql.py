"""Publishing from plain psql: any client that can run one statement is a host."""

from __future__ import annotations

import json
import subprocess

import trio

from ent_notify.store.embedded import EmbeddedServer

from .conftest import relayed

EVENT = json.dumps(
    {"type": "AbsenceRecorded", "key": "absence-1", "data": {"pupil": "p1", "starts_at": "2026-09-08T08:00:00+02:00"}}
)
PUBLISH = f"select ent_notify.publish($event${EVENT}$event$);"


def psql(server: EmbeddedServer, dsn: str, script: str) -> subprocess.CompletedProcess[str]:
    """The program that comes with the embedded server."""
    return subprocess.run(
        [
            server.bin_path / "psql",
            dsn,
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set",
            "ON_ERROR_STOP=1",
        ],
        input=script,
        text=True,
        capture_output=True,
        check=False,
    )


def test_commit_publishes_once_and_a_repeat_says_so(postgres: EmbeddedServer, host: str) -> None:
    first = psql(postgres, host, f"begin;\ninsert into absence values (1, 'p1');\n{PUBLISH}\ncommit;\n")
    again = psql(postgres, host, PUBLISH)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    answer = json.loads(first.stdout)
    assert answer["created"] is True
    assert json.loads(again.stdout) == {"notification": answer["notification"], "created": False}
    assert trio.run(relayed, host) == ["AbsenceRecorded"]


def test_rollback_publishes_nothing(postgres: EmbeddedServer, host: str) -> None:
    assert psql(postgres, host, f"begin;\n{PUBLISH}\nrollback;\n").returncode == 0
    assert trio.run(relayed, host) == []


def test_a_script_that_fails_publishes_nothing(postgres: EmbeddedServer, host: str) -> None:
    failed = psql(postgres, host, f"begin;\n{PUBLISH}\ninsert into absence values (1, null);\ncommit;\n")
    assert failed.returncode == 3
    assert trio.run(relayed, host) == []


def test_rollback_to_a_savepoint_takes_back_what_came_after_it(postgres: EmbeddedServer, host: str) -> None:
    later = PUBLISH.replace("absence-1", "absence-2")
    script = f"begin;\n{PUBLISH}\nsavepoint s;\n{later}\nrollback to s;\ncommit;\n"
    assert psql(postgres, host, script).returncode == 0
    assert trio.run(relayed, host) == ["AbsenceRecorded"]
    assert json.loads(psql(postgres, host, later).stdout)["created"] is True


def test_an_error_says_what_is_wrong_and_which_code(postgres: EmbeddedServer, host: str) -> None:
    wrong = psql(postgres, host, "\\set VERBOSITY verbose\n" + PUBLISH.replace('"p1"', '"nobody"'))
    assert wrong.returncode == 3
    assert "EN001" in wrong.stderr
    assert 'no person "nobody" is in the directory' in wrong.stderr
