"""People who come, go, choose and ask, done to the engine and told to the oracle. Each answers whether it was
possible."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from ent_notify.engine import Engine
from ent_notify.errors import NotAllowed
from ent_notify.model.people import DeviceRegistration, Preference, Profile, Removal
from ent_notify.model.rights import Asked
from ent_notify.testing.year import acts
from ent_notify.testing.year.clock import YearClock
from ent_notify.testing.year.oracle import Oracle
from ent_notify.testing.year.people import Someone
from ent_notify.testing.year.school_life import Doers
from ent_notify.testing.year.settings import APP, LEAVERS_DAYS


@dataclass(slots=True)
class Comings:
    """The directory, devices, rights and holds."""

    engine: Engine
    clock: YearClock
    oracle: Oracle
    holds: dict[str, int] = field(default_factory=dict)

    def doers(self) -> Doers:
        """Who does which act."""
        return {
            acts.Leave: self.leave,
            acts.Return: self.come_back,
            acts.Join: self.join,
            acts.Move: self.move,
            acts.Choose: self.choose,
            acts.NewPhone: self.new_phone,
            acts.PhoneDies: self.phone_dies,
            acts.MailboxCloses: self.mailbox_closes,
            acts.Erase: self.erase,
            acts.Hold: self.hold,
            acts.Lift: self.lift,
        }

    async def leave(self, act: acts.Leave) -> bool:
        """Somebody leaves."""
        if not self.oracle.is_here(act.person):
            return False
        await self.engine.sync([Removal(id=act.person)], source="host", allowed_removals=1.0)
        self.oracle.town.people[act.person].left_at = self.clock.now()
        self.oracle.changed(act.person)
        return True

    async def come_back(self, act: acts.Return) -> bool:
        """Somebody is there again."""
        someone = self.oracle.town.people.get(act.person)
        if someone is None or someone.here:
            return False
        someone.left_at = None
        self.oracle.came_back(act.person)
        await self.engine.sync([someone.record()], source="host")
        return True

    async def join(self, act: acts.Join) -> bool:
        """A family arrives."""
        town = self.oracle.town
        uai = town.school_of(act.group)
        zone = town.schools[uai]
        mail = f"{act.guardian}@example.org"
        parent = Someone(act.guardian, Profile.GUARDIAN, "Nouvelle", zone, mail, frozenset({uai}))
        pupil = Someone(
            act.pupil, Profile.PUPIL, "Nouveau", zone, None, frozenset({uai}), {f"{uai}/pupils", act.group},
            {act.guardian: 1},
        )  # fmt: skip
        town.people |= {parent.id: parent, pupil.id: pupil}
        await self.engine.sync([parent.record(), pupil.record()], source="host")
        return True

    async def move(self, act: acts.Move) -> bool:
        """Another class."""
        someone = self.oracle.town.people.get(act.person)
        if someone is None or not someone.here:
            return False
        before = {group for group in someone.groups if group in self.oracle.town.classes}
        someone.was_in |= before | {act.group}
        someone.groups = (someone.groups - before) | {act.group}
        await self.engine.sync([someone.record()], source="host")
        self.oracle.changed(act.person)
        return True

    async def choose(self, act: acts.Choose) -> bool:
        """A preference."""
        if not self.oracle.is_here(act.person):
            return False
        chosen = Preference(person=act.person, category=act.category, channel=act.channel, enabled=act.enabled)
        await self.engine.set_preferences([chosen])
        off = self.oracle.town.people[act.person].off
        (off.discard if act.enabled else off.add)((act.category, act.channel))
        self.oracle.changed(act.person)
        return True

    async def new_phone(self, act: acts.NewPhone) -> bool:
        """A token is bound."""
        oracle = self.oracle
        if not oracle.is_here(act.person):
            return False
        device = DeviceRegistration(person=act.person, provider=act.provider, app=APP, token=act.token)
        await self.engine.register_devices([device])
        before = oracle.owners.get(act.token, (act.person, act.provider))[0]
        if before in oracle.town.people:
            oracle.town.people[before].phones.discard(act.token)
        oracle.rebound(act.token)
        oracle.owners[act.token] = (act.person, act.provider)
        oracle.town.people[act.person].phones.add(act.token)
        oracle.dead.pop(act.token, None)
        oracle.dropped.discard(act.token)
        oracle.doubtful.discard(act.token)
        oracle.changed(before)
        return True

    async def phone_dies(self, act: acts.PhoneDies) -> bool:
        """An app is taken off."""
        self.oracle.dead.setdefault(act.token, self.clock.now())
        return True

    async def mailbox_closes(self, act: acts.MailboxCloses) -> bool:
        """An address is no more."""
        self.oracle.dead.setdefault(act.person, self.clock.now())
        return True

    async def erase(self, act: acts.Erase) -> bool:
        """Somebody is erased."""
        oracle = self.oracle
        if act.person not in oracle.town.people or oracle.kept(act.person):
            return False
        asked = await self.engine.data_rights.erase(act.person, Asked("dpo", "officer", "letter"))
        if asked.state != "done":
            raise NotAllowed(f"the request is {asked.state}: {asked.note}")
        oracle.erased[act.person] = self.clock.now()
        self.forget(act.person)
        return True

    def forget(self, person: str) -> None:
        """Somebody is no more: erased, or purged."""
        oracle = self.oracle
        oracle.changed(person)
        gone = oracle.town.people.pop(person)
        for token in gone.phones:
            oracle.owners.pop(token, None)
        for other in oracle.town.people.values():
            if other.links.pop(person, None) is not None:
                oracle.changed(other.id)
        for guardian in gone.links:
            oracle.changed(guardian)
        for post in oracle.mine.pop(person, []):
            post.ways.pop(person, None)

    async def hold(self, act: acts.Hold) -> bool:
        """A hold is set."""
        if act.person not in self.oracle.town.people or act.person in self.oracle.held:
            return False
        hold = await self.engine.holds.ask(by="dpo", reason="réquisition", person=act.person)
        await self.engine.holds.confirm(hold, "chef")
        self.holds[act.person] = hold
        self.oracle.held.add(act.person)
        self.oracle.ever_held.add(act.person)
        return True

    async def lift(self, act: acts.Lift) -> bool:
        """A hold is lifted."""
        if act.person not in self.oracle.held:
            return False
        await self.engine.holds.ask_lift(self.holds[act.person], "dpo")
        await self.engine.holds.lift(self.holds.pop(act.person), "chef")
        self.oracle.held.discard(act.person)
        return True

    def purge(self) -> int:
        """Those who left too long ago are no more, unless a hold keeps them; how many."""
        before = self.clock.now() - timedelta(days=LEAVERS_DAYS)
        gone = [
            someone.id
            for someone in self.oracle.town.people.values()
            if someone.left_at is not None and someone.left_at < before and not self.oracle.kept(someone.id)
        ]
        for person in gone:
            self.forget(person)
        return len(gone)
