"""Settings of the operator page."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr, model_validator

from ent_notify.settings.base import Group


class OperatorSettings(Group):
    """The operator page, at /operator on the gateway's admin port."""

    key: SecretStr | None = None
    """Key that opens the page, 32 characters or more. Left out: there is no page."""
    key_file: Path | None = None
    """File that holds the key of the page."""

    @model_validator(mode="after")
    def _key_is_long(self) -> OperatorSettings:
        if self.key is not None and len(self.key.get_secret_value()) < 32:
            raise ValueError("key is shorter than 32 characters; make one with `openssl rand -hex 32`")
        return self
