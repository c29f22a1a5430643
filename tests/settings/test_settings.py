"""Settings: where they are read from, what is said when they are wrong, and that no secret is ever shown."""

from __future__ import annotations

import os
import pickle
import re
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from ent_notify.errors import SettingsError
from ent_notify.settings import (
    ENV_PREFIX,
    Settings,
    load_settings,
    reference_page,
    setting_rows,
    settings_from,
)

CANARY = "canari-7f3a9c1e5b2d4860a1b2c3d4e5f60718"
"""As long as the longest key that a setting asks for."""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and an environment without a setting of ours."""
    for name in list(os.environ):
        if name.startswith(ENV_PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str, name: str = "ent-notify.toml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def refusal(config: Path | None = None) -> str:
    """The message of the SettingsError that loading must raise; no part of its traceback may hold the canary."""
    with pytest.raises(SettingsError) as caught:
        load_settings(config)
    whole = "".join(traceback.format_exception(caught.value))
    assert CANARY not in whole
    assert "pydantic" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------ where they come from


def test_nothing_given_gives_the_defaults() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert settings.store.url == "embedded:"
    assert settings.project.timezone == "Europe/Paris"


def test_the_file_of_the_working_folder_is_read(workplace: Path) -> None:
    write(workplace, '[store]\ndsn = "postgresql://ent@db/ent"\n[apns.familles]\ntopic = "fr.ent.familles"\n'
          'team_id = "ABCDE12345"\nkey_id = "12345ABCDE"\nkey_file = "apns.p8"\n')  # fmt: skip
    write(workplace, "une clef\n", "apns.p8")
    settings = load_settings()
    assert settings.store.shown == "postgresql://ent@db/ent"
    key = settings.apns["familles"].key
    assert key is not None and key.get_secret_value() == "une clef"


def test_given_path_wins_over_the_variable_and_both_over_the_working_folder(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ent-notify.toml", "variable.toml", "given.toml"):
        write(workplace, f'[project]\nname = "{name}"\n', name)
    assert load_settings().project.name == "ent-notify.toml"
    monkeypatch.setenv("ENT_NOTIFY_CONFIG", "variable.toml")
    assert load_settings().project.name == "variable.toml"
    assert load_settings(Path("given.toml")).project.name == "given.toml"


def test_the_environment_wins_over_the_file(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(workplace, "[store]\npool_size = 20\nacquire_timeout_seconds = 3\n")
    monkeypatch.setenv("ENT_NOTIFY_STORE__POOL_SIZE", "30")
    store = load_settings().store
    assert (store.pool_size, store.acquire_timeout_seconds) == (30, 3)


def test_lists_and_none_can_be_written_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENT_NOTIFY_GATEWAY__ORIGINS", "https://ent.example, https://m.ent.example")
    monkeypatch.setenv("ENT_NOTIFY_RATES__EMAIL_PER_SECOND", "none")
    settings = load_settings()
    assert settings.gateway.origins == ("https://ent.example", "https://m.ent.example")
    assert settings.rates.email_per_second is None


def test_building_settings_in_code_reads_nothing_else(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(workplace, "[store]\npool_size = 20\n")
    monkeypatch.setenv("ENT_NOTIFY_STORE__POOL_SIZE", "30")
    assert Settings().store.pool_size == settings_from({}).store.pool_size == 10
    assert settings_from({"store": {"pool_size": 40}}).store.pool_size == 40


def test_a_secret_file_is_found_from_the_folder_of_the_file_that_names_it(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "etc").mkdir()
    file = write(workplace / "etc", '[store]\ndsn = "postgresql://ent@db/ent"\npassword_file = "db.secret"\n')
    write(workplace / "etc", f"{CANARY}/é\n", "db.secret")
    settings = load_settings(file)
    assert settings.store.url == f"postgresql://ent:{CANARY}%2F%C3%A9@db/ent"
    monkeypatch.setenv("ENT_NOTIFY_STORE__PASSWORD_FILE", "elsewhere.secret")
    write(workplace, "autre", "elsewhere.secret")
    assert load_settings(file).store.url == "postgresql://ent:autre@db/ent"


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        (f"postgresql://ent:{CANARY}@a:1,b:2/ent?target_session_attrs=primary", "postgresql://ent@a:1,b:2/ent"),
        (f"postgresql://db/ent?user=ent&password={CANARY}", "postgresql://db/ent"),
        ("embedded:///srv/ent notify", "embedded:///srv/ent notify"),
    ],
)
def test_a_data_source_name_is_shown_without_its_password(dsn: str, shown: str) -> None:
    store = settings_from({"store": {"dsn": dsn}}).store
    assert store.shown == shown
    assert store.url == dsn
    assert CANARY not in repr(store)


def test_settings_are_frozen_to_the_leaves_and_can_be_sent_to_a_process() -> None:
    settings = settings_from({"fcm": {"familles": {"service_account": CANARY}}})
    for holder, name in ((settings, "store"), (settings.store, "dsn"), (settings.fcm["familles"], "service_account")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(holder, name, None)
    with pytest.raises(TypeError):
        settings.fcm["autre"] = None  # type: ignore[index]
    copy = pickle.loads(pickle.dumps(settings))  # noqa: S301 - our own bytes, a line above
    assert copy.fcm["familles"] == settings.fcm["familles"]


# ------------------------------------------------------------------ what is said when they are wrong


def test_an_unknown_name_is_refused_with_the_nearest_and_without_its_value(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(workplace, f'[email]\npasword = "{CANARY}"\n')
    message = refusal()
    assert "email.pasword" in message and f"in {file.name}" in message
    assert "did you mean email.password?" in message
    file.unlink()
    monkeypatch.setenv("ENT_NOTIFY_STORE__PASWORD", CANARY)
    assert "ENT_NOTIFY_STORE__PASWORD (in the environment) is not a setting" in (message := refusal())
    assert "did you mean ENT_NOTIFY_STORE__PASSWORD?" in message


def test_a_variable_outside_every_group_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENT_NOTIFY_STORE_DSN", CANARY)
    message = refusal()
    assert message.startswith("ENT_NOTIFY_STORE_DSN (in the environment) is not a setting")
    assert "did you mean ENT_NOTIFY_STORE__DSN?" in message


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_address_of_the_database_is_not_taken_for_none(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's deployment has lost it: a database of our own would look like one that lost everything."""
    monkeypatch.setenv("ENT_NOTIFY_STORE__DSN", empty)
    assert refusal().startswith("ENT_NOTIFY_STORE__DSN (in the environment) is empty: give postgresql://")


