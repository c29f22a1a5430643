"""Holder processes (``benchmarks.holder``) of one server under test, told together."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks import proc

MOST_HELD = 12_000
"""Streams of one holder: below 20,000 descriptors a process, and below half of an address pair's 28,000 ports. Linux
tries the ports of one parity first, and once these are taken every connection looks through all of them."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the clients say of one broadcast: frames received, and when the first and the last came (monotonic s)."""

    frames: int
    first: float
    last: float


class Clients:
    """Holders with an address each in 127.``place``.0.0/16. A context manager: what they hold is closed at its end."""

    def __init__(self, place: int, streams: int) -> None:
        holders = -(-streams // MOST_HELD)
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.holder"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(holders)
        ]
        self._sources = [f"127.{place}.{number // 250}.{number % 250 + 1}" for number in range(holders)]
        self._held = [0] * holders
        self.refused = 0
        self.lost = 0

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            process.wait(timeout=60)
            assert process.stdout is not None
            process.stdout.close()

    @property
    def held(self) -> int:
        """Streams opened and let in."""
        return sum(self._held)

    @property
    def pids(self) -> list[int]:
        """The holders."""
        return [process.pid for process in self._processes]

    def cpu(self) -> float:
        """CPU seconds of the holders so far."""
        return proc.cpu(self.pids)

    def open(self, number: int, port: int, opening: str, lines: Sequence[Path] = ()) -> None:
        """Open ``number`` more streams, shared out; ``lines`` has a file for each holder (see there)."""
        commands = []
        for place, share in enumerate(shares(number, len(self._processes))):
            command = {"do": "open", "number": share, "port": port, "source": self._sources[place], "opening": opening}
            commands.append(command | ({"lines": str(lines[place])} if lines else {}))
        for place, answer in enumerate(self._ask(commands)):
            self._held[place] += answer["held"]
            self.refused += answer["refused"]

    def wait(self, number: int, seconds: float = 60.0) -> Heard:
        """Wait until every held stream has heard the notification ``number``, ``seconds`` at most."""
        answers = self._ask([{"do": "wait", "id": number, "frames": part, "seconds": seconds} for part in self._held])
        self.lost = sum(answer["lost"] for answer in answers)
        heard = [answer for answer in answers if answer["frames"]]
        return Heard(
            sum(answer["frames"] for answer in answers),
            min((answer["first"] for answer in heard), default=0.0),
            max((answer["last"] for answer in heard), default=0.0),
        )

    def stamps(self) -> dict[int, list[float]]:
        """When each notification was heard, by its id, since the last call."""
        merged: dict[int, list[float]] = {}
        for answer in self._ask([{"do": "stamps"}] * len(self._processes)):
            for number, stamps in answer.items():
                merged.setdefault(int(number), []).extend(stamps)
        return merged

    def _ask(self, commands: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        for process, command in zip(self._processes, commands, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(command) + "\n")
            process.stdin.flush()
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"a holder has ended (exit {process.wait()}): no figure of this run counts")
            answers.append(json.loads(line))
        return answers


def shares(number: int, parts: int) -> list[int]:
    """``number`` in so many nearly equal parts, the larger ones first."""
    whole, rest = divmod(number, parts)
    return [whole + (place < rest) for place in range(parts)]
