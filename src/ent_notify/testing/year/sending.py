"""What is looked at in each send: was it right at that moment? Called when a worker has stopped, before the world
moves on; so how the oracle stands is how it stood."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from ent_notify.testing.year.memory import Post, Sent
from ent_notify.testing.year.oracle import Broken, Oracle
from ent_notify.testing.year.people import MARK, Someone
from ent_notify.testing.year.settings import MOST_ATTEMPTS

UNKNOWN_ATTEMPTS = 3
WINDOW = 50
"""Sends that one sender may repeat after a crash: ``worker.checkpoint_every`` of the year's settings."""
LANES = 3
LIMITS = {"email": 200, "apns": 100, "fcm": 150}
"""Sends in any second (settings.py of the year): written here again, since who checks must not ask."""
_FINAL = ("drop_target", "bad_message")


def in_pause(at: datetime, zone: str) -> bool:
    """The circular of 10 July 2025: 20:00 to 07:00, and from Friday 20:00 to Monday 07:00, where somebody lives."""
    local = at.astimezone(ZoneInfo(zone))
    if local.weekday() >= 5:
        return True
    return local.time() >= time(20) or local.time() < time(7)


def release(at: datetime, zone: str) -> datetime:
    """When something published at ``at`` may leave: at once, or the next time it is 07:00 and no pause."""
    found = at
    while in_pause(found, zone):
        found += timedelta(minutes=15)
    return found


def judge(oracle: Oracle, *, crashed: bool) -> None:
    """Judge all sends since the last look, in their order."""
    told: set[tuple[str, str]] = set()
    repeats = 0
    accepted_now: list[tuple[Post, tuple[str, str]]] = []
    for sent in oracle.sent:
        _says_little(oracle, sent)
        if sent.kind == "drop_target" and (owner := oracle.owner(sent.target)) is not None:
            told.add((sent.target, owner.id))
        if sent.silent:
            continue
        post = oracle.posts.get(sent.notification)
        if post is None:
            oracle.broken.append(Broken("I2", f"{sent.provider} was sent notification {sent.notification}, of nobody"))
            continue
        key = (sent.provider, sent.target)
        who = oracle.owner(sent.target)
        if who is None:
            oracle.broken.append(Broken("I5", f"{_said(sent, post)}: nobody has {sent.target[:24]}"))
            continue
        _eligible(oracle, sent, post, who)
        if not post.urgent and in_pause(sent.at, who.zone):
            local = sent.at.astimezone(ZoneInfo(who.zone))
            oracle.broken.append(Broken("I6", f"{_said(sent, post)} at {local:%a %H:%M} of {who.id}"))
        if post.expires is not None and sent.at >= post.expires:
            oracle.broken.append(Broken("I11", f"{_said(sent, post)} at {sent.at}, and it was over at {post.expires}"))
        if key in post.accepted:
            if key in post.unsure:
                post.unsure.discard(key)
                repeats += 1
            else:
                oracle.broken.append(Broken("I3", f"{_said(sent, post)} to {who.id} twice: it had been accepted"))
        if post.shown_as.setdefault(key, sent.collapse) != sent.collapse:
            oracle.broken.append(Broken("I3", f"{_said(sent, post)} to {who.id} under two ids"))
        # (a provider that pauses everybody has tried nobody)
        post.tried[key] = post.tried.get(key, 0) + (sent.kind != "pause_channel")
        if post.tried[key] > MOST_ATTEMPTS + 2:
            oracle.broken.append(Broken("I3", f"{_said(sent, post)} to {who.id}: {post.tried[key]} attempts"))
        if sent.kind == "accepted":
            post.accepted.add(key)
            accepted_now.append((post, key))
        elif sent.kind in _FINAL:
            post.ended.add(key)
        elif sent.kind == "unknown":
            post.doubts[key] = post.doubts.get(key, 0) + 1
    if repeats > WINDOW * LANES:
        oracle.broken.append(Broken("I3", f"{repeats} sends were repeated after one crash; the bound is a window"))
    if crashed:
        for post, key in accepted_now:
            post.unsure.add(key)
    for target, person in told:
        (oracle.doubtful if crashed else oracle.dropped).add(target)
        oracle.changed(person)
    oracle.sent.clear()


def rates(oracle: Oracle) -> None:
    """I7: no second that a provider counts holds more than its limit."""
    for provider, stamps in oracle.arrivals.items():
        stamps.sort()
        first = 0
        for last, at in enumerate(stamps):
            while at - stamps[first] >= timedelta(seconds=1):
                first += 1
            if last - first + 1 > LIMITS[provider]:
                seen = f"{provider} got {last - first + 1} within a second at {at}; its limit is {LIMITS[provider]}"
                oracle.broken.append(Broken("I7", seen))
                break
        stamps.clear()


def _eligible(oracle: Oracle, sent: Sent, post: Post, who: Someone) -> None:
    """I5: why nobody should have been sent this."""
    channel = "email" if sent.provider == "email" else "push"
    reasons = {
        "has left": not who.here,
        "is not addressed any more": who.here and not oracle.may_send(post, who.id),
        f"wants no {post.category} by {channel}": (post.category, channel) in who.off,
        "has read it": post.number in oracle.read[who.id],
        "was told to be gone by its provider": sent.target in oracle.dropped,
    }
    for reason, holds in reasons.items():
        if holds:
            oracle.broken.append(Broken("I5", f"{_said(sent, post)} to {who.id}, who {reason}"))
            return


def _says_little(oracle: Oracle, sent: Sent) -> None:
    """I12: a push carries no word of anybody's."""
    if MARK in sent.content:
        oracle.broken.append(Broken("I12", f"a push by {sent.provider} holds a name: {sent.content[:120]}"))


def _said(sent: Sent, post: Post) -> str:
    return f"{post.kind} {post.number} ({post.key}) left by {sent.provider}"


def waits(oracle: Oracle, now: datetime, patience: timedelta) -> list[tuple[Post, tuple[str, str]]]:
    """What should have been tried ``patience`` ago at the latest, and never was."""
    found = []
    releases: defaultdict[tuple[datetime, str], datetime] = defaultdict()
    for post in oracle.open_posts():
        for key in post.expected - post.excused - post.tried.keys():
            who = oracle.owner(key[1])
            if who is None:
                continue
            place = (post.at, who.zone)
            if place not in releases:
                releases[place] = post.at if post.urgent else release(post.at, who.zone)
            if now - releases[place] > patience and post.expires and releases[place] < post.expires:
                found.append((post, key))
    return found
