"""Who should have heard what, by the database alone: audiences as they were published, and the directory's own tables.

It asks nothing of what the gateway asks (keys, the index of audiences, replays): the two can only agree by being right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

SQL = Path(__file__).parent / "sql"
People = NDArray[np.int64]
"""Person ids, sorted, each once."""


@dataclass(frozen=True, slots=True)
class Published:
    """One notification of the feed, and whom it addresses."""

    seq: int
    notification: int
    type: str
    published_ns: int
    people: People


def read_feed(connection: psycopg.Connection[Any]) -> list[Published]:
    """Everything in the feed, in order."""
    directory = Directory(connection)
    rows = connection.execute((SQL / "feed.sql").read_bytes()).fetchall()
    return [
        Published(seq, number, kind, at, directory.resolve(filled(audience, data)))
        for seq, number, kind, audience, data, at in rows
    ]


def filled(audience: Any, data: Mapping[str, Any]) -> Any:
    """An audience in which ``"$name"`` has become the event's own field ``name``."""
    if isinstance(audience, dict):
        return {name: filled(part, data) for name, part in audience.items()}
    if isinstance(audience, list):
        return [filled(part, data) for part in audience]
    return data[audience[1:]] if isinstance(audience, str) and audience.startswith("$") else audience


class Directory:
    """Resolves audiences by the directory's tables."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._known: dict[tuple[str, Any], People] = {}
        self._kinds: Mapping[str, Callable[[dict[str, Any]], People]] = {
            "everyone": lambda a: self._ask("everyone", profile=_profile(a)),
            "person": lambda a: self._ask("person", person=a["person"]),
            "group": lambda a: self._ask("group", group=a["group"]),
            "school": self._school,
            "guardians_of": lambda a: self._guardians(self.resolve(a["guardians_of"])),
            "union": lambda a: np.unique(np.concatenate([self.resolve(part) for part in a["union"]])),
            "minus": lambda a: np.setdiff1d(self.resolve(a["minus"][0]), self.resolve(a["minus"][1])),
        }

    def resolve(self, audience: dict[str, Any]) -> People:
        """The people of an audience in JSON. Raises ValueError for one that the load tests never publish."""
        kinds = [kind for kind in self._kinds if kind in audience]
        if len(kinds) != 1 or (kinds[0] == "school" and "profile" in audience):
            raise ValueError(f"the load tests publish no such audience: {audience}")
        return self._kinds[kinds[0]](audience)

    def _school(self, audience: dict[str, Any]) -> People:
        members = self._ask("school", school=audience["school"])
        return np.union1d(members, self._guardians(members))

    def _guardians(self, pupils: People) -> People:
        return self._ask("guardians", pupils=pupils.tolist())

    def _ask(self, name: str, **parameters: Any) -> People:
        key = (name, repr(parameters))
        if key not in self._known:
            rows = self._connection.execute((SQL / f"{name}.sql").read_bytes(), parameters).fetchall()
            self._known[key] = np.unique(np.array([row[0] for row in rows], dtype=np.int64))
        return self._known[key]


def _profile(audience: dict[str, Any]) -> int:
    names = {"pupil": 1, "guardian": 2, "teacher": 3, "staff": 4}
    return names[audience["profile"]] if "profile" in audience else 0
