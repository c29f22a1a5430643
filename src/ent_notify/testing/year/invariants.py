"""The invariants of a day, one function each: name, what it holds, and where it comes from. They read what people and
providers have, through the engine's public calls and a few plain queries, and compare it with the oracle.

I3, I5, I6, I7 and I12 are looked at in every send, too (``sending``); I4 whenever a phone comes back (``phones``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ent_notify.engine import Engine
from ent_notify.errors import NotFound
from ent_notify.testing.year.memory import Post
from ent_notify.testing.year.oracle import Broken, Oracle
from ent_notify.testing.year.people import MARK, Someone
from ent_notify.testing.year.sending import UNKNOWN_ATTEMPTS, rates, waits
from ent_notify.testing.year.settings import INBOX_DAYS, MOST_ATTEMPTS

PATIENCE = timedelta(hours=5)
"""How long a delivery may wait for its first try, troubles and all, once no pause holds it."""
LARGEST_INBOX = 5_000
_LATELY = timedelta(days=2)
_EDGE = timedelta(days=2)
"""The last days before an entry's end, in which it may stand in an inbox or not: the night's run takes it when it
comes."""


@dataclass(slots=True)
class Look:
    """All that a look at a day needs. ``closely`` are the people whose inboxes are compared whole today."""

    engine: Engine
    oracle: Oracle
    now: datetime
    closely: Sequence[Someone]
    metrics: Callable[[], bytes]
    broken: list[Broken]

    def says(self, invariant: str, seen: str) -> None:
        """Note something that does not hold."""
        self.broken.append(Broken(invariant, seen))


async def one_entry_for_each(look: Look) -> None:
    """I1: a committed publish is exactly one inbox entry for each eligible person, and for nobody else."""
    for someone in look.closely:
        reader = await look.engine.reader(someone.id)
        found = [entry.notification for entry in await look.engine.inbox(reader, most=LARGEST_INBOX)]
        if len(found) != len(set(found)):
            look.says("I1", f"{someone.id} finds an entry twice")
        mine = {post.number: post for post in look.oracle.mine[someone.id] if post.number}
        due = {n for n, post in mine.items() if look.oracle.may_read(post, someone.id)}
        sure = {n for n in due if look.now - mine[n].at < timedelta(days=INBOX_DAYS) - _EDGE}
        for number in sorted(sure - set(found))[:1]:
            look.says("I1", f"{someone.id} does not find {mine[number].kind} {number} of {mine[number].at}")
        for number in sorted(set(found) - due)[:1]:
            post = look.oracle.posts.get(number)
            look.says("I1", f"{someone.id} finds {post.kind if post else 'notification'} {number}, which is not theirs")
        old = {n for n in found if n in mine and look.now - mine[n].at > timedelta(days=INBOX_DAYS) + _EDGE}
        for number in sorted(n for n in old if not mine[n].named & look.oracle.ever_held):
            look.says("I8", f"{someone.id} still finds {mine[number].kind} {number} of {mine[number].at}")
            break


async def nothing_is_awaited(look: Look) -> None:
    """I1: what the engine has to say by itself (reminders, messages, changes of a timetable) was said."""
    for about, posts in look.oracle.awaited.items():
        for post in posts:
            if look.now - post.at > PATIENCE:
                look.says("I1", f"{post.kind} of {post.at} was never published: {about[1:]}")
    for post in look.oracle.by_key.values():
        if not post.number and look.now - post.at > PATIENCE:
            look.says("I1", f"{post.kind} {post.key} of {post.at} was published and is nowhere")


async def rolled_back_is_nothing(look: Look) -> None:
    """I2: what was rolled back is nowhere."""
    keys = sorted(look.oracle.rolled_back)
    if keys and (known := await look.engine.db.fetchval("year.known", keys=keys)):
        look.says("I2", f"{known} notifications stand whose transaction was rolled back")


async def threads_keep_their_order(look: Look) -> None:
    """I4: whoever takes part reads every message of a conversation, in its order, without a gap."""
    oracle = look.oracle
    for talk in oracle.talks.values():
        if talk.last_at is None or look.now - talk.last_at > _LATELY:
            continue
        for who in talk.people:
            if not oracle.is_here(who):
                continue
            reader = await look.engine.reader(who)
            lines = await look.engine.conversations.messages(talk.number, reader, 0, 200)
            if [line.seq for line in lines] != list(range(1, len(talk.lines) + 1)):
                look.says("I4", f"{who} reads {[line.seq for line in lines]} of {len(talk.lines)} messages")
            for line, (author, body) in zip(lines, talk.lines, strict=False):
                if author not in oracle.erased and line.body != body:
                    look.says("I4", f"{who} reads another message {line.seq} of {talk.name} than was written")


async def pauses_lose_nothing(look: Look) -> None:
    """I6, I10: what was held left when its pause ended; no illness of one provider kept another waiting."""
    for post, (provider, target) in waits(look.oracle, look.now, PATIENCE)[:3]:
        who = look.oracle.owner(target)
        told = await look.engine.explain(post.number, who.id) if who else None
        ways = (
            [f"{each.provider or each.channel} {each.state} {each.reason or ''}" for each in told.deliveries]
            if told
            else []
        )
        seen = f"{post.kind} {post.number} of {post.at} was never tried by {provider} for {target[:24]}: {ways}"
        look.says("I6" if provider not in look.oracle.ill else "I10", seen)


async def no_bucket_overflows(look: Look) -> None:
    """I7: no window of a second holds more than a provider's limit."""
    rates(look.oracle)


