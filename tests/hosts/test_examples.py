"""The examples, as they stand: what a reader copies is what runs here."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from tests.api.api_house import Signer
from tests.api.served import serve

from ent_notify import Engine, open_engine, settings_from
from ent_notify.clock import SystemClock
from ent_notify.store.embedded import EmbeddedServer

from .conftest import ROOT, told

STARTS = "2030-09-18T08:00:00+02:00"
ABSENCE = {"pupil": "P1", "starts_at": STARTS}


# ------------------------------------------------------------------ trio


def test_the_script_publishes_once(town: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "announcements.csv"
    file.write_text("id,school,title,text\n1,,Cross,Lundi\n2,0540001A,Photo,Mardi\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")

    def script(*words: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "examples.trio_script.publish", *words]
        return subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)

    first, again = script(str(file)), script(str(file))
    assert first.returncode == 0, first.stderr
    assert re.fullmatch(r"\d+ published\n\d+ published\n", first.stdout)
    assert again.stdout == first.stdout.replace("published", "known already")
    assert told(town, "P1") == ["Announcement", "Announcement"]
    assert told(town, "P5") == ["Announcement"]


# ------------------------------------------------------------------ any language


def spoken(server: EmbeddedServer, language: str, pupil: str, number: str) -> list[str | Path]:
    """The command line that publishes an absence."""
    if language == "node":
        return ["node", ROOT / "examples/any_language/publish.js", pupil, STARTS, number]
    given = {"pupil": pupil, "starts_at": STARTS, "number": number}
    return [
        server.bin_path / "psql",
        "--no-psqlrc",
        "--quiet",
        "--tuples-only",
        "--no-align",
        *(f"--set={name}={value}" for name, value in given.items()),
        "--file",
        ROOT / "examples/any_language/publish.sql",
    ]


@pytest.mark.parametrize("language", ["psql", pytest.param("node", marks=pytest.mark.peer("node"))])
def test_any_language_publishes_once(
    language: str, town: str, postgres: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(postgres.bin_path), prepend=":")

    def run(pupil: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            spoken(postgres, language, pupil, "7"), capture_output=True, text=True, timeout=60, check=False
        )

    refused = run("nobody'; drop table person --")
    assert refused.returncode != 0 and "nobody'; drop table person --" in refused.stderr
    first, again = run("P1"), run("P1")
    assert first.returncode == 0, first.stderr
    answer = json.loads(first.stdout)
    assert answer["created"] is True
    assert json.loads(again.stdout) == {**answer, "created": False}
    assert told(town, "P11") == ["AbsenceRecorded"]


# ------------------------------------------------------------------ Django


@pytest.fixture
def django_host(town: str, signer: Signer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Django set up once in this process, its tables made; its engine is closed with the test."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "examples.django_backend.settings")
    application = importlib.import_module("examples.django_backend.asgi").application
    management = importlib.import_module("django.core.management")
    management.call_command("migrate", verbosity=0)
    management.call_command("makemigrations", check=True, dry_run=True, verbosity=0)
    users = importlib.import_module("django.contrib.auth").get_user_model()
    users.objects.create_superuser("bureau", password="a long enough word")
    importlib.import_module("django.db").connection.close()
    yield application
    importlib.import_module("examples.django_backend.notify").notify.close()


def test_django_publishes_in_its_own_transaction(town: str, signer: Signer, django_host: Any) -> None:
    def absences() -> int:
        model = importlib.import_module("examples.django_backend.models").Absence
        count: int = model.objects.count()
        importlib.import_module("django.db").connection.close()
        return count

    with serve(django_host) as address, httpx.Client(base_url=address, follow_redirects=True, timeout=60) as client:
        made = client.post("/absences", json=ABSENCE)
        assert made.status_code == 201, made.text
        refused = client.post("/absences", json={**ABSENCE, "pupil": "nobody"})
        assert refused.status_code == 422 and "nobody" in refused.json()["detail"]
        assert absences() == 1, "the absence that could not be told was not stored"
        assert told(town, "P11") == ["AbsenceRecorded"]

        # the API, mounted beside Django's own addresses
        token = signer.token("P11", SystemClock().now())
        page = client.get("/notify/v1/inbox", headers={"authorization": f"Bearer {token}"}).json()
        assert [entry["notification"] for entry in page["entries"]] == [made.json()["notification"]]
        assert client.get("/notify/v1/openapi.json").json()["servers"] == [{"url": "/notify"}]

        # the office's page
        def submit(path: str, **fields: str) -> httpx.Response:
            client.get(path)
            data = {"csrfmiddlewaretoken": client.cookies["csrftoken"], **fields}
            return client.post(path, data=data, headers={"referer": address})

        assert "Absences" in submit("/admin/login/?next=/admin/", username="bureau", password="a long enough word").text
        add = "/admin/django_backend/absence/add/"
        wrong = submit(add, pupil="nobody", starts_at_0="2030-09-19", starts_at_1="08:00:00")
        assert "pas dans l’annuaire" in wrong.text.replace("&#x27;", "’")
        assert absences() == 1
        listed = submit(add, pupil="P1", starts_at_0="2030-09-19", starts_at_1="08:00:00")
        assert "en attente" in listed.text and absences() == 2
        ledger = trio.run(ledger_of, town, made.json()["notification"])
        assert ledger in client.get("/admin/django_backend/absence/").text
    assert told(town, "P11") == ["AbsenceRecorded", "AbsenceRecorded"]


async def ledger_of(dsn: str, campaign: int) -> str:
    async with open_engine(settings_from({"store": {"dsn": dsn}})) as engine:
        ledger = await Engine.ledger(engine, campaign)
        assert ledger.planned > 0
        return f"{ledger.accepted} / {ledger.planned}"
