"""A commit wakes the workers: one hint a transaction at most, none for what is rolled back, and none that anybody waits
for."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from ent_notify.store.fanout import WORK_CHANNEL

Connection = psycopg.Connection[tuple[Any, ...]]
PATIENCE = 10.0


def publish(connection: Connection, *keys: str) -> None:
    for key in keys:
        data = {"pupil": "p1", "starts_at": "2026-09-08T08:00:00+02:00"}
        connection.execute(
            "select ent_notify.publish(%s)", [Jsonb({"type": "AbsenceRecorded", "key": key, "data": data})]
        )


def listening(dsn: str) -> Connection:
    connection = psycopg.connect(dsn, autocommit=True)
    connection.execute(f"listen {WORK_CHANNEL}")
    return connection


def heard(listener: Connection) -> list[str]:
    """What came since, up to a word of our own."""
    listener.execute("select pg_notify(%s, 'end')", [WORK_CHANNEL])
    payloads: list[str] = []
    for notice in listener.notifies(timeout=PATIENCE):
        if notice.payload == "end":
            return payloads
        payloads.append(notice.payload)
    raise AssertionError(f"our own word never came; {payloads}")


def test_a_transaction_wakes_once_and_one_that_is_rolled_back_never(host: str) -> None:
    with listening(host) as listener, psycopg.connect(host) as application:
        publish(application, "a", "b", "c")
        assert heard(listener) == []  # not before the commit
        application.commit()
        assert heard(listener) == [""]
        publish(application, "d")
        application.rollback()
        assert heard(listener) == []
        publish(application, "a")  # published before: nothing new
        application.commit()
        assert heard(listener) == []


def test_a_session_may_keep_from_it_so_that_it_can_prepare_its_transactions(host: str) -> None:
    with listening(host) as listener, psycopg.connect(host) as application:
        application.execute("set local ent_notify.wake = off")
        publish(application, "a")
        application.commit()
        assert heard(listener) == []
        publish(application, "b")
        application.commit()
        assert heard(listener) == [""]


def test_one_transaction_at_a_time_notifies_and_nobody_waits_for_it(host: str) -> None:
    """One that has taken its turn is held open; another commits, and does not wait for the one before."""
    with listening(host) as listener, psycopg.connect(host) as one, psycopg.connect(host) as other:
        other.execute("set lock_timeout = '5s'")
        publish(one, "a")
        one.execute("set constraints all immediate")
        publish(other, "b")
        other.commit()
        assert heard(listener) == []
        one.commit()
        assert heard(listener) == [""]


def test_an_open_transaction_keeps_nobody_from_waking(host: str) -> None:
    """A host that publishes and then takes its time: the turn is taken at the commit."""
    with listening(host) as listener, psycopg.connect(host) as slow, psycopg.connect(host) as application:
        publish(slow, "a")
        publish(application, "b")
        application.commit()
        assert heard(listener) == [""]
