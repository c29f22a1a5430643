"""What a hold keeps, handed on so that nobody can change it unseen: ``engine.sealed``.

Files of JSON lines; ``manifest.json`` has the SHA-256 of each, and ``manifest.sig`` its Ed25519 signature (RFC 8032),
which OpenSSL checks without this program.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr

from ent_notify.engine.trail import Trail
from ent_notify.errors import NotAllowed, NotFound, SettingsError
from ent_notify.ports import Clock
from ent_notify.settings import RightsSettings
from ent_notify.store.sealing import PARTS, PostgresSealing

LINES_A_BLOCK = 200
MANIFEST, SIGNATURE, PUBLIC = "manifest.json", "manifest.sig", "seal.pub"
READ_ME = f"""Sealed export of what is kept on hold.

Check it with:
  openssl pkeyutl -verify -pubin -inkey {PUBLIC} -rawin -in {MANIFEST} -sigfile {SIGNATURE}
  (and compare {PUBLIC} with the public key that the platform gave you by another way)
then compare the SHA-256 of each file with {MANIFEST}; `ent-notify hold check FOLDER` does both.
"""


class Sealed:
    """Exports of holds that two people have set."""

    def __init__(self, store: PostgresSealing, settings: RightsSettings, trail: Trail, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._trail = trail
        self._clock = clock

    async def export(self, hold: int, by: str) -> AsyncGenerator[tuple[str, bytes], None]:
        """All that a hold keeps, as (file, block of its bytes), file after file; manifest and signature last.

        What others wrote is in it, since that is what the hold is for; so it stands in the trail of everybody in it,
        where they may see it once the hold is lifted. Raises NotFound, NotAllowed for a hold that nobody confirmed or
        that is lifted, and SettingsError without a key.
        """
        key = _private_key(self._settings.seal_key)
        found = await self._store.hold(hold)
        if found is None:
            raise NotFound(f"there is no hold {hold}: see `ent-notify hold list`")
        if found["set_by"] is None or found["lifted_at"] is not None:
            raise NotAllowed(f"hold {hold} does not stand, or waits for a second person: confirm it first")
        for person in await self._store.people(hold):
            await self._trail.note(by, "officer", "sealed export", person, f"hold {hold}", hold)
        manifest: dict[str, Any] = {
            "hold": dict(found.items()),
            "made_at": self._clock.now(),
            "by": by,
            "files": {},
        }
        yield "README.txt", READ_ME.encode()
        for part in PARTS:
            digest, lines = hashlib.sha256(), 0
            block: list[bytes] = []
            async with aclosing(self._store.rows(hold, part)) as rows:
                async for row in rows:
                    line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
                    digest.update(line)
                    lines += 1
                    block.append(line)
                    if len(block) >= LINES_A_BLOCK:
                        yield f"{part}.jsonl", b"".join(block)
                        block = []
            if block:
                yield f"{part}.jsonl", b"".join(block)
            if lines:
                manifest["files"][f"{part}.jsonl"] = {"lines": lines, "sha256": digest.hexdigest()}
        text = orjson.dumps(manifest, option=orjson.OPT_INDENT_2)
        yield MANIFEST, text
        yield SIGNATURE, key.sign(text)
        yield PUBLIC, _pem(key)


def check_sealed(folder: Path, public_key: bytes | None = None) -> list[str]:
    """What is wrong with a sealed export in ``folder``; nothing: it is as it was sealed.

    ``public_key`` is a PEM that came by another way; without it, the one in the folder is believed.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        text, signature = (folder / MANIFEST).read_bytes(), (folder / SIGNATURE).read_bytes()
        key = load_pem_public_key(public_key or (folder / PUBLIC).read_bytes())
    except OSError as error:
        return [f"{Path(error.filename).name} cannot be read ({error.strerror})"]
    except ValueError:
        return ["the public key is no PEM"]
    if not isinstance(key, Ed25519PublicKey):
        return ["the public key is not an Ed25519 one"]
    try:
        key.verify(signature, text)
    except InvalidSignature:
        return [f"{MANIFEST} is not what was signed"]
    said: dict[str, dict[str, Any]] = orjson.loads(text)["files"]
    wrong = []
    for name, about in said.items():
        file = folder / name
        if not file.is_file():
            wrong.append(f"{name} is missing")
        elif hashlib.sha256(file.read_bytes()).hexdigest() != about["sha256"]:
            wrong.append(f"{name} is not what was sealed")
    known = {*said, MANIFEST, SIGNATURE, PUBLIC, "README.txt"}
    wrong += [f"{each.name} was not sealed" for each in sorted(folder.iterdir()) if each.name not in known]
    return wrong


def _private_key(pem: SecretStr | None) -> Any:
    if pem is None:
        raise SettingsError(
            "rights.seal_key is not given, and a sealed export is signed: make one with "
            "`openssl genpkey -algorithm ed25519 -out seal.pem` and give rights.seal_key_file"
        )
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise SettingsError("cryptography is not installed; install ent-notify[privacy]") from None
    try:
        key = load_pem_private_key(pem.get_secret_value().encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(
            "rights.seal_key is no Ed25519 private key in PEM without a password; make one with OpenSSL"
        )
    return key


def _pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem
