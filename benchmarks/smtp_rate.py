"""Metric 10: mails a second, against Postfix's ``smtp-source -d`` and aiosmtplib, to the same ``smtp-sink``.

Ours is the whole of ``EmailChannel.send``: it fills a multipart mail for each recipient, talks SMTP and returns a
verdict for each, in windows as the engine hands them over. smtp-source repeats one buffer of the same size (it does not
pipeline, and spends its time in C). aiosmtplib sends one ready-made mail of the same size by ``sendmail`` on uvloop,
over connections that stay open. Every side uses the number of connections that served it best in trial rounds
(``--connections`` fixes them). A sink that stores nothing is the only receiver fast enough to measure a sender by: no
real relay takes mail at these rates.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio

from benchmarks import harness
from ent_notify import words
from ent_notify.channels.email import EmailChannel
from ent_notify.channels.mime import DateLine, MailTemplate, Sender
from ent_notify.channels.smtp import Relay, TlsMode
from ent_notify.clock import SystemClock
from ent_notify.model.delivery import ACCEPTED, Outgoing

SENDER = Sender("Mon Bureau", "ne-pas-repondre@bureau.example")
PROJECT = words.Project("Mon Bureau", "https://bureau.example/")
DATA = {"group": "g", "subject": "Mathématiques", "title": "Exercices 3 et 4, page 12", "due": "2026-09-08"}
CONTENTS = {language: words.mail("HomeworkAssigned", DATA, language, PROJECT) for language in ("fr", "en")}
GIVEN = ("Léa", "Tom", "Zoé", "Hugo", "Inès", "Adam", "Chloé", "Jules")
TRIALS = (1, 2, 4, 8, 16, 32)
POSTFIX = ("/usr/sbin/smtp-sink", "/usr/sbin/smtp-source")


def outgoing(number: int) -> Outgoing:
    """One parent: a name, a child, an unsubscribe link of their own."""
    return Outgoing(
        number,
        f"parent{number}@exemple.fr",
        "en" if number % 20 == 0 else "fr",
        str(uuid.UUID(int=number)),
        personal={
            "name": f"{GIVEN[number % 8]} Durand",
            "children": f"{GIVEN[number // 8 % 8]}, {GIVEN[number // 64 % 8]}",
            "unsubscribe_url": f"https://bureau.example/u/{uuid.UUID(int=number).hex}",
        },
    )


def message() -> bytes:
    """A mail of ours, for the others to send."""
    mail = MailTemplate(CONTENTS["fr"], "fr", SENDER).fill(outgoing(1), DateLine(SystemClock().now()))
    assert isinstance(mail, bytes)
    return mail


# ---------------------------------------------------------------------- the sides, each in a process of its own


async def ours(port: int, messages: int, connections: int, window: int, at_once: int) -> float:
    """Mails a second by our channel: windows of ``window``, ``at_once`` of them under way."""
    relay = Relay("127.0.0.1", port, TlsMode.NONE, connections=connections, messages_per_connection=100_000)
    channel = EmailChannel(relay, SENDER, SystemClock())
    people = [outgoing(number) for number in range(messages)]
    windows = iter([people[first : first + window] for first in range(0, messages, window)])

    async def worker() -> None:
        for batch in windows:
            verdicts = await channel.send(CONTENTS, batch)
            assert verdicts == [ACCEPTED] * len(batch)

    start = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(worker)
    rate = messages / (time.perf_counter() - start)
    await channel.aclose()
    return rate


async def raw_aiosmtplib(port: int, messages: int, connections: int) -> float:
    """Mails a second by aiosmtplib: one ready-made mail, one task a connection."""
    import aiosmtplib

    mail = message()
    numbers = iter(range(messages))

    async def worker() -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
            for number in numbers:
                await client.sendmail("retours@bureau.example", [f"parent{number}@exemple.fr"], mail)

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(connections)))
    return messages / (time.perf_counter() - start)


def smtp_source(port: int, messages: int, connections: int) -> float:
    """Mails a second by Postfix's generator. ``-l`` counts the body; its own headers add the rest."""
    length = len(message()) - 250
    command = [POSTFIX[1], "-d", "-s", str(connections), "-m", str(messages), "-l", str(length)]
    command += ["-f", "retours@bureau.example", "-t", "parent@exemple.fr", f"127.0.0.1:{port}"]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return messages / (time.perf_counter() - start)


