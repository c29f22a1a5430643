"""Settings of what is seen of the service, and of whom: logs, metrics, pseudonyms."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from ent_notify.settings.base import Group


class PrivacySettings(Group):
    """What may be seen of whom."""

    pseudonym_key: SecretStr | None = None
    """Key of the pseudonyms that stand for people in logs; the same key gives the same pseudonyms. Left out: a random
    one for each process."""
    pseudonym_key_file: Path | None = None
    """File that holds the key of pseudonyms."""


class LogSettings(Group):
    """Logs: one JSON object a line, on the standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written."""


class TracingSettings(Group):
    """OpenTelemetry traces: one for each notification, from publishing to the device's receipt."""

    share: float = Field(default=0.0, ge=0, le=1)
    """Share of notifications that are traced, the same ones in every process; above 0 it needs `ent-notify[otel]`. To
    where a worker and a gateway send them, the environment says: `OTEL_EXPORTER_OTLP_ENDPOINT`."""


class MetricsSettings(Group):
    """Prometheus metrics of a worker (the gateway serves its own)."""

    host: str = "127.0.0.1"
    """Address to serve metrics on."""
    port: int | None = Field(default=None, ge=0, le=65535)
    """Port to serve metrics on; left out: none."""
