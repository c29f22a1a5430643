"""Devices and preferences of generated people: what families register and choose once they use the application."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator

from ent_notify.model.delivery import Channel
from ent_notify.model.people import DeviceRegistration, Preference, Profile, Provider

APP = "ent-mobile"
SHARES = {Profile.PUPIL: 0.50, Profile.GUARDIAN: 0.60, Profile.TEACHER: 0.50, Profile.STAFF: 0.30}
"""Share of each profile with a device."""
SECOND_DEVICE = 0.08
IPHONES = 0.40
BROWSERS = 0.15
"""Share of people who let a browser show them notifications, beside what phone they have."""
OPT_OUTS = 0.08
"""Share of people who switched something off."""
CATEGORIES = ("homework", "timetable", "absence", "grade", "announcement", "message")


def generate_devices(
    people: Iterable[tuple[str, Profile]], seed: int, *, webpush: str | None = None
) -> Iterator[DeviceRegistration]:
    """Device registrations for ``people`` (external id, profile), with tokens of the real form. The same person gets
    the same devices whatever the order.

    ``webpush`` is the origin of a fake push service: some have a browser that has subscribed there, too.
    """
    for person, profile in people:
        if webpush is not None and (browser := _browser(person, seed, webpush)) is not None:
            yield browser
        dice = _Dice(seed, "device", person)
        if dice.share() >= SHARES[profile]:
            continue
        yield _device(dice, person)
        if dice.share() < SECOND_DEVICE:
            yield _device(dice, person)


def generate_preferences(people: Iterable[tuple[str, Profile]], seed: int) -> Iterator[Preference]:
    """A few opt-outs: one category on one channel, or mails altogether category by category for the annoyed."""
    for person, _ in people:
        dice = _Dice(seed, "preference", person)
        if dice.share() >= OPT_OUTS:
            continue
        if dice.share() < 0.1:
            for category in CATEGORIES:
                yield Preference(person=person, category=category, channel=Channel.EMAIL, enabled=False)
            continue
        channel = Channel.EMAIL if dice.share() < 0.6 else Channel.PUSH
        category = CATEGORIES[int(dice.share() * len(CATEGORIES))]
        yield Preference(person=person, category=category, channel=channel, enabled=False)


class _Dice:
    """A person's own stream of chance, drawn from one hash."""

    def __init__(self, seed: int, purpose: str, person: str) -> None:
        self._bytes = hashlib.shake_128(f"{seed}/{purpose}/{person}".encode()).digest(300)
        self._used = 0

    def take(self, size: int) -> bytes:
        self._used += size
        return self._bytes[self._used - size : self._used]

    def share(self) -> float:
        return int.from_bytes(self.take(4), "big") / 2**32


def _browser(person: str, seed: int, origin: str) -> DeviceRegistration | None:
    from ent_notify.testing.webpush import subscribe  # with the clients of push, which nobody else here needs

    dice = _Dice(seed, "browser", person)
    if dice.share() >= BROWSERS:
        return None
    token = subscribe(dice.take(12).hex(), origin).token
    return DeviceRegistration(person=person, provider=Provider.WEBPUSH, app=APP, token=token, language="fr")


def _device(dice: _Dice, person: str) -> DeviceRegistration:
    language = "en" if dice.share() < 0.03 else "fr"
    if dice.share() < IPHONES:
        return DeviceRegistration(
            person=person, provider=Provider.APNS, app=APP, token=dice.take(32).hex(), language=language
        )
    text = urlsafe_b64encode(dice.take(120)).decode()
    token = f"{text[:22]}:APA91b{text[22:156]}"
    return DeviceRegistration(person=person, provider=Provider.FCM, app=APP, token=token, language=language)
