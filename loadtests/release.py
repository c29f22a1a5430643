"""07:00: what the night's pause has held goes out by mail and push, to servers that speak the real protocols."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import psycopg

from ent_notify.testing.process import FakeProcess, open_fake_process
from loadtests.profiles import Profile

APP = "ent-mobile"
"""The app that the generated region's devices are given."""
_SQL = Path(__file__).parent / "sql" / "app.sql"
ZONE = ZoneInfo("Europe/Paris")
"""Where the generated region lies."""
_NO_LIMIT = 1_000_000.0
_SETTING_UP = 75.0


@dataclass(slots=True)
class Surroundings:
    """What stands around the platform in a run, and the settings that lead to it."""

    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    servers: dict[str, FakeProcess] = field(default_factory=dict)
    release_at: datetime | None = None
    """When the pause ends."""

    async def accepted(self) -> int:
        """Mails and pushes that the servers have taken, each once."""
        total = 0
        for name, server in self.servers.items():
            counters = await server.summary()
            total += counters["distinct"] if name == "email" else counters.get("accepted", 0)
        return total


@asynccontextmanager
async def open_surroundings(profile: Profile, folder: Path, dsn: str) -> AsyncIterator[Surroundings]:
    """Nobody to send to; for a profile that releases, three servers, and a pause that ends when everybody is there."""
    if "release" not in profile.phases:
        yield Surroundings()
        return
    with psycopg.connect(dsn) as connection:
        connection.execute(_SQL.read_bytes(), {"app": APP})
    async with (
        open_fake_process("ent_notify.testing.smtp", "--keep", "10") as smtp,
        open_fake_process("ent_notify.testing.apns", "--keep", "10") as apns,
        open_fake_process("ent_notify.testing.fcm", "--keep", "10") as fcm,
    ):
        files = {
            "apns.p8": apns.key,
            "apns.pem": apns.ca,
            "fcm.json": orjson.dumps(fcm.service_account).decode(),
            "fcm.pem": fcm.ca,
        }
        for name, text in files.items():
            (folder / name).write_text(text)
        busy = profile.arrive_seconds + profile.broadcasts * profile.broadcast_gap
        at = (datetime.now(UTC) + timedelta(seconds=_SETTING_UP + 2 * busy)).replace(microsecond=0)
        yield Surroundings(
            settings={
                "pause": {
                    "start": (at + timedelta(hours=2)).astimezone(ZONE).time().isoformat(),
                    "end": at.astimezone(ZONE).time().isoformat(),
                    "weekend": False,
                },
                "rates": {
                    "email_per_second": _NO_LIMIT,
                    "apns_per_second": _NO_LIMIT,
                    "fcm_per_second": _NO_LIMIT,
                    "notifications_per_day": 100_000,
                },
                "email": {"host": smtp.host, "port": smtp.port, "tls": "none"},
                f"apns.{APP}": {
                    "topic": apns.topic,
                    "team_id": apns.team_id,
                    "key_id": apns.key_id,
                    "key_file": str(folder / "apns.p8"),
                    "server": f"{apns.host}:{apns.port}",
                    "ca_file": str(folder / "apns.pem"),
                },
                f"fcm.{APP}": {
                    "service_account_file": str(folder / "fcm.json"),
                    "server": fcm.base_url,
                    "ca_file": str(folder / "fcm.pem"),
                },
            },
            servers={"email": smtp, "apns": apns, "fcm": fcm},
            release_at=at,
        )
