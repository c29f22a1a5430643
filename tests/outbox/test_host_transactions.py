"""The host's transaction is the outbox: what it commits is published once, what it rolls back never was."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import psycopg
import pytest
import trio
from psycopg import errors, sql
from psycopg.types.json import Jsonb

from .conftest import relayed

Connection = psycopg.Connection[tuple[Any, ...]]


def absence(key: str = "absence-1", pupil: str = "p1") -> dict[str, Any]:
    return {"type": "AbsenceRecorded", "key": key, "data": {"pupil": pupil, "starts_at": "2026-09-08T08:00:00+02:00"}}


def publish(connection: Connection, event: dict[str, Any]) -> dict[str, Any]:
    row = connection.execute("select ent_notify.publish(%s)", [Jsonb(event)]).fetchone()
    assert row is not None
    answer: dict[str, Any] = row[0]
    return answer


def record(connection: Connection, number: int) -> None:
    connection.execute("insert into public.absence values (%s, 'p1')", [number])


def absences(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [number for (number,) in connection.execute("select id from public.absence order by id")]


def test_commit_publishes_once_with_the_hosts_data(host: str, connection: Connection) -> None:
    record(connection, 1)
    answer = publish(connection, absence())
    assert answer["created"] is True
    assert trio.run(relayed, host) == []  # not before the commit
    connection.commit()
    assert trio.run(relayed, host) == ["AbsenceRecorded"]
    assert trio.run(relayed, host) == ["AbsenceRecorded"]
    assert absences(host) == [1]


def test_rollback_publishes_nothing(host: str, connection: Connection) -> None:
    record(connection, 1)
    publish(connection, absence())
    connection.rollback()
    assert trio.run(relayed, host) == []
    assert absences(host) == []
    assert publish(connection, absence())["created"] is True  # the key is as good as new
    connection.commit()
    assert trio.run(relayed, host) == ["AbsenceRecorded"]


def test_a_lost_connection_publishes_nothing(host: str) -> None:
    connection = psycopg.connect(host)
    publish(connection, absence())
    with psycopg.connect(host, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    connection.close()
    assert trio.run(relayed, host) == []


def test_a_savepoint_takes_back_its_own_events_alone(host: str, connection: Connection) -> None:
    with connection.transaction():  # django.db.transaction.atomic, nested
        publish(connection, absence("kept"))
        with suppress(ZeroDivisionError), connection.transaction():
            publish(connection, absence("taken back"))
            raise ZeroDivisionError
        with connection.transaction():
            publish(connection, absence("kept too"))
    connection.commit()
    assert trio.run(relayed, host) == ["AbsenceRecorded"] * 2
    assert publish(connection, absence("taken back"))["created"] is True
    assert publish(connection, absence("kept too"))["created"] is False


def test_the_same_key_publishes_once_and_says_so(host: str, connection: Connection) -> None:
    first = publish(connection, absence())
    again = publish(connection, absence())
    connection.commit()
    later = publish(connection, absence())
    connection.commit()
    assert first["created"] is True
    assert again == later == {"notification": first["notification"], "created": False}
    assert trio.run(relayed, host) == ["AbsenceRecorded"]


@pytest.mark.parametrize("first_commits", [True, False])
def test_two_transactions_with_one_key_publish_once(host: str, connection: Connection, first_commits: bool) -> None:
    first = publish(connection, absence())
    answers: list[dict[str, Any]] = []

    def second() -> None:
        with psycopg.connect(host, application_name="second") as other:
            answers.append(publish(other, absence()))

    thread = threading.Thread(target=second)
    thread.start()
    wait_until(
        host,
        "select exists (select from pg_stat_activity where application_name = 'second' and wait_event_type = 'Lock')",
    )
    assert answers == []  # it waits: whether the key is taken is not known yet
    if first_commits:
        connection.commit()
    else:
        connection.rollback()
    thread.join()
    assert answers[0]["created"] is not first_commits
    assert (answers[0]["notification"] == first["notification"]) is first_commits
    assert trio.run(relayed, host) == ["AbsenceRecorded"]


def wait_until(dsn: str, question: str, tries: int = 20_000) -> None:
    with psycopg.connect(dsn, autocommit=True) as observer:
        for _ in range(tries):
            row = observer.execute(sql.SQL(question)).fetchone()
            if row is not None and row[0]:
                return
    raise AssertionError(f"never became true: {question}")


@pytest.mark.parametrize(
    ("event", "sqlstate"),
    [
        (absence(pupil="nobody"), "EN001"),
        ({"type": "AbsenceRecorded", "key": "k", "data": {}}, "EN002"),
        ({"type": "Nope", "key": "k"}, "EN002"),
    ],
)
def test_a_refused_event_writes_nothing_and_leaves_the_host_its_savepoint(
    host: str, connection: Connection, event: dict[str, Any], sqlstate: str
) -> None:
    with connection.transaction():
        record(connection, 1)
        with pytest.raises(psycopg.Error) as refused, connection.transaction():
            publish(connection, event)
    connection.commit()
    assert refused.value.sqlstate == sqlstate
    assert absences(host) == [1]
    assert trio.run(relayed, host) == []


def test_a_refused_event_without_a_savepoint_takes_the_transaction_with_it(host: str, connection: Connection) -> None:
    record(connection, 1)
    with pytest.raises(psycopg.Error):
        publish(connection, absence(pupil="nobody"))
    with pytest.raises(errors.InFailedSqlTransaction):
        record(connection, 2)
    connection.rollback()
    assert absences(host) == []


# ---------------------------------------------------------------- the role of the guide


def test_the_hosts_role_may_publish_in_its_own_transaction(host: str, connection: Connection, application: str) -> None:
    connection.execute(sql.SQL("set role {}").format(sql.Identifier(application)))
    record(connection, 1)
    assert publish(connection, absence())["created"] is True
    assert publish(connection, absence())["created"] is False
    connection.commit()
    assert trio.run(relayed, host) == ["AbsenceRecorded"]


def test_the_hosts_role_may_do_nothing_else(connection: Connection, application: str) -> None:
    tables = connection.execute("select tablename from pg_tables where schemaname = 'ent_notify'").fetchall()
    callable_too = connection.execute(
        """select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
           where n.nspname = 'ent_notify' and p.prosecdef and p.proname <> 'publish'"""
    ).fetchall()
    connection.commit()
    assert len(tables) > 15
    assert callable_too == []  # whatever else it may call runs with its own rights: with none
    connection.execute(sql.SQL("set role {}").format(sql.Identifier(application)))
    connection.commit()
    for (table,) in tables:
        for statement in ("select from {}", "delete from {}", "insert into {} default values"):
            refuses(connection, sql.SQL(statement).format(sql.Identifier("ent_notify", table)))
    for call in ("relay(10)", "audience_people(array[1], now())", "reader_keys(1, now())", "promote(now(), 10)"):
        refuses(connection, sql.SQL(f"select ent_notify.{call}"))
    refuses(connection, sql.SQL("create function ent_notify.mine() returns int language sql as 'select 1'"))


def refuses(connection: Connection, statement: sql.SQL | sql.Composed) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement)
    connection.rollback()
    connection.execute("select 1")


def test_nobody_may_publish_without_a_grant(connection: Connection, application: str) -> None:
    connection.execute(
        sql.SQL("revoke execute on function ent_notify.publish from {}").format(sql.Identifier(application))
    )
    connection.execute(sql.SQL("set local role {}").format(sql.Identifier(application)))
    with pytest.raises(errors.InsufficientPrivilege):
        publish(connection, absence())


def test_a_role_cannot_lend_publish_its_own_tables(host: str, connection: Connection, application: str) -> None:
    """A function with its owner's rights must find its own tables, whatever the caller's search path holds."""
    connection.execute(sql.SQL("set role {}").format(sql.Identifier(application)))
    connection.execute("create temporary table event_type (name text)")
    connection.execute("create temporary table notification (id bigint)")
    connection.execute("set search_path = pg_temp, public")
    assert publish(connection, absence())["created"] is True
    connection.commit()
    assert trio.run(relayed, host) == ["AbsenceRecorded"]