def test_an_unknown_group_is_refused_with_the_nearest(workplace: Path) -> None:
    write(workplace, "[worke]\nlanes = 2\n")
    assert "worke (in ent-notify.toml) is not a setting (did you mean worker?)" in refusal()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[gateway]\ntrusted_proxies = ["proxy"]', ["gateway.trusted_proxies = 'proxy'", "not names or networks"]),
        ("[store]\npool_size = 0", ["store.pool_size = 0", "greater than or equal to 2", "Connections that one"]),
        ('[store]\npool_size = "many"', ["store.pool_size = 'many'", "valid integer"]),
        ('[email]\ntls = "ssl"', ["email.tls = 'ssl'", "'starttls', 'tls' or 'none'"]),
        ('[project]\ntimezone = "Europe/Pari"', ["project.timezone = 'Europe/Pari'", "IANA"]),
        ('[email]\nsender = "ENT <a@b.example>"', ["email.sender", "one bare mail address"]),
        ('[gateway]\norigins = ["https://*.ent.example"]', ["gateway.origins = 'https://*.ent.example'", "wildcard"]),
        ("[worker]\nretry_base_seconds = 90\nretry_cap_seconds = 60", ["worker", "retry_cap_seconds is below"]),
        ('[apns.familles]\ntopic = "x"', ["apns.familles.team_id is missing", "Team id"]),
        ("store = 3", ["store", "is wrong"]),
        ("[store\n", ["ent-notify.toml is not TOML", "line 1"]),
    ],
)
def test_a_wrong_value_is_named_with_its_place_and_what_is_expected(
    workplace: Path, text: str, words: list[str]
) -> None:
    write(workplace, text)
    message = refusal()
    assert all(word in message for word in [*words, "ent-notify.toml"]), message