def run_side(options: argparse.Namespace) -> float:
    """What a child process does."""
    port, messages, connections = options.port, options.messages, options.connections[0]
    if options.side == "ours":
        return trio.run(ours, port, messages, connections, options.window, options.at_once)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(raw_aiosmtplib(port, messages, connections))


# ---------------------------------------------------------------------- the comparison


@contextmanager
def open_sink() -> Iterator[int]:
    """smtp-sink on a free port, as it is after installation: it discards what it gets."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    user = ["-u", "root"] if os.geteuid() == 0 else []
    sink = subprocess.Popen(
        [POSTFIX[0], *user, f"127.0.0.1:{port}", "1024"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        sink.kill()
        sink.wait()


class Sides:
    """The three senders, each with its best number of connections."""

    def __init__(self, port: int, options: argparse.Namespace) -> None:
        self.port = port
        self.options = options
        self.best: dict[str, int] = {}

    def once(self, side: str, connections: int, messages: int) -> float:
        """One run of ``side``."""
        if side == "smtp-source":
            return smtp_source(self.port, messages, connections)
        command = [sys.executable, "-m", "benchmarks.smtp_rate", "--side", side, "--port", str(self.port)]
        command += ["--messages", str(messages), "--connections", str(connections)]
        command += ["--window", str(self.options.window), "--at-once", str(self.options.at_once)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return float(json.loads(done.stdout))

    def tune(self, side: str, choices: Sequence[int]) -> None:
        """Find the number of connections that serves ``side`` best."""
        trials = {choice: self.once(side, choice, self.options.messages // 4) for choice in choices}
        self.best[side] = max(trials, key=lambda choice: trials[choice])
        harness.say(f"  {side}: " + ", ".join(f"{n} connections {rate:,.0f}/s" for n, rate in trials.items()))

    def run(self, side: str) -> float:
        """One run of ``side`` at its best."""
        return self.once(side, self.best[side], self.options.messages)


def measure(options: argparse.Namespace) -> list[harness.Entry]:
    """Both entries of metric 10."""
    if any(shutil.which(tool) is None for tool in POSTFIX):
        harness.say(f"{' and '.join(POSTFIX)} are needed (Debian: apt install postfix)")
        raise SystemExit(1)
    names = ("ours", "smtp-source", "aiosmtplib")
    with open_sink() as port:
        sides = Sides(port, options)
        for name in names:
            sides.tune(name, options.connections or TRIALS)
        figures = harness.interleave({name: (lambda name=name: sides.run(name)) for name in names}, options.pairs)  # type: ignore[misc]
    settings = {
        "unit": "mails/s",
        "messages": options.messages,
        "octets": len(message()),
        "connections": sides.best,
        "window": options.window,
        "windows_at_once": options.at_once,
        "sink": "smtp-sink, which discards: no real relay takes mail at this rate",
    }
    return [
        harness.compare(
            10,
            f"mails a second, whole channel, against {peer}",
            ours=figures["ours"],
            peers={peer: figures[name]},
            target=target,
            best="higher",
            settings=settings,
        )
        for name, peer, target in (
            ("smtp-source", "smtp-source -d", ">= 0.5"),
            ("aiosmtplib", "aiosmtplib", ">= 3"),
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smtp_rate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=20_000, help="mails in a run (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=7, help="interleaved pairs (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=harness.LATEST, help="results file to merge into")
    parser.add_argument("--connections", type=int, nargs="+", help="numbers of connections to try")
    parser.add_argument("--window", type=int, default=200, help="recipients in one call of send (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=4, help="calls of send under way (default: %(default)s)")
    parser.add_argument("--side", choices=("ours", "aiosmtplib"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(run_side(options)))
    else:
        harness.publish(measure(options), options.json)


if __name__ == "__main__":
    main()
