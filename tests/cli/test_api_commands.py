"""``api``: keys, tokens, the description; and what ``doctor`` says of the keys."""

from __future__ import annotations

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from ent_notify.asgi.auth import Tokens
from ent_notify.asgi.tokens import TokenRefused
from ent_notify.cli.checks import check_api
from ent_notify.clock import SystemClock
from ent_notify.settings import ApiSettings

from .conftest import Command


def test_keys_are_made_rotated_and_sign_tokens(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENT_NOTIFY_API__ISSUER", "https://ent.example")
    private, public = tmp_path / "k/signing-key.json", tmp_path / "k/keys.json"
    assert command("api", "keys", tmp_path / "k").code == 0
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert '"d"' in private.read_text() and '"d"' not in public.read_text()
    settings = ApiSettings(keys_file=public, issuer="https://ent.example")
    now = SystemClock().now()
    first = command("api", "token", "g1", "--key", private).out.strip()
    assert Tokens(settings).person(first, now) == "g1"

    assert command("api", "keys", tmp_path / "k", "--kid", "2026-10").code == 0
    second = command("api", "token", "g2", "--key", private, "--minutes", "1").out.strip()
    tokens = Tokens(settings)
    assert (tokens.person(first, now), tokens.person(second, now)) == ("g1", "g2")
    with pytest.raises(TokenRefused, match="expired"):
        tokens.person(second, now + timedelta(seconds=100))
    again = command("api", "keys", tmp_path / "k", "--kid", "2026-10")
    assert again.code == 2 and "another --kid" in again.err
    wrong = command("api", "token", "g1", "--key", public)
    assert wrong.code == 2 and "no signing key" in wrong.err
    assert check_api(settings).grade == "ok" and "2 keys" in check_api(settings).says


def test_doctor_says_what_is_wrong_with_the_keys(tmp_path: Path) -> None:
    assert check_api(ApiSettings()).grade == "warn"
    finding = check_api(ApiSettings(keys_file=tmp_path / "none.json", issuer="x"))
    assert finding.grade == "fail" and "cannot be read" in finding.says


def test_the_description_is_json(command: Command) -> None:
    assert json.loads(command("api", "openapi").out)["openapi"] == "3.1.0"
