"""``api``: keys and tokens for development, and the API's description."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import click
import orjson

from ent_notify.cli.door import Door, always_json, json_flag, pass_door, show_json, write_json
from ent_notify.clock import SystemClock
from ent_notify.errors import SettingsError

PRIVATE, PUBLIC = "signing-key.json", "keys.json"


@click.group(short_help="Keys and tokens of the API, and its description.")
def api() -> None:
    """Keys and tokens for those who develop against the API, and its description.

    In production the platform signs its own bearer tokens, and names the public halves of its keys in api.keys_file.

    \b
    Example:
      ent-notify api keys ./keys
      ent-notify api token P1 --key ./keys/signing-key.json
    """


@api.command(short_help="Make a key pair that signs bearer tokens.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--kid", default="", help="Name of the key in the key set; else its thumbprint (RFC 7638).")
@json_flag
def keys(folder: Path, kid: str, as_json: bool) -> None:
    """Make a key pair in FOLDER: signing-key.json (private, for who signs) and keys.json (the public set).

    Name keys.json in api.keys_file. Run again in the same FOLDER to rotate: a new signing key takes the old one's
    place, and keys.json has both public halves, until you take the old one out.

    \b
    Example:
      ent-notify api keys ./keys
    """
    try:
        from ent_notify.asgi.auth import make_key, public_half, read_keys
    except ImportError as error:
        raise _missing(error) from None

    folder.mkdir(parents=True, exist_ok=True)
    public = folder / PUBLIC
    known = []
    if public.exists():
        taken = read_keys(public)
        known = orjson.loads(public.read_bytes())["keys"]
        if kid in taken:
            raise SettingsError(f"{public} has a key {kid!r} already; give another --kid")
    key = make_key(kid)
    _write_private(folder / PRIVATE, orjson.dumps(key, option=orjson.OPT_INDENT_2))
    write_json({"keys": [*known, public_half(key)]}, public)
    if as_json:
        show_json({"signs": folder / PRIVATE, "public": public, "keys": len(known) + 1})
        return
    click.echo(f"{folder / PRIVATE}: signs (keep it secret); {public}: {len(known) + 1} public, for api.keys_file")


@api.command(short_help="Sign a bearer token, for development.")
@click.argument("person")
@click.option(
    "--key", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True, help="signing-key.json"
)
@click.option("--minutes", type=click.IntRange(1, 1440), default=10, show_default=True, help="How long it is good.")
@json_flag
@pass_door
def token(door: Door, person: str, key: Path, minutes: int, as_json: bool) -> None:
    """Sign a bearer token for PERSON (the host's id), with api.issuer and api.audience. In production the host signs.

    \b
    Example:
      ent-notify api token g1 --key ./keys/signing-key.json
    """
    try:
        from ent_notify.asgi.auth import sign
    except ImportError as error:
        raise _missing(error) from None

    settings = door.settings().api
    now = SystemClock().now()
    signed = sign(_read_private(key), person, settings, now, timedelta(minutes=minutes))
    if as_json:
        show_json({"token": signed, "expires_at": now + timedelta(minutes=minutes)})
    else:
        click.echo(signed)


@api.command(short_help="Print the OpenAPI document.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default="-", help="A file; else the screen.")
@always_json
def openapi(output: Path) -> None:
    """Print the OpenAPI 3.1 document of the API.

    \b
    Example:
      ent-notify api openapi --output openapi.json
    """
    from ent_notify.asgi.openapi import document
    from ent_notify.asgi.routes import ROUTES

    write_json(document(ROUTES), output)


def _write_private(file: Path, content: bytes) -> None:
    """Write a file that its owner alone can read."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(content + b"\n")


def _read_private(file: Path) -> dict[str, str]:
    try:
        key = orjson.loads(file.read_bytes())
        if isinstance(key, dict) and "d" in key:
            return key
    except ValueError:
        pass
    raise SettingsError(f"{file} holds no signing key; make one with `ent-notify api keys FOLDER`")


def _missing(error: ImportError) -> SettingsError:
    return SettingsError(f"{error.name} is not installed; install ent-notify[api]")
