"""A phone as an app's engineer would write it from the documentation: it knows the wire, and nothing of the house."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ent_notify.engine import Engine
from ent_notify.model.inbox import Reader
from ent_notify.wire.forms import JSON, read_body, write_body
from ent_notify.wire.sync import answers_form, delta_form, read_writes

Values = dict[str, Any]


@dataclass
class Device:
    """What it holds of its person's inbox, and its cursor."""

    form: str = JSON
    cursor: str | None = None
    items: dict[int, Values] = field(default_factory=dict)
    floor: int = 0
    read_upto: int = 0
    read_seqs: set[int] = field(default_factory=set)
    unread: int | None = None
    conversations: dict[int, Values] = field(default_factory=dict)
    resets: list[str] = field(default_factory=list)

    async def sync(self, engine: Engine, reader: Reader, most: int | None = None, pages: int = 1_000) -> list[Values]:
        """Ask until there is no more; the pages."""
        told: list[Values] = []
        while len(told) < pages and (not told or told[-1]["more"]):
            told.append(await ask(engine, reader, self.cursor, most, self.form))
            self.apply(told[-1])
        return told

    def apply(self, delta: Values) -> None:
        if delta["reset"]:
            self.resets.append(delta["reset"]["reason"])
            self.items, self.conversations, self.read_upto, self.read_seqs = {}, {}, 0, set()
        self.floor = delta["floor"]
        kept = {item["seq"] for item in delta["items"]}
        low, high = delta["range"] or (0, 0)
        for seq in list(self.items):
            if seq <= self.floor or (low < seq <= high and seq not in kept) or seq in delta["gone"]:
                del self.items[seq]
        self.items |= {item["seq"]: item for item in delta["items"]}
        if delta["read"] is not None:
            self.read_upto, self.read_seqs = delta["read"]["upto"], set(delta["read"]["seqs"])
        if delta["unread"] is not None:
            self.unread = 100 if delta["unread_is_more"] else delta["unread"]
        for told in delta["conversations"]:
            held = self.conversations.get(told["id"])
            messages = {message["seq"]: message for message in told["messages"]}
            if held is not None and held["last_seq"] >= told["told_after"]:  # no hole
                told = told | {"told_after": min(held["told_after"], told["told_after"])}
                messages = held["messages"] | messages
            self.conversations[told["id"]] = told | {"messages": messages}
        self.cursor = delta["cursor"]

    def is_read(self, seq: int) -> bool:
        return seq <= self.read_upto or seq in self.read_seqs


async def ask(engine: Engine, reader: Reader, cursor: str | None, most: int | None = None, form: str = JSON) -> Values:
    """One page, over the wire and back."""
    delta = await engine.phones.changes(reader, cursor, most)
    values: Values = read_body(write_body(delta_form(delta), form), form)
    return values


async def send(engine: Engine, reader: Reader, writes: list[Values], form: str = JSON) -> list[Values]:
    """A batch of writes, over the wire; the answers."""
    read = read_writes(read_body(write_body({"writes": writes}, form), form))
    values = read_body(write_body(answers_form(await engine.phones.write(reader, read)), form), form)
    answers: list[Values] = values["answers"]
    return answers
