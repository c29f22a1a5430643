"""What each profile does, in numbers. Durations are seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

STREAMS_A_CLIENT = 17_000
"""Streams of one client process: with its other files and the sockets of who lost the network, below 20,000."""
STREAMS_A_GATEWAY = 14_500
"""Streams of one gateway process on average, so that the others have room when one of them is gone."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of morning."""

    name: str
    says: str
    people: int
    """In the region."""
    readers: int
    """Streams of people who only listen."""
    visitors: int
    """People who do everything, each with a stream."""
    clients: int
    gateways: int
    arrive_seconds: float
    """Over how long they come."""
    retry_seconds: float
    """``gateway.retry_seconds``: who loses a gateway comes back after 1 to 2 times that."""
    phases: tuple[str, ...]
    """What happens once they are there: names of ``loadtests.phases``."""
    traffic_per_second: float = 2.0
    """Ordinary notifications (absences, homework, a school's own) that the host publishes all the while."""
    everyone_seconds: float = 30.0
    """Time between two announcements to everyone, all the while."""
    think_seconds: float = 5.0
    """Time between two things that a visitor does, on average."""
    steady_seconds: float = 10.0
    broadcasts: int = 5
    """Announcements to everyone in a phase that is about them."""
    broadcast_gap: float = 2.0
    slow_share: float = 0.01
    half_open_share: float = 0.01
    lose_share: float = 0.02
    """Share of the readers who lose the network when a phase says so."""
    heartbeat_seconds: float = 25.0
    most_under_way: int = 200


SMOKE = Profile(
    name="smoke",
    says="Everything once, small: for CI.",
    people=3_750,
    readers=400,
    visitors=20,
    clients=2,
    gateways=2,
    arrive_seconds=3.0,
    retry_seconds=1.0,
    phases=("steady", "lose_network", "slow_and_half_open", "storm_one"),
    traffic_per_second=10.0,
    everyone_seconds=3.0,
    think_seconds=0.8,
    steady_seconds=1.0,
    broadcasts=3,
    broadcast_gap=0.5,
    lose_share=0.1,
    heartbeat_seconds=5.0,
)

MORNING = Profile(
    name="morning",
    says="20,000 more people within ten minutes, on a school day that goes on meanwhile.",
    people=60_000,
    readers=20_000,
    visitors=200,
    clients=2,
    gateways=2,
    arrive_seconds=600.0,
    retry_seconds=3.0,
    phases=("steady", "lose_network"),
    steady_seconds=30.0,
    think_seconds=10.0,
)

CRISIS = Profile(
    name="crisis",
    says="Everybody at once: all hear, some slowly, gateways are killed, all come back.",
    people=210_000,
    readers=200_000,
    visitors=48,
    clients=12,
    gateways=14,
    arrive_seconds=300.0,
    retry_seconds=120.0,
    phases=("steady", "broadcast", "slow_and_half_open", "storm_one", "storm_all"),
    traffic_per_second=2.0,
    everyone_seconds=60.0,
    think_seconds=10.0,
    broadcasts=5,
    broadcast_gap=6.0,
    heartbeat_seconds=50.0,
)

RELEASE = Profile(
    name="release",
    says="07:00: all that the night's pause has held is let go, while people read.",
    people=15_000,
    readers=10_000,
    visitors=40,
    clients=2,
    gateways=2,
    arrive_seconds=30.0,
    retry_seconds=3.0,
    phases=("broadcast", "release"),
    traffic_per_second=0.2,
    broadcasts=4,
    broadcast_gap=3.0,
)

PROFILES = {profile.name: profile for profile in (SMOKE, MORNING, CRISIS, RELEASE)}


def resized(profile: Profile, readers: int) -> Profile:
    """``profile`` for so many readers: processes, people and the time to come (back) follow."""
    clients = max(2, math.ceil(readers / STREAMS_A_CLIENT))
    per_second = profile.readers / profile.arrive_seconds
    return replace(
        profile,
        readers=readers,
        people=max(readers * profile.people // profile.readers, readers + profile.visitors, 1_875),
        clients=clients,
        visitors=max(1, round(profile.visitors / clients)) * clients,
        gateways=max(2, math.ceil(readers / STREAMS_A_GATEWAY)),
        arrive_seconds=max(5.0, readers / per_second),
        retry_seconds=max(2.0, profile.retry_seconds * readers / profile.readers),
    )
