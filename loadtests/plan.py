"""What the programs of one run tell each other: the plan, the orders given meanwhile, and how each crowd stands.

They are files in the run's folder, written by one program each and read by the others: Locust's own messages would tie
the conductor to Locust, and a crowd that is busy for a second misses nothing here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "ENT_NOTIFY_LOAD_RUN"
"""Environment variable by which Locust's processes find the run's folder."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What every client process needs to know. People are numbered as in the generated region, from 1; those who come
    are spread evenly over it."""

    host: str
    port: int
    key: dict[str, str]
    issuer: str
    audience: str
    people: int
    """People in the region."""
    readers: int
    """Those who only listen, held by crowds."""
    visitors: int
    """Those who do everything, a greenlet each."""
    clients: int
    """Client processes that share both evenly."""
    arrive_seconds: float
    slow_share: float
    think_seconds: float
    most_under_way: int
    """Logins that one client process has under way at once."""

    def sources(self) -> list[str]:
        """The loopback addresses of all clients: what the gateway trusts as its proxies."""
        return [source for place in range(self.clients) for source in self.sources_of(place)]

    def sources_of(self, place: int) -> list[str]:
        """The loopback addresses of client process ``place``: two. A pair of addresses has 28,000 ports, and when the
        even half of them is taken, the kernel looks through all of that half at each connection."""
        return [f"127.0.{10 + place // 100}.{place % 100 * 2 + number}" for number in (1, 2)]

    def everybody(self) -> list[int]:
        """Who comes, in order."""
        total = self.readers + self.visitors
        return [1 + place * self.people // total for place in range(total)]

    def people_of(self, place: int) -> tuple[list[int], list[int]]:
        """The readers, and the visitors, of client process ``place``."""
        everybody = self.everybody()
        total = len(everybody)
        visiting = {number * total // self.visitors for number in range(self.visitors)}
        readers = [person for index, person in enumerate(everybody) if index not in visiting]
        visitors = [everybody[index] for index in sorted(visiting)]
        return readers[place :: self.clients], visitors[place :: self.clients]


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write_plan(self, plan: Plan) -> None:
        """Say what is to be done."""
        (self.path / "plan.json").write_text(json.dumps(asdict(plan)))

    def plan(self) -> Plan:
        """What is to be done."""
        return Plan(**json.loads((self.path / "plan.json").read_text()))

    def order(self, name: str, **arguments: Any) -> None:
        """Give every client process an order."""
        with (self.path / "orders.jsonl").open("a") as opened:
            opened.write(json.dumps({"order": name, **arguments}) + "\n")

    def orders(self, known: int) -> list[dict[str, Any]]:
        """The orders after the first ``known``."""
        return _lines(self.path / "orders.jsonl", known)

    def publish(self, notification: int, kind: str, intended_ns: int, committed_ns: int) -> None:
        """Say that a notification was committed, and when it was meant to be."""
        row = {"notification": notification, "kind": kind, "intended_ns": intended_ns, "committed_ns": committed_ns}
        with (self.path / "published.jsonl").open("a") as opened:
            opened.write(json.dumps(row) + "\n")

    def published(self, known: int) -> list[dict[str, Any]]:
        """What was published after the first ``known``."""
        return _lines(self.path / "published.jsonl", known)

    def stand(self, place: int, state: dict[str, Any]) -> None:
        """Say how client process ``place`` stands."""
        written = self.path / f"state-{place}.new"
        written.write_text(json.dumps(state))
        written.rename(self.path / f"state-{place}.json")

    def states(self) -> list[dict[str, Any]]:
        """How the client processes stand that have said so. Raises RuntimeError when one of them has failed."""
        states = [json.loads(file.read_text()) for file in sorted(self.path.glob("state-*.json"))]
        for state in states:
            if "failed" in state:
                raise RuntimeError(f"a client process has failed:\n{state['failed']}")
        return states

    def record(self, place: int) -> Path:
        """Where client process ``place`` writes what its readers heard."""
        return self.path / f"heard-{place}.bin"


def _lines(file: Path, known: int) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    whole = file.read_text().split("\n")[:-1]  # a line that is still being written has no end yet
    return [json.loads(line) for line in whole[known:]]
