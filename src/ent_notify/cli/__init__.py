"""The command line: ``ent-notify``. Doors make no decisions: each command reads its words, calls, and shows."""

from ent_notify.cli.main import cli, main, run

__all__ = ["cli", "main", "run"]