def test_every_wrong_setting_is_told_at_once(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(workplace, "[store]\npool_size = 0\n[email]\nport = 0\n")
    monkeypatch.setenv("ENT_NOTIFY_WORKER__LANES", "0")
    message = refusal()
    assert message.startswith("3 settings are wrong:")
    assert "ENT_NOTIFY_WORKER__LANES = '0' (in the environment)" in message


def test_a_settings_file_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no settings file at nowhere.toml (given)" in refusal(Path("nowhere.toml"))
    monkeypatch.setenv("ENT_NOTIFY_CONFIG", "nowhere.toml")
    assert "(named by ENT_NOTIFY_CONFIG)" in refusal()


# ------------------------------------------------------------------ secrets

SECRETS = [row.name for row in setting_rows() if row.kind == "secret"]
HOLDERS = {
    "apns": {"topic": "fr.ent", "team_id": "ABCDE12345", "key_id": "12345ABCDE"},
    "store": {"dsn": "postgresql://ent@db/ent"},
    "email": {"username": "ent"},
    "bus": {"username": "ent"},
    "webpush": {"subject": "mailto:ops@ent.example"},
}
"""What stands beside a secret, so that its group is whole."""


def variable(name: str) -> str:
    return ENV_PREFIX + name.upper().replace(".", "__")


def surround(name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the rest of the secret's group; return the secret's own name, in an entry if its group is a table."""
    group, _, rest = name.partition(".")
    prefix = f"{group}.familles" if rest.startswith("NAME.") else group
    for key, value in HOLDERS.get(group, {}).items():
        monkeypatch.setenv(variable(f"{prefix}.{key}"), value)
    return f"{prefix}.{rest.removeprefix('NAME.')}"


def test_there_are_secrets_to_test() -> None:
    assert {
        "store.password",
        "email.password",
        "apns.NAME.key",
        "fcm.NAME.service_account",
        "webpush.NAME.key",
        "email.unsubscribe_key",
    } <= (set(SECRETS))


@pytest.mark.parametrize("generic", SECRETS)
def test_a_secret_is_never_shown(generic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = surround(generic, monkeypatch)
    monkeypatch.setenv(variable(name), CANARY)
    settings = load_settings()
    for shown in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert CANARY not in shown
    for wrong in ("store.pool_size", "log.level", "worker.nothing", name + "x"):
        with monkeypatch.context() as patch:
            patch.setenv(variable(wrong), CANARY if wrong == name + "x" else "faux")
            assert variable(wrong) in refusal()


@pytest.mark.parametrize("generic", SECRETS)
def test_a_secret_in_toml_is_refused_and_its_file_is_taken(
    generic: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = surround(generic, monkeypatch)
    group, _, key = name.rpartition(".")
    file = write(workplace, f'[{group}]\n{key} = "{CANARY}"\n')
    message = refusal()
    assert f"{name} is a secret and may not stand in ent-notify.toml" in message
    assert f"{name}_file" in message and variable(name) in message
    write(workplace, CANARY, "secret.txt")
    file.write_text(f'[{group}]\n{key}_file = "secret.txt"\n')
    settings = load_settings()
    assert CANARY not in repr(settings)
    found = settings.model_dump()
    for part in name.split("."):
        found = found[part]
    assert found.get_secret_value() == CANARY  # type: ignore[attr-defined]


def test_a_password_in_the_dsn_of_a_file_is_refused(workplace: Path) -> None:
    for dsn in (f"postgresql://ent:{CANARY}@db/ent", f"postgresql://db/ent?password={CANARY}"):
        write(workplace, f'[store]\ndsn = "{dsn}"\n')
        message = refusal()
        assert "store.dsn carries a password" in message and "ENT_NOTIFY_STORE__PASSWORD" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STORE__DSN", f"mysql://ent:{CANARY}@db/ent"),
        ("STORE__DSN", f"host=db password={CANARY}"),
        ("EMAIL__UNSUBSCRIBE_KEY", CANARY[:20]),
        ("EMAIL__PASSWORD", CANARY),
        ("STORE__PASSWORD", CANARY),
        ("APNS", '{"familles": {"key": "' + CANARY + '"'),
        ("APNS__FAMILLES", CANARY),
    ],
)
def test_a_wrong_secret_is_not_repeated(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_PREFIX + name, value)
    assert CANARY[:20] not in refusal()


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), (b"", "is empty"), (b"\xff\xfe", "is not text"), (b"x" * 70_000, "over 64 KiB")],
)
def test_a_secret_file_that_cannot_serve_is_told(content: bytes | None, words: str, workplace: Path) -> None:
    if content is not None:
        (workplace / "s").write_bytes(content)
    write(workplace, '[store]\npassword_file = "s"\n')
    message = refusal()
    assert "store.password_file (in ent-notify.toml) names" in message and words in message


def test_a_secret_and_its_file_together_are_refused(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(workplace, '[store]\npassword_file = "s"\n')
    monkeypatch.setenv("ENT_NOTIFY_STORE__PASSWORD", CANARY)
    assert "keep one of the two" in refusal()


# ------------------------------------------------------------------ documentation


def test_every_setting_is_documented() -> None:
    assert [row.name for row in setting_rows() if len(row.description) < 15] == []


def test_every_secret_has_a_file_beside_it() -> None:
    names = {row.name for row in setting_rows()}
    assert [name for name in SECRETS if f"{name}_file" not in names] == []


def test_the_reference_page_is_the_code_s() -> None:
    page = Path(__file__).parents[2] / "docs/reference/settings.md"
    assert page.read_text(encoding="utf-8") == reference_page(), (
        "write it again: ent-notify doctor --settings > docs/reference/settings.md"
    )


def test_every_setting_is_read_by_something() -> None:
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in (Path(__file__).parents[2] / "src/ent_notify").rglob("*.py")
        if path.parent.name != "settings"
    )
    companions = {f"{name}_file" for name in SECRETS}
    unread = [
        row.name
        for row in setting_rows()
        if row.name not in companions and not re.search(rf"\.{row.name.rpartition('.')[2]}\b", source)
    ]
    assert unread == []


def test_an_app_may_be_named_as_its_bundle(workplace: Path) -> None:
    write(workplace, '[apns."fr.example.ent"]\ntopic = "fr.example.ent"\n'
          'team_id = "ABCDE12345"\nkey_id = "12345ABCDE"\nkey_file = "apns.p8"\n')  # fmt: skip
    write(workplace, "une clef\n", "apns.p8")
    assert list(load_settings().apns) == ["fr.example.ent"]
