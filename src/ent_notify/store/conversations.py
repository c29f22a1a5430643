"""Conversations in PostgreSQL: opened, written in and read; one row a message, whoever reads it.

Who may write is decided by ``policy.contact``; here its facts are looked up, in the transaction that writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ent_notify.errors import ContactRefused, NotAllowed, NotFound
from ent_notify.model.acknowledgement import Ask, Matter
from ent_notify.model.conversations import (
    Circle,
    Copy,
    Member,
    Members,
    NewConversation,
    Replies,
    Scope,
    Shape,
    Thread,
    ThreadMessage,
)
from ent_notify.model.inbox import Conversation, Message, Reader
from ent_notify.model.people import Profile
from ent_notify.policy.acknowledgement import check_ask
from ent_notify.policy.contact import Facts, Party, Relation
from ent_notify.policy.messages import MAX_SUBJECT
from ent_notify.policy.threads import WORKS_THERE, refused, replies_of
from ent_notify.store.acknowledgement import ask_within
from ent_notify.store.contacts import (
    PostgresContacts,
    facts_of,
    full_name,
    group_facts,
    group_relations,
    members_of,
    thread_relations,
)
from ent_notify.store.database import Database, Record, Session, Transaction
from ent_notify.store.sending_guard import PostgresGuard
from ent_notify.store.sending_guard import people as addressed_people

CHECK_STANDS = timedelta(minutes=10)
"""How long a look at whether somebody may write in a conversation is good; changed rules end it at once, and who is
notified is looked at again each time."""
NEWEST = (datetime.max.replace(tzinfo=UTC), 2**62)
_NOBODY = "you may not write to one of these people"
_WARD = 4


class PostgresConversations:
    """Opens, continues and reads conversations."""

    def __init__(self, db: Database, guard: PostgresGuard) -> None:
        self._db = db
        self._contacts = PostgresContacts(db)
        self.guard = guard

    # ------------------------------------------------------------ writing

    async def start(self, author: Reader, new: NewConversation, now: datetime) -> tuple[int, int]:
        """Open a conversation with its first message; answers (conversation, seq). Of two people the direct one is
        gone on with. Raises NotFound for who is not there, NotAllowed where the rules say no."""
        async with self.guard.striking(author, now):
            return await self._db.atomically(self.start_within, author, new, now)

    async def start_within(
        self, tx: Transaction, author: Reader, new: NewConversation, now: datetime
    ) -> tuple[int, int]:
        """As ``start``, in a transaction of the caller's."""
        people = await self._named(tx, new.people, but=author.id)
        about = (await self._named(tx, (new.about,)))[new.about]["id"] if new.about else None
        groups = await self._groups(tx, author, new.circles, now)
        await self._check_new(tx, author, new, people, about, groups, now)
        if new.ask is not None:
            check_ask(new.ask, now, guardians=any(circle.scope is Scope.GUARDIANS for circle, _ in groups))
        others = [people[name]["id"] for name in new.people if name in people]
        pair = sorted((author.person, *others)) if new.shape is Shape.DIRECT else None
        conversation = await tx.fetchval(
            "conversations.start",
            subject=new.subject or " – ".join([author.name, *map(full_name, people.values())])[:MAX_SUBJECT],
            author_id=author.person,
            now=now,
            shape=int(new.shape),
            replies=int(replies_of(new)),
            late=int(new.late),
            keyed=bool(groups) or new.shape is Shape.CHILD,
            about_id=about,
            pair=pair,
            language=new.language,
        )
        if conversation is None:
            found = int(await tx.fetchval("conversations.of_pair", pair=pair))
            return found, await self.post_within(tx, found, author, new.body, now, checked=True, ask=new.ask)
        conversation = int(conversation)
        copies = dict.fromkeys(new.copy, Copy.COPY) | dict.fromkeys(new.blind, Copy.BLIND)
        await tx.execute(
            "conversations.join",
            conversation_id=conversation,
            people=[author.person, *others],
            copies=[0, *(int(copies.get(name, Copy.TO)) for name in new.people if name in people)],
            now=now,
        )
        keys = [(int(circle.scope), row["id"]) for circle, row in groups]
        if new.shape is Shape.CHILD and about is not None:
            keys.append((_WARD, about))
        if keys:
            await tx.execute(
                "conversations.add_keys",
                conversation_id=conversation,
                scopes=[scope for scope, _ in keys],
                refs=[ref for _, ref in keys],
                joinable=new.shape is Shape.CHILD,
            )
        return conversation, await self.post_within(tx, conversation, author, new.body, now, checked=True, ask=new.ask)

    async def post(
        self,
        conversation: int,
        author: Reader,
        body: str,
        now: datetime,
        answers: int | None = None,
        ask: Ask | None = None,
    ) -> int:
        """Add a message; answers its seq. Raises NotFound for a stranger, as if there were no conversation, and
        NotAllowed for one who may not write there."""
        async with self.guard.striking(author, now):
            if ask is None:
                return await self.post_within(self._db, conversation, author, body, now, answers)
            return await self._db.atomically(self._post_asking, conversation, author, body, now, answers, ask)

    async def _post_asking(
        self,
        tx: Transaction,
        conversation: int,
        author: Reader,
        body: str,
        now: datetime,
        answers: int | None,
        ask: Ask,
    ) -> int:
        return await self.post_within(tx, conversation, author, body, now, answers, ask=ask)

    async def post_within(
        self,
        session: Session,
        conversation: int,
        author: Reader,
        body: str,
        now: datetime,
        answers: int | None = None,
        *,
        checked: bool = False,
        ask: Ask | None = None,
    ) -> int:
        """As ``post``, in a transaction of the caller's. Errors are raised before anything is written, but for what is
        wrong with ``ask``."""
        said, seq = "check", None
        for look_done in (checked, True):
            row = await session.fetchrow(
                "conversations.post",
                conversation_id=conversation,
                author_id=author.person,
                body=body,
                now=now,
                check_after=now - CHECK_STANDS,
                checked=look_done,
                answers=answers,
            )
            if row is None:  # a function answers one row
                raise AssertionError("post_message answered nothing")
            said, seq = row["said"], row["seq"]
            if said != "check":
                break
            await self._check_post(session, conversation, author, now)
        if said == "stranger":
            raise NotFound(f"there is no conversation {conversation} for {author.id!r}")
        if seq is None:
            raise refused(said, conversation)
        if ask is not None:
            guardians = await session.fetchval("acknowledgement.guardians_addressed", conversation=conversation)
            matter = Matter.message(conversation, int(seq))
            await ask_within(session, matter, ask, author.person, now, guardians=bool(guardians))
        return int(seq)

    async def add(self, conversation: int, author: Reader, people: Sequence[str], copy: Copy, now: datetime) -> None:
        """Let more people take part; the opener alone may, under the same rules as when it was opened."""
        async with self.guard.striking(author, now):
            await self._db.atomically(self._add, conversation, author, people, copy, now)

    async def close(self, conversation: int, author: Reader, now: datetime) -> None:
        """Let nobody write in it any more; the opener alone may. Raises NotFound, NotAllowed."""
        async with self._db.transaction() as tx:
            await self._of_opener(tx, conversation, author, now)
            await tx.execute("conversations.close", conversation_id=conversation, person_id=author.person, now=now)

    async def leave(self, conversation: int, reader: Reader) -> None:
        """Take part no longer; what there is stays to be read. Raises NotFound for who does not by name."""
        async with self._db.transaction() as tx:
            await tx.fetchrow("conversations.lock", conversation_id=conversation)
            if not await tx.execute("conversations.leave", conversation_id=conversation, person_id=reader.person):
                raise NotFound(f"there is no conversation {conversation} that {reader.id!r} could leave")

    async def join(self, conversation: int, reader: Reader, now: datetime) -> None:
        """Take part in a conversation about one's child. Raises NotFound for anybody else."""
        async with self._db.transaction() as tx:
            await tx.fetchrow("conversations.lock", conversation_id=conversation)
            if await tx.execute(
                "conversations.join_by_key", conversation_id=conversation, person_id=reader.person, now=now
            ):
                return
        if await self._part(self._db, conversation, reader, now) is None:
            raise NotFound(f"there is no conversation {conversation} that {reader.id!r} could join")

    # ------------------------------------------------------------ reading

    async def threads(
        self,
        reader: Reader,
        now: datetime,
        *,
        one: int | None = None,
        before: tuple[datetime, int] = NEWEST,
        most: int = 50,
        archived: bool | None = None,
        favourite: bool | None = None,
        label: str | None = None,
    ) -> list[Thread]:
        """A reader's conversations, those with the newest message first."""
        rows = await self._db.fetch(
            "conversations.threads",
            person_id=reader.person,
            now=now,
            one=one,
            before_at=before[0],
            before=before[1],
            most=most,
            archived=archived,
            favourite=favourite,
            label=label,
        )
        return [
            Thread(
                **{**dict(row), "shape": Shape(row["shape"]), "replies": Replies(row["replies"]),
                   "labels": tuple(row["labels"]), "archived": bool(row["archived"])}
            )
            for row in rows
        ]  # fmt: skip

    async def thread(self, conversation: int, reader: Reader, now: datetime) -> Thread:
        """One conversation as it stands for a reader. Raises NotFound for a stranger, as if there were none."""
        for found in await self.threads(reader, now, one=conversation):
            return found
        raise NotFound(f"there is no conversation {conversation} for {reader.id!r}")

    async def messages(
        self, conversation: int, reader: Reader, after: int, most: int, now: datetime
    ) -> list[ThreadMessage]:
        """Messages after a place, oldest first. Raises NotFound for a stranger, as if there were none."""
        part, rows = await self._db.transact(
            [
                ("conversations.take_part", {"conversation_id": conversation, "person_id": reader.person, "now": now}),
                (
                    "conversations.messages",
                    {
                        "conversation_id": conversation,
                        "person_id": reader.person,
                        "after": after,
                        "most": most,
                        "now": now,
                    },
                ),
            ]
        )
        if not part:
            raise NotFound(f"there is no conversation {conversation} for {reader.id!r}")
        return [
            ThreadMessage(
                seq=row["seq"],
                author=row["author"] or "",
                author_name=full_name(row),
                body=row["body"],
                posted_at=row["posted_at"],
                answers=row["answers"],
                edited_at=row["edited_at"],
                recalled_at=row["recalled_at"],
                asks=row["asks"],
            )
            for row in rows
        ]

    async def read(
        self, conversation: int, reader: Reader, now: datetime, after: int = 0, most: int = 100
    ) -> Conversation:
        """A conversation for one participant. Raises NotFound for a stranger, as if there were none."""
        messages = await self.messages(conversation, reader, after, most, now)
        thread = await self.thread(conversation, reader, now)
        return Conversation(
            id=conversation,
            subject=thread.subject,
            last_seq=thread.last_seq,
            read_seq=thread.read_seq,
            messages=tuple(
                Message(seq=m.seq, author=m.author, author_name=m.author_name, body=m.body, posted_at=m.posted_at)
                for m in messages
            ),
        )

    async def mark_read(self, conversation: int, reader: Reader, seq: int, now: datetime) -> int:
        """Somebody has read up to ``seq``; where they are now. Raises NotFound for a stranger."""
        read = await self._db.fetchval(
            "conversations.mark", conversation_id=conversation, person_id=reader.person, seq=seq, now=now
        )
        if read is None:
            raise NotFound(f"there is no conversation {conversation} for {reader.id!r}")
        return int(read)

    async def members(self, conversation: int, reader: Reader, now: datetime) -> Members:
        """Who takes part: people by name, groups by theirs alone. Raises NotFound for a stranger."""
        if await self._part(self._db, conversation, reader, now) is None:
            raise NotFound(f"there is no conversation {conversation} for {reader.id!r}")
        people, groups = await self._db.transact(
            [
                ("conversations.members", {"conversation_id": conversation, "person_id": reader.person}),
                (
                    "conversations.addressed_groups",
                    {"conversation_id": conversation, "author_id": reader.person, "now": now},
                ),
            ]
        )
        return Members(
            people=tuple(
                Member(row["external_id"], full_name(row), Copy(row["copy"]), row["active"]) for row in people
            ),
            groups=tuple((row["external_id"], Scope(row["scope"])) for row in groups if row["scope"] != _WARD),
            guardians_of_child=any(row["scope"] == _WARD for row in groups),
        )

    async def joinable(self, reader: Reader, before: int, most: int, now: datetime) -> list[tuple[int, str, str]]:
        """(conversation, subject, child's given name) of those that a guardian may join, newest first."""
        rows = await self._db.fetch(
            "conversations.joinable", person_id=reader.person, before=before, most=most, now=now
        )
        return [(row["id"], row["subject"], row["child"] or "") for row in rows]

    async def author_of(
        self, conversation: int, seq: int, reader: Reader, now: datetime, session: Session | None = None
    ) -> str:
        """Who wrote a message that ``reader`` sees (external id). Raises NotFound."""
        row = await (session or self._db).fetchrow(
            "conversations.author_of", conversation_id=conversation, seq=seq, person_id=reader.person, now=now
        )
        if row is None:
            raise NotFound(f"there is no message {seq} in a conversation {conversation} for {reader.id!r}")
        return str(row["external_id"])

    # ------------------------------------------------------------ what is looked up

    async def _part(self, session: Session, conversation: int, reader: Reader, now: datetime) -> Record | None:
        return await session.fetchrow(
            "conversations.take_part", conversation_id=conversation, person_id=reader.person, now=now
        )

    async def _named(self, tx: Session, names: Sequence[str], but: str = "") -> dict[str, Record]:
        rows = await tx.fetch("conversations.people", ids=list(names))
        found = {row["external_id"]: row for row in rows}
        if missing := next((name for name in names if name not in found), None):
            raise NotFound(f"there is no person {missing!r} to write to")
        found.pop(but, None)
        return found

    async def _groups(
        self, tx: Session, author: Reader, circles: Sequence[Circle], now: datetime
    ) -> list[tuple[Circle, Record]]:
        rows = await tx.fetch(
            "conversations.groups", ids=[circle.group for circle in circles], author_id=author.person, now=now
        )
        found = {row["external_id"]: row for row in rows}
        if missing := next((circle.group for circle in circles if circle.group not in found), None):
            raise NotFound(f"there is no group {missing!r} to write to; a class is written UAI/class/NAME")
        return [(circle, found[circle.group]) for circle in circles]

    async def _of_opener(self, tx: Transaction, conversation: int, author: Reader, now: datetime) -> Record:
        head = await tx.fetchrow("conversations.lock", conversation_id=conversation)
        if head is None or await self._part(tx, conversation, author, now) is None:
            raise NotFound(f"there is no conversation {conversation} for {author.id!r}")
        if head["started_by"] != author.person:
            raise NotAllowed(f"only who opened conversation {conversation} may do that")
        return head

    async def _add(
        self, tx: Transaction, conversation: int, author: Reader, people: Sequence[str], copy: Copy, now: datetime
    ) -> None:
        head = await self._of_opener(tx, conversation, author, now)
        shape = Shape(head["shape"])
        if shape in (Shape.DIRECT, Shape.LINE):
            raise NotAllowed("a direct conversation is of two people; open a group")
        await self.guard.check(tx, author.person, conversation, now)
        named = await self._named(tx, people, but=author.id)
        new = NewConversation(shape=shape, body="", to=tuple(named))
        await self._check_new(tx, author, new, named, None, [], now)
        await tx.execute(
            "conversations.join",
            conversation_id=conversation,
            people=[row["id"] for row in named.values()],
            copies=[int(copy)] * len(named),
            now=now,
        )

    # ------------------------------------------------------------ what is checked

    async def _check_new(
        self,
        tx: Session,
        author: Reader,
        new: NewConversation,
        people: dict[str, Record],
        about: int | None,
        groups: Sequence[tuple[Circle, Record]],
        now: datetime,
    ) -> None:
        """Raises NotAllowed unless ``author`` may open this, now, to so many people."""
        writer = await tx.fetchrow("conversations.writer", conversation_id=0, author_id=author.person)
        if writer is None:
            raise NotFound(f"there is no person {author.id!r}")
        party = Party(Profile(writer["profile"]), writer["function"])
        ids = [row["id"] for row in people.values()]
        sole = ids[0] if new.shape is Shape.DIRECT and ids else None
        await self.guard.check(tx, author.person, None, now, sole, [row["id"] for _, row in groups])
        facts = await self._contacts.facts(author.person, party, [*ids, *([about] if about else [])], now, tx)
        schools = {uai for _, each in facts.values() for uai in each.schools} | {row["uai"] for _, row in groups}
        rules = await self._contacts.rules([uai for uai in schools if uai], tx)
        wrote_first = None
        if new.replying is not None:
            wrote_first = await self.author_of(*new.replying, author, now, tx)
        for person in ids:
            name, known = facts[person]
            if name == wrote_first:
                known = _with(known, Relation.REPLY)
            if not rules.decide(known).allowed:
                raise ContactRefused(
                    f"a {party.profile.name.lower()} may not open a conversation with this "
                    f"{known.recipient.profile.name.lower()}; they may answer one"
                )
            if new.shape is Shape.STAFF and known.recipient.profile not in WORKS_THERE:
                raise NotAllowed("only teachers and staff take part in a staff conversation")
        if ids and await tx.fetch("conversations.blocking", people=ids, author_id=author.person):
            raise ContactRefused(_NOBODY)
        for circle, row in groups:
            members = members_of(row["kind"], circle.scope)
            held = group_relations(party.profile, members, within=row["within"], same_school=row["same_school"])
            if not row["uai"] or not rules.may_address(party, members, row["uai"], held):
                raise ContactRefused(f"a {party.profile.name.lower()} may not write to the group {circle.group!r}")
            if new.shape is Shape.STAFF and members not in WORKS_THERE:
                raise NotAllowed("only groups of teachers or staff take part in a staff conversation")
        if about is not None:
            near = facts[about][1].relations() if about in facts else frozenset[Relation]()
            if party.profile not in WORKS_THERE or Relation.SAME_SCHOOL not in near:
                raise NotAllowed("only teachers and staff of a pupil's school may open a conversation about them")
        keys = [(int(circle.scope), row["id"]) for circle, row in groups]
        await self.guard.take(tx, author.person, party, [*addressed_people(ids), *keys], now)

    async def _check_post(self, session: Session, conversation: int, author: Reader, now: datetime) -> None:
        """Raises NotAllowed unless ``author`` may write to everybody who takes part."""
        head = await session.fetchrow("conversations.writer", conversation_id=conversation, author_id=author.person)
        if head is None or head["shape"] is None:
            raise NotFound(f"there is no conversation {conversation} for {author.id!r}")
        if head["shape"] == Shape.LINE:
            return
        party = Party(Profile(head["profile"]), head["function"])
        asked = {"conversation_id": conversation, "author_id": author.person, "now": now}
        people = await session.fetch("conversations.addressed", **asked)
        groups = await session.fetch("conversations.addressed_groups", **asked)
        thread = thread_relations(head, author.person)
        facts = [
            facts_of(row, party, *thread, *([Relation.REPLY] if row["wrote"] else [])) for row in people
        ] + group_facts(groups, party, thread)
        rules = await self._contacts.rules({uai for each in facts for uai in each.schools}, session)
        if not all(rules.decide(each).allowed for each in facts):
            raise ContactRefused(_NOBODY)
        keys = [(row["scope"], row["ref"]) for row in groups if not row["joinable"]]
        await self.guard.take(
            session, author.person, party, [*addressed_people([row["person_id"] for row in people]), *keys], now
        )


def _with(facts: Facts, relation: Relation) -> Facts:
    return Facts(facts.writer, facts.recipient, facts.shared, facts.elsewhere | {relation}, facts.schools)
