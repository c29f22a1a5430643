"""The ledger of erasures, kept apart from the database, and the guard that lets no restored backup serve before it is
replayed: ``engine.erasure_ledger``.

A ledger is a file of JSON lines: first whose it is (a digest), then one line for each erasure with an internal number
and a digest that only its database can make. Nobody can be known from it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import orjson
import trio

from ent_notify.errors import LedgerRefused, StoreRestored
from ent_notify.ports import Clock
from ent_notify.settings import RetentionSettings
from ent_notify.store.erasures import LedgerLine, PostgresErasures

REMEDY = "run `ent-notify retention ledger replay FILE` with the newest ledger; then start again"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What replaying a ledger did: how many erasures it has, how many of them were missing here, and how many people of
    those stood here again and were erased."""

    lines: int
    missing: int
    erased: int


class ErasureLedger:
    """Writes and replays the ledger, and refuses what was restored."""

    def __init__(self, store: PostgresErasures, settings: RetentionSettings, clock: Clock) -> None:
        self._store = store
        self._file = settings.ledger_file
        self._backups = timedelta(days=settings.backups_days)
        self._clock = clock
        self._copied: int | None = None
        self._first: bytes | None = None

    async def guard(self) -> None:
        """Raise StoreRestored when this database came out of a backup and its ledger was not replayed.

        It is one when it lies elsewhere than it says (a dump was restored, a database was copied), or when the ledger
        file has an erasure that it knows nothing of (a backup was restored in place).
        """
        place, here = await self._store.place()
        if place != here:
            raise StoreRestored(
                "this database was restored from a dump or copied: who was erased since may stand in it again. "
                f"It serves nobody until the ledger of erasures is replayed: {REMEDY}"
            )
        if self._file is None or not await trio.Path(self._file).exists():
            return
        lines = await self._read_own(self._file)
        if missing := await self._store.missing(self._recent(lines)):
            raise StoreRestored(
                f"the ledger {self._file} has {len(missing)} erasures that this database knows nothing of: it is an "
                f"older backup. It serves nobody until the ledger is replayed: {REMEDY}"
            )

    async def lines(self) -> AsyncIterator[bytes]:
        """The ledger, whole, line by line."""
        yield await self._head()
        async for line in self._store.ledger():
            yield _written(line)

    async def keep(self) -> int:
        """Copy erasures that the ledger file lacks into it; how many. Without a file in the settings, none."""
        if self._file is None:
            return 0
        file = self._file
        if self._copied is None:
            there = await self._read_own(file) if await trio.Path(file).exists() else []
            self._copied = max((line.seq for line in there), default=0)
        new = [line async for line in self._store.ledger(self._copied)]
        if not new and await trio.Path(file).exists():
            return 0
        await trio.to_thread.run_sync(_append, file, await self._head(), [_written(line) for line in new])
        self._copied = max((line.seq for line in new), default=self._copied)
        return len(new)

    async def replay(self, file: Path) -> Replayed:
        """Do the erasures of a ledger again that this database knows nothing of, and let it serve.

        May be cut off and called again. Raises LedgerRefused for a ledger of another database.
        """
        lines = await self._read_own(file)
        missing = await self._store.missing({line.person: line for line in lines})
        erased = 0
        for line in sorted(missing, key=lambda each: each.seq):
            erased += await self._store.replay(line, self._clock.now())
        await self._store.settle(erased, f"a ledger of {len(lines)} was replayed", self._clock.now())
        return Replayed(len(lines), len(missing), erased)

    async def give_up(self, reason: str) -> None:
        """Let a restored database serve though its ledger is lost. The reason stands in the chain of receipts."""
        if not reason.strip():
            raise LedgerRefused("say in a word why there is no ledger: it is written down for ever")
        await self._store.settle(0, f"no ledger: {reason}", self._clock.now())

    async def _head(self) -> bytes:
        if self._first is None:
            self._first = orjson.dumps({"ledger": await self._store.home()}, option=orjson.OPT_APPEND_NEWLINE)
        return self._first

    async def _read_own(self, file: Path) -> list[LedgerLine]:
        home, lines = await trio.to_thread.run_sync(read_ledger, file)
        if home != await self._store.home():
            raise LedgerRefused(f"{file} is the ledger of another database; give the one of this database")
        return lines

    def _recent(self, lines: Iterable[LedgerLine]) -> dict[int, LedgerLine]:
        """Erasures are forgotten when no backup can undo them any more: older ones are missing by right."""
        since = self._clock.now() - self._backups
        return {line.person: line for line in lines if line.erased_at >= since}


def read_ledger(file: Path) -> tuple[str, list[LedgerLine]]:
    """Whose ledger a file is, and its lines. A last line that was cut off is left out. Raises LedgerRefused."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise LedgerRefused(f"{file} cannot be read ({error.strerror}); correct the path or rights") from None
    whole = text[: text.rfind(b"\n") + 1].splitlines()
    try:
        said = [orjson.loads(written) for written in whole]
        homes = {str(each["ledger"]) for each in said if "ledger" in each}
        lines = [
            LedgerLine(
                each["seq"],
                each["person"],
                each["digest"],
                each["way"],
                each["cause"],
                datetime.fromisoformat(each["erased_at"]),
            )
            for each in said
            if "ledger" not in each
        ]
    except (ValueError, KeyError, TypeError):
        homes, lines = set(), []
    if len(homes) != 1:
        raise LedgerRefused(f"{file} is no ledger of erasures; `ent-notify retention ledger export` writes one")
    return homes.pop(), lines


def _written(line: LedgerLine) -> bytes:
    said = {"seq": line.seq, "person": line.person, "digest": line.digest, "way": line.way, "cause": line.cause,
            "erased_at": line.erased_at}  # fmt: skip
    return orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE)


def _append(file: Path, head: bytes, lines: list[bytes]) -> None:
    with file.open("ab") as opened:
        if opened.tell() == 0:
            opened.write(head)
        opened.write(b"".join(lines))
        opened.flush()
        os.fsync(opened.fileno())
