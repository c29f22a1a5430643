"""Settings of what people may ask for under the GDPR, and of what must be kept."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from ent_notify.settings.base import Group


class RightsSettings(Group):
    """What is sealed for a court, and with which key."""

    officers: tuple[str, ...] = Field(default=(), max_length=50)
    """Ids, as the directory has them, of who is the data protection officer or stands in: the API shows them every
    request, and lets them carry out or refuse one."""
    seal_key: SecretStr | None = None
    """Ed25519 private key (PEM) that signs the manifest of a sealed export. Left out: none is made."""
    seal_key_file: Path | None = None
    """File that holds it (`openssl genpkey -algorithm ed25519`)."""
