"""What happens in a conversation is told live, at whichever gateway: to those who take part, and to nobody else."""

from __future__ import annotations

import trio
from tests.evidence.eyes import note
from tests.evidence.test_two_gateways import Events, open_place

from ent_notify.model.acknowledgement import Ask, Matter, ReadingChoice
from ent_notify.model.conversations import Circle, NewConversation, Scope, Shape

CLASS = "0540001A/class/6A"
TAUGHT = (
    "insert into ent_notify.membership (group_id, person_id, valid_from) "
    f"select id, 21, '2026-09-01' from ent_notify.people_group where external_id = '{CLASS}'"
)


async def told(events: Events) -> tuple[object, object]:
    """What the next frame of a conversation says, and of which message."""
    said = await events.next("conversation")
    assert said.keys() == {"conversation", "seq", "what"}  # never a text
    return said["what"], said["seq"]


async def test_what_happens_in_a_conversation_is_told_at_every_gateway(town_dsn: str) -> None:
    with trio.fail_after(60):
        async with open_place(town_dsn) as place:
            talks, notes = place.engine.conversations, place.engine.acknowledgements
            await place.engine.db.script(TAUGHT)
            here, there = place.ports
            ida, hal, lou = [await place.events(*each) for each in (("P13", here), ("P12", there), ("P21", there))]
            stranger = await place.events("P22", here)
            for each in (ida, hal, lou, stranger):
                await each.next("held")
            teacher, guardian, other = [await place.engine.reader(name) for name in ("P21", "P13", "P12")]
            circles = (Circle(CLASS, Scope.GUARDIANS),)
            new = NewConversation(shape=Shape.CIRCLE, subject="S", body="Un", circles=circles, ask=Ask())
            number, seq = await talks.open(teacher, new)
            for each in (ida, hal, lou):
                assert await told(each) == ("posted", 1)
            await talks.edit(number, seq, teacher, "Une")
            for each in (ida, hal, lou):
                assert await told(each) == ("edited", 1)
            await notes.give(Matter.message(number, seq), guardian)
            assert (await told(ida), await told(lou)) == (("acknowledged", 1), ("acknowledged", 1))
            await talks.mark_read(guardian, number, seq)
            assert await told(ida) == ("read", 1)
            await notes.choose_reading(ReadingChoice(track=True), by="host")
            await talks.mark_read(other, number, seq)
            assert await told(hal) == ("read", 1)  # nothing was told them of what another said and read
            assert await told(lou) == ("read", 1)  # of who read before it was shown she was told nothing
            await talks.recall(number, seq, teacher)
            for each in (ida, hal, lou):
                assert await told(each) == ("recalled", 1)
            await place.engine.publish(note("c", 22))
            while b"event: notification" not in stranger._unread:
                stranger._unread += await stranger.stream.receive_some()
            assert b"event: conversation" not in stranger._unread
