"""The NATS bus against real servers: who is woken, what a lost server does, and who is let in."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
import trio
import trustme
from pydantic import SecretStr
from tests.bus.nats_house import NatsServer, open_nats, wait_until
from tests.patience import PATIENCE

from ent_notify._island import Island
from ent_notify.bus.nats import NatsBus, open_nats_bus
from ent_notify.bus.nats_link import MOST_SUBSCRIPTIONS
from ent_notify.bus.nats_options import NatsOptions
from ent_notify.cli.checks import check_bus
from ent_notify.engine.hints import nats_options
from ent_notify.model.feed import FeedHint
from ent_notify.model.subjects import HeldSubjects
from ent_notify.settings import BusSettings

pytestmark = pytest.mark.peer("nats-server")


class Node:
    """A listening bus, and what it has heard."""

    def __init__(self, bus: NatsBus, held: HeldSubjects) -> None:
        self.bus = bus
        self.held = held
        self._send, self._receive = trio.open_memory_channel[FeedHint](1_000)

    async def collect(self, hints: AsyncIterator[FeedHint]) -> None:
        async for hint in hints:
            await self._send.send(hint)

    async def next(self) -> FeedHint:
        with trio.fail_after(PATIENCE):
            return await self._receive.receive()

    async def heard(self, seq: int) -> None:
        """Hear hints until one of ``seq``, and none of a later one."""
        while (hint := await self.next()).seq != seq:
            assert hint.seq is None or hint.seq < seq, hint

    async def settled(self, subjects: int) -> None:
        """Wait until so many subjects are subscribed to, and the servers have said so."""
        await wait_until(lambda: self.bus.statistics().subjects == subjects)
        while await self.next() != FeedHint():  # look: something may have passed before the servers knew
            pass


@asynccontextmanager
async def open_node(island: Island, options: NatsOptions, *held: tuple[int, int]) -> AsyncIterator[Node]:
    """A bus that listens to the subjects of some audience keys."""
    subjects = HeldSubjects()
    for key in held:
        subjects.hold(key)
    async with open_nats_bus(island, options) as bus, bus.listen(subjects) as hints, trio.open_nursery() as nursery:
        node = Node(bus, subjects)
        nursery.start_soon(node.collect, hints)
        yield node
        nursery.cancel_scope.cancel()


async def connected(bus: NatsBus) -> None:
    await wait_until(lambda: bus.statistics().connected)


def options(*servers: NatsServer) -> NatsOptions:
    return NatsOptions(servers=tuple(server.url for server in servers), retry_seconds=0.05, ping_seconds=0.5)


def to(subject: str, seq: int) -> FeedHint:
    return FeedHint(seq=seq, subjects=frozenset({subject}))


async def test_a_hint_wakes_the_nodes_that_hold_its_subject_and_no_other(island: Island) -> None:
    async with (
        open_nats() as server,
        open_node(island, options(server), (1, 50), (3, 1_001)) as first,
        open_node(island, options(server), (2, 51)) as second,
        open_nats_bus(island, options(server)) as worker,
    ):
        await first.settled(3)
        await second.settled(2)
        await connected(worker)
        before = second.bus.statistics()
        await worker.publish([to("group.50", 1), to("people.1", 2)])
        await first.heard(2)
        await worker.publish([FeedHint(seq=3, subjects=frozenset({"group.50", "group.7"}))])
        await first.heard(3)
        await worker.publish([FeedHint(seq=4)])
        await first.heard(4)
        await second.heard(4)
        after = second.bus.statistics()
        # the one of several subjects was let go of without waking anybody; those of other nodes never came
        assert (after.received - before.received, after.ignored - before.ignored) == (2, 1)
        assert worker.statistics().sent == 4


async def test_subjects_follow_who_joins_and_leaves(island: Island) -> None:
    async with (
        open_nats() as server,
        open_node(island, options(server), (1, 50)) as node,
        open_nats_bus(island, options(server)) as worker,
    ):
        await node.settled(2)
        node.held.hold((1, 51))
        node.held.hold((1, 52))
        await node.settled(4)
        await connected(worker)
        await worker.publish([to("group.51", 5)])
        await node.heard(5)
        node.held.release((1, 51))
        await wait_until(lambda: node.bus.statistics().subjects == 3)
        received = node.bus.statistics().received
        await worker.publish([to("group.51", 6), to("group.52", 7)])
        await node.heard(7)
        assert node.bus.statistics().received == received + 1


async def test_a_node_of_many_subjects_takes_them_all_and_lets_go_of_the_others(island: Island) -> None:
    async with (
        open_nats() as server,
        open_node(island, options(server), *((1, group) for group in range(MOST_SUBSCRIPTIONS + 10))) as node,
        open_nats_bus(island, options(server)) as worker,
    ):
        await node.settled(1)
        await connected(worker)
        await worker.publish([to("group.900", 1)])
        await worker.publish([to("group.3", 2)])
        await node.heard(2)
        assert node.bus.statistics().ignored == 1
        for group in range(20):
            node.held.release((1, group))
        await node.settled(MOST_SUBSCRIPTIONS + 10 - 20 + 1)
        await worker.publish([to("group.3", 3), to("group.30", 4)])
        await node.heard(4)


async def test_a_lost_server_loses_hints_and_is_come_back_to(island: Island) -> None:
    async with (
        open_nats() as server,
        open_node(island, options(server), (1, 50)) as node,
        open_nats_bus(island, options(server)) as worker,
    ):
        await node.settled(2)
        await connected(worker)
        await server.stop()
        await wait_until(lambda: not worker.statistics().connected and not node.bus.statistics().connected)
        await worker.publish([to("group.50", 1)])
        assert worker.statistics().lost == 1
        await server.start()
        await connected(node.bus)
        await connected(worker)
        await worker.publish([to("group.50", 2)])
        await node.heard(2)
        assert worker.statistics().reconnects == 1


async def test_a_cluster_that_is_away_at_the_start_is_waited_for(island: Island) -> None:
    server = NatsServer()
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(open_node(island, options(server), (1, 50)))
        await node.bus.publish([to("group.50", 1)])
        assert node.bus.statistics().lost == 1
        await server.start()
        stack.push_async_callback(server.stop)
        assert await node.next() == FeedHint()  # look: nobody knows what has passed
        assert node.bus.statistics().connected


async def moved(node: Node, worker: NatsBus) -> None:
    """Publish until the node hears it: it has noticed, and sits at the worker's server."""
    with trio.fail_after(PATIENCE):
        for seq in count(1):
            await worker.publish([to("group.50", seq)])
            with trio.move_on_after(0.05):
                await node.heard(seq)
                return


