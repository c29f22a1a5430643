"""Conversations as a host has them: ``engine.conversations``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ent_notify.engine.talk_news import TalkNews
from ent_notify.errors import MalformedMessage, NotAllowed
from ent_notify.flows.conversations import Correspondence
from ent_notify.model.acknowledgement import Ask
from ent_notify.model.conversations import (
    Contact,
    Copy,
    Draft,
    Earlier,
    LocalTime,
    Members,
    NewConversation,
    ReadBy,
    Recalled,
    Scope,
    Shape,
    Thread,
    ThreadMessage,
)
from ent_notify.model.feed import Happened
from ent_notify.model.inbox import Conversation, Reader
from ent_notify.model.people import Profile
from ent_notify.policy.contact import Party, Relation, Rules
from ent_notify.policy.contact_rules import layer_data, layer_from
from ent_notify.policy.messages import check_body
from ent_notify.policy.threads import MOST_LABELS, check_label, check_new
from ent_notify.ports import Clock, FanoutObserver
from ent_notify.settings import ConversationSettings
from ent_notify.store.acknowledgement import PostgresAcknowledgements
from ent_notify.store.announcing import PostgresAnnouncing
from ent_notify.store.contacts import Near, PostgresContacts, group_relations, members_of
from ent_notify.store.conversations import NEWEST, PostgresConversations
from ent_notify.store.database import Database
from ent_notify.store.inbox import PostgresInbox
from ent_notify.store.message_drafts import PostgresDrafts
from ent_notify.store.message_life import PostgresMessageLife
from ent_notify.store.talk_news import PostgresTalkNews

LARGEST_PAGE = 200
_FIRST = ("", 0)
_LAST = 2**62


@dataclass(frozen=True, slots=True)
class AddressBook:
    """A page of an address book. ``groups``: on the first page, all that match; ``next``: ``after`` of the next page,
    None when this is the last."""

    people: tuple[Contact, ...]
    groups: tuple[Contact, ...]
    next: tuple[str, int] | None


class Conversations:
    """Everything that people do with conversations. Whoever calls has made sure who they are: ``engine.reader``.

    What is not there and what is not theirs are both NotFound; NotAllowed says that the rules forbid it;
    MalformedMessage that a text cannot be kept. Then nothing was written.
    """

    def __init__(
        self, db: Database, store: PostgresConversations, clock: Clock, chosen: ConversationSettings, news: TalkNews
    ) -> None:
        self._store = store
        self._inbox = PostgresInbox(db)
        self._contacts = PostgresContacts(db)
        self._life = PostgresMessageLife(db, store.guard)
        self._drafts = PostgresDrafts(db, store)
        self._announcing = PostgresAnnouncing(db)
        self._clock = clock
        self._edit_window = timedelta(minutes=chosen.edit_minutes)
        self._moderators = chosen.moderators
        self._news = news
        self._talk_news = PostgresTalkNews(db)
        self._acknowledgements = PostgresAcknowledgements(db)

    def correspondence(self, observer: FanoutObserver) -> Correspondence:
        """What a worker does for conversations."""

        async def posted(places: Sequence[tuple[int, int]]) -> None:
            await self._news.say_all(places, Happened.POSTED)

        return Correspondence(
            self._announcing, self._drafts, self._acknowledgements, self._clock, observer, posted=posted
        )

    # ------------------------------------------------------------ writing

    async def open(self, author: Reader, new: NewConversation) -> tuple[int, int]:
        """Open a conversation with its first message; (conversation, seq). A direct one of the same two people is gone
        on with."""
        check_new(new)
        return await self._store.start(author, new, self._clock.now())

    async def post(
        self, conversation: int, author: Reader, body: str, *, answers: int | None = None, ask: Ask | None = None
    ) -> int:
        """Write to everybody who takes part; the message's seq. ``answers`` is the seq that it answers; ``ask`` asks
        for acknowledgements or signatures of it."""
        check_body(body)
        return await self._store.post(conversation, author, body, self._clock.now(), answers, ask)

    async def reply_to_sender(self, conversation: int, seq: int, author: Reader, body: str) -> tuple[int, int]:
        """Answer the author of a message alone, in the direct conversation of the two; (conversation, seq) there."""
        now = self._clock.now()
        thread = await self._store.thread(conversation, author, now)
        wrote = await self._store.author_of(conversation, seq, author, now)
        new = NewConversation(
            shape=Shape.DIRECT, subject=thread.subject, body=body, to=(wrote,), replying=(conversation, seq)
        )
        return await self.open(author, new)

    async def add(self, conversation: int, author: Reader, people: Sequence[str], copy: Copy = Copy.TO) -> None:
        """Let more people take part (external ids); who opened the conversation may."""
        await self._store.add(conversation, author, people, copy, self._clock.now())

    async def close(self, conversation: int, author: Reader) -> None:
        """Let nobody write in it any more; who opened it may."""
        await self._store.close(conversation, author, self._clock.now())

    async def leave(self, conversation: int, reader: Reader) -> None:
        """Take part no longer. Whoever takes part by a group cannot leave: they mute or archive."""
        await self._store.leave(conversation, reader)

    async def join(self, conversation: int, reader: Reader) -> None:
        """Take part in a conversation about one's child."""
        await self._store.join(conversation, reader, self._clock.now())

    async def joinable(self, reader: Reader, before: int = _LAST, most: int = 50) -> list[tuple[int, str, str]]:
        """(conversation, subject, child's given name) of those about a reader's children that they may join."""
        return await self._store.joinable(reader, before, min(most, LARGEST_PAGE), self._clock.now())

    async def edit(self, conversation: int, seq: int, author: Reader, body: str) -> None:
        """Give one's own message another text within the window; moderators see the earlier one."""
        check_body(body)
        await self._life.edit(conversation, seq, author, body, self._edit_window, self._clock.now())
        await self._news.say(conversation, seq, Happened.EDITED)

    async def recall(self, conversation: int, seq: int, author: Reader) -> Recalled:
        """Take one's own message back: its text is gone for all, what phones show of it is replaced. Answers who had
        read it. The second time changes nothing."""
        recalled = await self._life.recall(conversation, seq, author, self._clock.now())
        await self._news.say(conversation, seq, Happened.RECALLED)
        return recalled

    # ------------------------------------------------------------ reading

    async def threads(
        self,
        reader: Reader,
        *,
        before: tuple[datetime, int] = NEWEST,
        most: int = 50,
        archived: bool | None = False,
        favourite: bool | None = None,
        label: str | None = None,
    ) -> list[Thread]:
        """A reader's conversations, those with the newest message first. ``before``: (last_at, id) of the last one of
        the page before. ``archived``, ``favourite``: None for both kinds."""
        return await self._store.threads(
            reader,
            self._clock.now(),
            before=before,
            most=min(most, LARGEST_PAGE),
            archived=archived,
            favourite=favourite,
            label=label,
        )

    async def thread(self, conversation: int, reader: Reader) -> Thread:
        """One conversation as it stands for a reader."""
        return await self._store.thread(conversation, reader, self._clock.now())

    async def messages(self, conversation: int, reader: Reader, after: int = 0, most: int = 100) -> list[ThreadMessage]:
        """Messages after a seq, oldest first. Pages have no gaps: go on after the last seq until none follows."""
        return await self._store.messages(conversation, reader, after, min(most, LARGEST_PAGE), self._clock.now())

    async def page(self, conversation: int, reader: Reader, after: int = 0, most: int = 100) -> Conversation:
        """A conversation with its messages after a seq."""
        return await self._store.read(conversation, reader, self._clock.now(), after, min(most, LARGEST_PAGE))

    async def mark_read(self, reader: Reader, conversation: int, seq: int) -> int:
        """Note that somebody has read up to a message; where they are now: never back, and no further than there is."""
        read = await self._store.mark_read(conversation, reader, seq, self._clock.now())
        authors = await self._talk_news.authors_who_see(conversation, read)
        await self._news.say(conversation, read, Happened.READ, [reader.person, *authors])
        return read

    async def members(self, conversation: int, reader: Reader) -> Members:
        """Who takes part: people by name, groups by theirs alone."""
        return await self._store.members(conversation, reader, self._clock.now())

    async def history(self, conversation: int, seq: int, reader: Reader) -> list[Earlier]:
        """What a message was before each edit: for its author, and for moderators (staff of a school of whoever opened
        the conversation, with a function of the settings' ``conversations.moderators``), who need not take part. A
        recall leaves nothing of it. NotFound for a stranger, NotAllowed for the others who take part."""
        return await self._life.history(conversation, seq, reader, self._moderators, self._clock.now())

    async def readers(
        self, conversation: int, seq: int, author: Reader, *, after: int = 0, most: int = 100
    ) -> tuple[list[ReadBy], int | None]:
        """Who has read a message, for its author, where the school lets authors see it (``Thread.tracked``, which every
        reader sees too); and ``after`` of the next page, None when this is the last. Nobody who read it before the
        school turned that on is in it. NotFound for a stranger, NotAllowed for anybody else."""
        return await self._life.readers(conversation, seq, author, after, min(most, LARGEST_PAGE), self._clock.now())

    # ------------------------------------------------------------ what one keeps

    async def keep(
        self,
        conversation: int,
        reader: Reader,
        *,
        archived: bool | None = None,
        favourite: bool | None = None,
        muted: bool | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Archive, mark, mute or label a conversation for oneself; what is left out stays as it is."""
        if labels is not None:
            for label in labels:
                check_label(label)
            labels = sorted(set(labels))
            if len(labels) > MOST_LABELS:
                raise MalformedMessage(f"a conversation has at most {MOST_LABELS} labels, not {len(labels)}")
        await self._life.keep(
            conversation,
            reader,
            self._clock.now(),
            archived=archived,
            favourite=favourite,
            muted=muted,
            labels=labels,
        )

    async def delete(self, conversation: int, reader: Reader, seq: int | None = None) -> None:
        """Put one message, or (no ``seq``) all there is, out of one's own sight; nobody else notices."""
        await self._life.delete(conversation, reader, seq, self._clock.now())

    async def block(self, reader: Reader, other: str) -> None:
        """Want no messages of somebody: they open no conversation with the reader, cannot go on with the direct one,
        and the reader is not told of what they write elsewhere. Raises NotAllowed for who may not be blocked."""
        them = await self._inbox.reader(other)
        schools = await self._contacts.schools(reader.person, self._clock.now())
        if not (await self._contacts.rules(schools)).may_block(Profile(them.profile), schools):
            raise NotAllowed(f"a {Profile(them.profile).name.lower()} cannot be blocked; tell the school")
        await self._contacts.block(reader.person, them.person, self._clock.now())

    async def unblock(self, reader: Reader, other: str) -> None:
        """Want their messages again."""
        await self._contacts.unblock(reader.person, (await self._inbox.reader(other)).person)

    async def blocked(self, reader: Reader) -> list[tuple[str, str]]:
        """(id, name) of those whom a reader has blocked."""
        return await self._contacts.blocked(reader.person)

    # ------------------------------------------------------------ drafts

    async def keep_draft(
        self,
        author: Reader,
        *,
        draft: int | None = None,
        conversation: int | None = None,
        body: str = "",
        new: NewConversation | None = None,
        sending: LocalTime | None = None,
    ) -> int:
        """Keep a draft (``new`` opens a conversation, else ``body`` goes to ``conversation``); its number. With
        ``sending`` it is sent at that local hour: it must be complete then, and whether it may be sent is looked at
        again. Changing a draft without ``sending`` unschedules it."""
        if sending is not None:
            if new is None and conversation is None:
                raise MalformedMessage("a message to be sent is to somebody; say in which conversation, or open one")
            if new is None:
                check_body(body)
            else:
                check_new(new)
        return await self._drafts.keep(author, draft, conversation, body, new, sending, self._clock.now())

    async def drafts(self, author: Reader, before: int = _LAST, most: int = 50) -> list[Draft]:
        """Somebody's drafts, messages to be sent, and those that were refused when their hour came; newest first."""
        return await self._drafts.drafts(author, before, min(most, LARGEST_PAGE))

    async def forget_draft(self, author: Reader, draft: int) -> None:
        """Throw a draft away, or do not send a message after all."""
        await self._drafts.forget(author, draft)

    async def send_draft(self, author: Reader, draft: int) -> tuple[int, int]:
        """Send a draft now; (conversation, seq). A second time it is not sent again, and the same is answered."""
        return await self._drafts.send(author, draft, self._clock.now())

    # ------------------------------------------------------------ who may write to whom

    async def may_write(
        self, writer: Reader, search: str = "", *, after: tuple[str, int] = _FIRST, most: int = 50
    ) -> AddressBook:
        """The address book: whom ``writer`` may open a conversation with, by name. ``search``: the beginnings of words
        of a name, without accents. Groups are named, and say nothing of who is in them."""
        now = self._clock.now()
        most = min(most, LARGEST_PAGE)
        words = await self._contacts.words(search)
        rules = await self._contacts.rules(await self._contacts.schools(writer.person, now))
        party = Party(Profile(writer.profile), await self._contacts.function(writer.person))
        ways = _ways(rules, party)
        people: list[Contact] = []
        place: tuple[str, int] | None = after
        while place is not None and len(people) < most:
            near = await self._contacts.near(writer.person, ways, words, place, most, now)
            place = near[-1].place if len(near) == most else None
            allowed = await self._allowed(writer, party, rules, near, now)
            for each in allowed:
                people.append(Contact(each.id, each.name, each.profile, function=each.function))
                if len(people) == most:
                    place = each.place
                    break
        groups: tuple[Contact, ...] = ()
        if after == _FIRST:
            groups = tuple(await self._groups(writer, party, rules, words, now))
        return AddressBook(tuple(people), groups, place)

    async def contact_rules(self, school: str | None = None) -> Mapping[str, Any]:
        """What the project, or a school (UAI), says of who may write to whom, as data."""
        rules = await self._contacts.rules([] if school is None else [school])
        layer = rules.project if school is None else rules.schools.get(school)
        return {} if layer is None else layer_data(layer)

    async def set_contact_rules(self, data: Mapping[str, Any], *, by: str, school: str | None = None) -> None:
        """Say who may write to whom, for the project or a school: see ``policy.contact_rules``. What was said before is
        replaced. Raises MalformedRules, NotFound for an unknown school."""
        await self._contacts.set_rules(school, layer_from(data), by, self._clock.now())

    async def _allowed(
        self, writer: Reader, party: Party, rules: Rules, near: Sequence[Near], now: datetime
    ) -> list[Near]:
        facts = await self._contacts.facts(writer.person, party, [each.person for each in near], now)
        schools = {uai for _, known in facts.values() for uai in known.schools}
        if schools - rules.schools.keys():
            rules = await self._contacts.rules(schools)
        return [each for each in near if each.person in facts and rules.decide(facts[each.person][1]).allowed]

    async def _groups(
        self, writer: Reader, party: Party, rules: Rules, words: Sequence[str], now: datetime
    ) -> list[Contact]:
        found = []
        for group in await self._contacts.groups_near(writer.person, words, now):
            for scope in Scope:
                members = members_of(group.kind, scope)
                if scope is Scope.GUARDIANS and members_of(group.kind, Scope.MEMBERS) is not Profile.PUPIL:
                    continue
                held = group_relations(party.profile, members, within=group.within, same_school=True)
                if rules.may_address(party, members, group.school, held):
                    found.append(Contact(group.id, group.name, members, scope))
        return found


def _ways(rules: Rules, writer: Party) -> dict[Relation, frozenset[Profile]]:
    """To which profiles each relation could lead, by any rule: where an address book has to look."""
    found: dict[Relation, set[Profile]] = {}
    for school in (None, *rules.schools):
        for (who, whom), when in rules.matrix(school).items():
            for relation in when if who.covers(writer) else ():
                found.setdefault(relation, set()).add(whom.profile)
    return {relation: frozenset(profiles) for relation, profiles in found.items()}