async def erased_is_gone(look: Look) -> None:
    """I8: of somebody erased, no word is in any row of any table a day later."""
    for person, at in list(look.oracle.erased.items()):
        if look.now - at < timedelta(hours=12) or person in look.oracle.looked_for:
            continue
        look.oracle.looked_for.add(person)
        async with look.engine.db.transaction() as tx:
            await tx.fetchval("year.want", word=person)
            await tx.execute("year.look_everywhere")
            found = await tx.fetchval("year.seen_in")
        if found:
            look.says("I8", f"{person} was erased on {at}, and is still in{found}")


async def holds_keep(look: Look) -> None:
    """I9: who is on hold is there, however long ago they left."""
    held = sorted(look.oracle.held)
    there = {row["external_id"] for row in await look.engine.db.fetch("year.there", people=held)}
    for person in held:
        if person not in there:
            look.says("I9", f"{person} is on hold and was purged")


async def every_delivery_ends(look: Look) -> None:
    """I11: when a notification is over, nothing of it waits, and each try ended in one verdict that holds."""
    over = look.now - timedelta(hours=1)
    for row in await look.engine.db.fetch("year.stuck", over=over):
        look.says("I11", f"notification {row['notification']} is over, and its chunk {row['chunk']} is {row['state']}")
    for post in look.oracle.open_posts():
        if post.expires is None or post.expires > over:
            continue
        for key in post.tried.keys() - post.accepted - post.ended - post.excused:
            many = post.tried[key] >= MOST_ATTEMPTS or post.doubts.get(key, 0) >= UNKNOWN_ATTEMPTS
            if not many and not post.superseded and key[0] not in look.oracle.ill:
                look.says("I11", f"{post.kind} {post.number} ended {key[0]} after {post.tried[key]} tries, unexplained")


async def ledgers_add_up(look: Look) -> None:
    """I13: planned = accepted + held + suppressed + failed + pending, and accepted is what providers have accepted."""
    for post in look.oracle.open_posts():
        over = post.expires is not None and post.expires < look.now
        if not over and look.now - post.at > _LATELY:
            continue
        await _one_ledger(look, post)
        post.settled = over


async def _one_ledger(look: Look, post: Post) -> None:
    rows = await look.engine.db.fetch("year.account", campaign=post.number)
    try:
        ledger = await look.engine.ledger(post.number)
    except NotFound:
        readers = [who for who in post.ways if look.oracle.may_read(post, who)]
        if readers:  # (what was about somebody erased alone is gone with them)
            look.says("I13", f"{post.kind} {post.number} has no ledger any more, and {len(readers)} readers")
        post.settled = True
        return
    if not ledger.adds_up:
        look.says("I13", f"{post.kind} {post.number}: {ledger}")
    by_provider = {row["provider"]: row["accepted"] for row in rows}
    if post.unsure:
        return  # a provider has it, and the worker that knew is gone
    for provider in ("email", "apns", "fcm"):
        got = sum(1 for name, _ in post.accepted if name == provider)
        if by_provider.get(provider, 0) != got:
            said = f"{by_provider.get(provider, 0)} accepted by {provider}, which accepted {got}"
            look.says("I13", f"the ledger of {post.kind} {post.number} says {said}")


async def metrics_name_nobody(look: Look) -> None:
    """I12: no word of anybody's is in the metrics."""
    if MARK.encode() in look.metrics():
        look.says("I12", "the metrics hold a word of somebody's")


INVARIANTS: tuple[Callable[[Look], Awaitable[None]], ...] = (
    one_entry_for_each,
    nothing_is_awaited,
    rolled_back_is_nothing,
    threads_keep_their_order,
    pauses_lose_nothing,
    no_bucket_overflows,
    erased_is_gone,
    holds_keep,
    every_delivery_ends,
    ledgers_add_up,
    metrics_name_nobody,
)
