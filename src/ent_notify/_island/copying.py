"""COPY of a query's rows, on its way out: blocks of bytes that the trio side fetches at its own pace."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from ent_notify._island import tasks
from ent_notify._island.postgres import Lease, Statement

BLOCK_BYTES = 256 * 1024
"""Output crosses the bridge in blocks of at least this size."""


class CopyOut:
    """A COPY of a query's rows on its way out: blocks of bytes, at most two in hand."""

    def __init__(self, lease: Lease, statement: Statement, format_: Literal["csv", "text", "binary"]) -> None:
        self._blocks: tasks.Queue[bytes | None] = tasks.Queue()
        self._room = tasks.Semaphore(2)
        self._gathered = bytearray()
        self._task = tasks.spawn(self._copy(lease, statement, format_), name="ent-notify copy out")

    @classmethod
    async def open(cls, lease: Lease, statement: Statement, format_: Literal["csv", "text", "binary"]) -> CopyOut:
        """Begin the COPY."""
        return cls(lease, statement, format_)

    async def next_block(self) -> bytes | None:
        """The next block; None at the end. Raises what the COPY raised."""
        block = await self._blocks.get()
        if block is None:
            await self._task
        self._room.release()
        return block

    async def aclose(self) -> None:
        """Stop the COPY if it still runs; the transaction can then only be rolled back."""
        self._task.cancel()
        with suppress(Exception, tasks.CancelledError):
            await self._task

    async def _copy(self, lease: Lease, statement: Statement, format_: str) -> None:
        try:
            await lease.connection.copy_from_query(statement.sql, *statement.args, output=self._gather, format=format_)
            self._blocks.put_nowait(bytes(self._gathered))
        finally:
            self._blocks.put_nowait(None)

    async def _gather(self, data: bytes) -> None:
        self._gathered += data
        if len(self._gathered) >= BLOCK_BYTES:
            await self._room.acquire()
            block, self._gathered = bytes(self._gathered), bytearray()
            self._blocks.put_nowait(block)