async def test_another_server_is_taken_when_one_stops_to_answer(island: Island) -> None:
    """SIGSTOP: the connection stays open and nothing answers, as in a cut network."""
    async with open_nats() as first, open_nats() as second:
        both = NatsOptions(servers=(first.url, second.url), retry_seconds=0.05, ping_seconds=0.1, connect_seconds=0.5)
        async with open_node(island, both, (1, 50)) as node:
            await node.settled(2)
            for stopped, alive in ((first, second), (second, first)):
                assert stopped.process is not None
                stopped.process.send_signal(signal.SIGSTOP)
                try:
                    worker_options = NatsOptions(servers=(alive.url,), retry_seconds=0.05)
                    async with open_nats_bus(island, worker_options) as worker:
                        await connected(worker)
                        await moved(node, worker)
                finally:
                    stopped.process.send_signal(signal.SIGCONT)


async def test_a_login_and_tls_are_used_and_doctor_says_what_is_wrong(island: Island, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("server", "client"):
        issued = authority.issue_cert("localhost", "127.0.0.1", common_name=name)
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        with (tmp_path / f"{name}.pem").open("wb") as file:
            for part in issued.cert_chain_pems:
                file.write(part.bytes())
    arguments = ["--tlsverify", "--tlscacert", str(tmp_path / "ca.pem")]
    arguments += ["--tlscert", str(tmp_path / "server.pem"), "--tlskey", str(tmp_path / "server.key")]
    arguments += ["--user", "ent", "--pass", "a long password"]
    async with open_nats(arguments=arguments) as server:
        good = BusSettings(
            servers=(server.url,),
            username="ent",
            password=SecretStr("a long password"),
            ca_file=tmp_path / "ca.pem",
            certificate_file=tmp_path / "client.pem",
            certificate_key_file=tmp_path / "client.key",
        )
        async with open_node(island, nats_options(good), (1, 50)) as node:
            await node.settled(2)
            await node.bus.publish([to("group.50", 1)])
            await node.heard(1)
        findings = await check_bus(good)
        assert [finding.grade for finding in findings] == ["ok", "warn"], findings
        assert "1 servers" in findings[0].says

        wrong = good.model_copy(update={"password": SecretStr("another password")})
        (finding, _) = await check_bus(wrong)
        assert (finding.grade, "the login is refused" in finding.says) == ("fail", True), finding
        bare = good.model_copy(update={"certificate_file": None, "certificate_key_file": None})
        assert (await check_bus(bare))[0].grade == "fail"
        away = good.model_copy(update={"ca_file": tmp_path / "no.pem"})
        assert "certificates cannot be read" in (await check_bus(away))[0].says
        async with open_nats_bus(island, nats_options(wrong)) as bus:
            await bus.publish([to("group.50", 1)])
            assert bus.statistics().lost == 1


async def test_a_stranger_s_message_can_do_no_more_than_make_us_look(island: Island) -> None:
    from nats.aio.client import Client

    async def shout(url: str) -> None:
        client = Client()
        await client.connect(servers=[url])
        await client.publish("ent_notify.all", b"\xff\xfe not ours")
        await client.close()

    async with open_nats() as server, open_node(island, options(server), (1, 50)) as node:
        await node.settled(2)
        await island.run(shout, server.url)
        assert await node.next() == FeedHint()
