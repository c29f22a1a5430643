"""SMTP as a client: a protocol that does no I/O, a trio shell around it, a pool of connections.

values      mails, logins, outcomes
reply       replies, read from bytes
protocol    the state machine: bytes and mails in, bytes and outcomes out
wire        bytes on a socket or a TLS stream
connection  one connection: opening it, delivering by it, time-outs
pool        some connections for each relay, shared by all batches
"""

from __future__ import annotations

from ent_notify.channels.smtp.connection import Relay, Timeouts, TlsMode
from ent_notify.channels.smtp.pool import SmtpPool
from ent_notify.channels.smtp.values import Login, Mail

__all__ = ["Login", "Mail", "Relay", "SmtpPool", "Timeouts", "TlsMode"]
