"""Settings of what people may ask for under the GDPR, and of what must be kept."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from ent_notify.settings.base import Group


class RightsSettings(Group):
    """What is sealed for a court, and with which key."""

    seal_key: SecretStr | None = None
    """Ed25519 private key (PEM) that signs the manifest of a sealed export. Left out: none is made."""
    seal_key_file: Path | None = None
    """File that holds it (`openssl genpkey -algorithm ed25519`)."""
