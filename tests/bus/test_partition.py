"""Three machines with a NATS server and a gateway each; one server is killed, one machine is cut off. Nobody misses
anything, nobody hears anything twice, and once the cut is mended hints arrive again.

Every machine is a network namespace; the database is reached by its socket in the file system, from all of them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from pydantic import SecretStr
from tests.bus.namespaces import Machine, open_machines
from tests.bus.nats_house import NatsServer
from tests.patience import ask_until, patience

from ent_notify.engine import Engine, open_engine
from ent_notify.model.audience import Everyone, Group, GuardiansOf, Person, School
from ent_notify.model.events import Announcement
from ent_notify.settings import Settings, StoreSettings

PORT = 8701
READERS = ("P1", "P5", "P11", "P21")
AUDIENCES = (
    Everyone(),
    Group("0540001A/class/6A"),
    GuardiansOf(Group("0540001A/class/6A")),
    School("0540002B"),
    Person("P21"),
)


@dataclass
class Pulse:
    """Beats whenever some browser hears something."""

    next: trio.Event = field(default_factory=trio.Event)

    def beat(self) -> None:
        self.next.set()
        self.next = trio.Event()


@dataclass
class Browser:
    """One who reads a stream inside a machine."""

    person: str
    pulse: Pulse
    heard: list[int] = field(default_factory=list)

    async def read(self, machine: Machine, ticket: str) -> None:
        """Read until cancelled: nothing of what happens here is a reason to end a stream."""
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(machine.connect(PORT)))
        request = f"GET /v1/stream?ticket={ticket}&after=0 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
        async with stream:
            await stream.send_all(request.encode())
            text = ""
            while more := await stream.receive_some():
                text += more.decode()
                assert not text.startswith("HTTP/") or text.startswith("HTTP/1.1 200"), text
                *blocks, text = text.split("\n\n")
                for block in blocks:
                    if "event: notification" in block:
                        (seq,) = re.findall(r"^id: ?(\d+)$", block, re.MULTILINE)
                        self.heard.append(int(seq))
                        self.pulse.beat()
        raise AssertionError(f"the stream of {self.person} on {machine.name} has ended after {self.heard[-1:]}")

    async def reached(self, seq: int) -> None:
        """Wait until something at or beyond ``seq`` was heard."""
        with patience(f"{self.person} hears what is at place {seq} of the feed, beyond {self.heard[-1:]}"):
            while not self.heard or self.heard[-1] < seq:
                await self.pulse.next.wait()


@dataclass
class House:
    """The machines and what runs on them."""

    machines: Sequence[Machine]
    servers: Sequence[NatsServer]
    engine: Engine
    browsers: dict[Machine, list[Browser]]
    pulse: Pulse
    published: int = 0
    enough: bool = False

    async def publish_on(self) -> None:
        """Publish until it is enough: to each audience, then to each again once somebody has heard something.

        (Not until cancelled: nobody would know whether the last one is in the feed.)
        """
        while not self.enough:
            heard = self.pulse.next
            for _ in AUDIENCES:
                await self.publish()
            await heard.wait()

    async def publish(self) -> None:
        audience = AUDIENCES[self.published % len(AUDIENCES)]
        self.published += 1
        await self.engine.publish(Announcement(key=f"k{self.published}", audience=audience, title="T", body="B"))

    async def heard_more(self, machines: Sequence[Machine]) -> None:
        """Wait until every reader of ``machines`` has heard something that was published from now on."""
        head = await self.engine.feed.feed_head()
        async with trio.open_nursery() as nursery:
            for machine in machines:
                for browser in self.browsers[machine]:
                    nursery.start_soon(browser.reached, head + 1)

    async def metric(self, machine: Machine, name: str) -> float:
        """A metric of a machine's gateway."""
        sock = await trio.to_thread.run_sync(machine.connect, PORT)
        async with trio.SocketStream(trio.socket.from_stdlib_socket(sock)) as stream:
            await stream.send_all(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            answer = b""
            while not (size := re.search(rb"(?i)content-length: (\d+)\r\n(?:.+\r\n)*\r\n", answer)) or (
                len(answer) < size.end() + int(size[1])
            ):
                more = await stream.receive_some()
                assert more, f"{machine.name} ended its answer after {answer!r}"
                answer += more
        (value,) = re.findall(rf"^{name}\{{[^}}]*\}} (\S+)$", answer.decode(), re.MULTILINE)
        return float(value)

    async def grown(self, machine: Machine, name: str, beyond: float) -> None:
        """Wait until a metric is above ``beyond``."""

        async def is_beyond() -> bool:
            return await self.metric(machine, name) > beyond

        await ask_until(f"{name} of {machine.name} is above {beyond}", is_beyond)


@asynccontextmanager
async def program(machine: Machine, config: Path, *arguments: str) -> AsyncIterator[trio.Process]:
    """A command of ours in a machine, in a process group of its own; ended with the block."""
    command = [sys.executable, "-c", "from ent_notify.cli import main; main()", "--config", str(config), *arguments]
    with (config.parent / f"{config.stem}-{arguments[0]}.log").open("wb") as log:
        process = await trio.lowlevel.open_process([*machine.enter, *command], start_new_session=True, stderr=log)
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()


def configure(folder: Path, dsn: str, machine: Machine, server: NatsServer) -> Path:
    """Settings of one machine: it is told of its own NATS server only, and learns of the others from that."""
    path = folder / f"{machine.name}.toml"
    path.write_text(
        f"""
[store]
dsn = {json.dumps(dsn)}
[bus]
servers = ["{server.url}"]
ping_seconds = 0.5
[gateway]
host = "127.0.0.1"
port = {PORT}
"""
    )
    return path


@asynccontextmanager
async def open_house(dsn: str, folder: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        machines = stack.enter_context(open_machines(3))
        routes = ",".join(f"nats://{machine.address}:6222" for machine in machines)
        nats = folder / "nats.conf"
        nats.write_text('ping_interval: "1s"\nping_max: 2\nwrite_deadline: "2s"\n')
        servers = []
        for machine in machines:
            cluster = ["--cluster_name", "ent", "--cluster", f"nats://{machine.address}:6222", "--routes", routes]
            server = NatsServer(
                host=machine.address,
                port=4222,
                arguments=["--config", str(nats), "--server_name", machine.name, *cluster],
                command=machine.enter,
            )
            stack.push_async_callback(server.stop)
            await server.start()
            servers.append(server)
        configs = [configure(folder, dsn, *pair) for pair in zip(machines, servers, strict=True)]
        for machine, config in zip(machines, configs, strict=True):
            await stack.enter_async_context(program(machine, config, "gateway"))
        await stack.enter_async_context(program(machines[2], configs[2], "worker"))
        engine = await stack.enter_async_context(open_engine(Settings(store=StoreSettings(dsn=SecretStr(dsn)))))
        pulse = Pulse()
        browsers = {machine: [Browser(person, pulse) for person in READERS] for machine in machines}
        house = House(machines, servers, engine, browsers, pulse)
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        for machine, readers in browsers.items():
            await ready(machine)
            for browser in readers:
                ticket = await engine.stream_ticket(await engine.reader(browser.person))
                nursery.start_soon(browser.read, machine, ticket)
        yield house
        nursery.cancel_scope.cancel()


async def ready(machine: Machine) -> None:
    """Wait until the machine's gateway lets readers in."""

    async def lets_in() -> bool:
        try:
            sock = await trio.to_thread.run_sync(machine.connect, PORT)
        except ConnectionRefusedError:
            return False
        async with trio.SocketStream(trio.socket.from_stdlib_socket(sock)) as stream:
            await stream.send_all(b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            return b" 200 " in await stream.receive_some()

    await ask_until(f"the gateway of {machine.name} is ready", lets_in)


@pytest.mark.user("root")
@pytest.mark.peer("nats-server")
@pytest.mark.peer("namespaces")
async def test_a_killed_server_and_a_machine_that_is_cut_off_cost_nobody_anything(
    town_dsn: str, tmp_path: Path
) -> None:
    async with open_house(town_dsn, tmp_path) as house:
        first, second, _ = house.machines
        for machine in house.machines:
            await house.grown(machine, "ent_notify_bus_connected", 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.publish_on)
            await house.heard_more(house.machines)
            for machine in house.machines:
                received = await house.metric(machine, "ent_notify_bus_received_total")
                await house.grown(machine, "ent_notify_bus_received_total", received)

            await house.servers[0].stop()  # the first gateway's own; it goes to another of the cluster
            await house.heard_more(house.machines)
            await house.grown(first, "ent_notify_bus_reconnects_total", 0)
            received = await house.metric(first, "ent_notify_bus_received_total")
            await house.grown(first, "ent_notify_bus_received_total", received)

            second.unplug()  # no hint reaches it; it polls
            await house.heard_more(house.machines)
            await house.heard_more([second])

            second.plug()
            received = await house.metric(second, "ent_notify_bus_received_total")
            await house.grown(second, "ent_notify_bus_received_total", received)
            await house.heard_more(house.machines)
            house.enough = True

        await house.engine.publish(Announcement(key="end", audience=Everyone(), title="T", body="B"))
        everything = house.published + 1
        for readers in house.browsers.values():
            for browser in readers:
                await browser.reached(everything)
                reader = await house.engine.reader(browser.person)
                (theirs,) = await house.engine.feed.missed([(reader.person, 0)], 100_000)
                assert browser.heard == [item.seq for item in theirs], browser.person
