"""What an operator sees of a running engine: logs without personal data, and metrics with bounded labels."""

from ent_notify.observe.bus import watch_bus
from ent_notify.observe.errors import describe_error
from ent_notify.observe.fields import FIELDS, pseudonym, pseudonym_under, use_pseudonym_key
from ent_notify.observe.logs import Logger, configure_logging, get_logger, log_statistics
from ent_notify.observe.metrics import Metrics, serve_metrics

__all__ = [
    "FIELDS",
    "Logger",
    "Metrics",
    "configure_logging",
    "describe_error",
    "get_logger",
    "log_statistics",
    "pseudonym",
    "pseudonym_under",
    "serve_metrics",
    "use_pseudonym_key",
    "watch_bus",
]
