"""The demo from beginning to end: region, import, school day, deliveries, reckoning, pages."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import orjson
import trio
from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ent_notify.demo.school_day import Cast, evening, school_day
from ent_notify.demo.serve import check_port, serve_pages
from ent_notify.demo.sinks import Sinks, open_sinks
from ent_notify.demo.tally import Outcome, as_table, count_web, disagreements
from ent_notify.engine import Engine, open_engine
from ent_notify.model.people import Profile
from ent_notify.observe import Metrics
from ent_notify.policy.pause import PauseHours
from ent_notify.settings import ProjectSettings, RateSettings, Settings, StoreSettings, WebPushApp, WorkerSettings
from ent_notify.testing.devices import APP, generate_devices, generate_preferences
from ent_notify.testing.region import generate_region
from ent_notify.testing.webpush import DEMO_KEY

_NO_PAUSE = PauseHours(enabled=False)
_EVENING_SECONDS = 8
"""How long the demo's night lasts."""
_MOST_CAMPAIGNS = 1_000
_PEOPLE_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What ``ent-notify demo`` was asked for. ``json_file``: where the outcome is written."""

    people: int = 20_000
    seed: int = 1
    port: int = 8700
    once: bool = False
    json_file: Path | None = None


def run_demo(options: DemoOptions) -> int:
    """Run the demo; the exit code: 0, or 1 when something does not agree (said on the console).

    Raises SettingsError for a port that is taken, before anything is made.
    """
    if not options.once:
        check_port(options.port)
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    return trio.run(partial(_demo, options, console))


async def _demo(options: DemoOptions, console: Console) -> int:
    metrics = Metrics()
    with _folder() as folder:
        settings = _settings(folder, options)
        async with (
            open_engine(settings, metrics=metrics, apply_migrations=True) as engine,
            open_sinks(engine) as sinks,
        ):
            await _fill(engine, folder, options, sinks.webpush.origin, console)
            outcome = await _one_day(engine, sinks, options, console)
            _report(outcome, options, console)
            if options.once:
                return 1 if outcome.disagreements else 0
            await serve_pages(engine, metrics, options.port, console)
    return 0


@contextmanager
def _folder() -> Iterator[Path]:
    """A short-lived folder that the embedded server's own user may enter."""
    with tempfile.TemporaryDirectory(prefix="ent-demo-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


def _settings(folder: Path, options: DemoOptions) -> Settings:
    return Settings(
        store=StoreSettings(dsn=SecretStr(f"embedded://{quote(str(folder / 'pg'))}")),
        project=ProjectSettings(name="Mon Bureau", url=f"http://127.0.0.1:{options.port}"),
        worker=WorkerSettings(name="demo", checkpoint_every=200, lanes=3, retry_base_seconds=1, retry_cap_seconds=5),
        rates=RateSettings(email_per_second=5_000, apns_per_second=5_000, fcm_per_second=9_000),
        # A browser that looks at the demo's page may subscribe at its own push service, too.
        webpush={APP: WebPushApp(subject="mailto:demo@ent.example", key=SecretStr(DEMO_KEY), loopback=True)},
    )


async def _fill(engine: Engine, folder: Path, options: DemoOptions, webpush: str, console: Console) -> None:
    """Write a region as an AAF export, import it, and give its people phones, browsers and preferences."""
    with console.status(f"writing the AAF export of a made-up region of {options.people:,} people"):
        region = await trio.to_thread.run_sync(generate_region, folder / "aaf", options.people, options.seed)
    console.print(
        f"AAF export: {region.people:,} people in {region.schools:,} schools, {region.files} files, seed {options.seed}"
    )
    with _bar(console, "importing the export") as advance:
        report = await engine.import_aaf(folder / "aaf", on_progress=lambda p: advance(p.share, 1.0))
    directory = report.directory
    console.print(f"imported: {directory.added:,} people, {directory.bad_records} bad records")
    people: list[tuple[str, Profile]] = []
    after = 0
    with _bar(console, "registering phones, browsers and preferences") as advance:
        while rows := await engine.db.fetch("scenes.people_between", after=after, most=_PEOPLE_BATCH):
            people += [(row["external_id"], Profile(row["profile"])) for row in rows]
            after = rows[-1]["id"]
        devices = await engine.register_devices(generate_devices(people, options.seed, webpush=webpush))
        advance(0.7, 1.0)
        choices = await engine.set_preferences(generate_preferences(people, options.seed))
        advance(1.0, 1.0)
    console.print(f"phones and browsers: {devices.added:,}; preferences: {choices:,}")


async def _one_day(engine: Engine, sinks: Sinks, options: DemoOptions, console: Console) -> Outcome:
    cast = await _cast(engine, options.seed)
    now = engine.clock.now()
    # An evening of a few seconds: what is published in it is held, and let go when it ends.
    night = engine.worker("evening", pause=_night(now, engine.settings.project.timezone))
    held = await engine.publish(evening(cast))
    await night.tick()
    account = await engine.ledger(held.notification)
    console.print(
        f"evening: {account.held:,} deliveries held by the pause, {account.accepted:,} inboxes already filled"
    )

    await engine.publish_many(school_day(cast, now, options.seed))
    conversation, _ = await engine.start_conversation(
        cast.teacher, [cast.guardian], "Rendez-vous", "Bonjour, seriez-vous disponible jeudi à 17 h ?"
    )
    await engine.post(conversation, cast.guardian, "Bonjour, oui, merci beaucoup.")
    await _deliver_everything(engine, console)

    census = await engine.db.fetchrow("scenes.census")
    assert census is not None  # noqa: S101 - an aggregate always has its row
    accounts = await engine.ledgers(_MOST_CAMPAIGNS)
    with console.status("reading every inbox"):
        web = await count_web(engine, [ledger.campaign for ledger, _ in accounts])
    accepted = await sinks.accepted()
    return Outcome(
        people=census["people"],
        schools=census["schools"],
        accounts=accounts,
        sinks={**accepted, "web": sum(web.values())},
        disagreements=tuple(disagreements(accounts, accepted, web)),
    )


async def _cast(engine: Engine, seed: int) -> Cast:
    rows = await engine.db.fetch("scenes.classes", seed=seed, most=20)
    first = rows[0]
    pupils = [
        row["external_id"]
        for group in rows[:5]
        for row in await engine.db.fetch("scenes.pupils", class_id=group["class"], most=1)
    ]
    return Cast(
        classes=tuple(row["class"] for row in rows),
        pupils=tuple(pupils),
        school=first["uai"],
        school_name=first["school"],
        teacher=await engine.db.fetchval("scenes.teacher", uai=first["uai"]),
        guardian=await engine.db.fetchval("scenes.guardian", pupil=pupils[0]),
    )


def _night(now: datetime, zone: str) -> PauseHours:
    local = now.astimezone(ZoneInfo(zone))
    start, end = local - timedelta(hours=1), local + timedelta(seconds=_EVENING_SECONDS)
    return PauseHours(start=start.time(), end=end.time(), weekend=False)


async def _deliver_everything(engine: Engine, console: Console) -> None:
    """Work until nothing is left to send, with live progress: what is held or waits for a retry has its turn too."""
    worker = engine.worker(pause=_NO_PAUSE)
    with _bar(console, "delivering") as advance:

        async def show() -> None:
            settled = planned = 0
            for ledger, _ in await engine.ledgers(_MOST_CAMPAIGNS):
                planned += ledger.planned
                settled += ledger.planned - ledger.pending - ledger.held
            advance(settled, planned)

        async with _repeated(show, engine.clock.sleep):
            while True:
                await worker.run_until_idle()
                due = await engine.next_due()
                if due is None:
                    break
                await engine.clock.sleep(max((due - engine.clock.now()).total_seconds(), 0.01))
        await show()


@asynccontextmanager
async def _repeated(
    action: Callable[[], Awaitable[None]], sleep: Callable[[float], Awaitable[None]]
) -> AsyncIterator[None]:
    async def repeat() -> None:
        while True:
            await action()
            await sleep(0.5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(repeat)
        yield
        nursery.cancel_scope.cancel()


@contextmanager
def _bar(console: Console, what: str) -> Iterator[Callable[[float, float], None]]:
    """A progress bar; call it with (done, total). Quiet where there is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    if what != "delivering":
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())  # type: ignore[assignment]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _report(outcome: Outcome, options: DemoOptions, console: Console) -> None:
    console.print(as_table(outcome.accounts))
    console.print("servers accepted: " + ", ".join(f"{name} {count:,}" for name, count in outcome.sinks.items()))
    for sentence in outcome.disagreements:
        console.print(f"does not agree: {sentence}", style="bold red")
    if not outcome.disagreements:
        console.print("every ledger adds up, and every server got exactly what the ledgers say", style="green")
    if options.json_file is not None:
        options.json_file.write_bytes(orjson.dumps(outcome.to_json(), option=orjson.OPT_INDENT_2))
        console.print(f"written to {options.json_file}")
