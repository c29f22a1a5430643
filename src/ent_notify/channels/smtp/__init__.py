"""SMTP as a client: a protocol that does no I/O, a trio shell around it, a pool of connections.

reply       replies, read from bytes
protocol    the state machine: bytes and mails in, bytes and events out
connection  one connection: sockets, TLS, time-outs
pool        some connections for each relay, shared by all batches
"""

from __future__ import annotations

from ent_notify.channels.smtp.connection import Relay, Timeouts, TlsMode
from ent_notify.channels.smtp.pool import SmtpPool
from ent_notify.channels.smtp.protocol import Login, Mail

__all__ = ["Login", "Mail", "Relay", "SmtpPool", "Timeouts", "TlsMode"]
