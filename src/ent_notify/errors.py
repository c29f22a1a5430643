"""The error tree: every error of ent_notify, in one place.

Each message says what was wrong, with which value, and what to do about it::

    EntNotifyError
    ├── SettingsError          a setting is unknown, missing or wrong
    ├── PublishError           an event was refused, and nothing was written
    │   ├── MalformedEvent     its shape is wrong
    │   ├── UnknownAudience    it names a group, school or person that is not in the directory
    │   ├── MalformedMessage   a conversation's subject or message cannot be kept as it is
    │   └── SenderLimited      its sender publishes more than is allowed
    ├── DirectoryError         a directory import or sync could not go on
    │   ├── SourceError        the export itself cannot be read
    │   └── TooManyRemovals    it would remove more people than the set share: nothing was changed
    ├── MalformedDevice        a push token or a browser's subscription cannot be one
    ├── MalformedRules         rules of who may write to whom are not written as they must be
    ├── MalformedCalendar      a school calendar's own data are not written as they must be
    ├── MalformedTimetable     lessons, or a file of them, cannot be taken as they are
    ├── NotFound               no such campaign, notification, person or conversation (or not yours)
    ├── NotAllowed             this person may not do that
    │   ├── ContactRefused     the rules of who may write to whom say no
    │   ├── TooManyRecipients  a message, or a sender's messages together, go to more people than are allowed
    │   └── Suspended          they may not write for now: quarantined, restricted, or messaging is frozen
    ├── StoreError             the database
    │   ├── StoreUnreachable   no answer at that address
    │   ├── StoreVersionError  PostgreSQL is older than 16
    │   ├── SchemaMismatch     the schema is older or newer than this code
    │   └── StoreBusy          no connection came free in time, or a conflict outlived its retries
    ├── MalformedSync          a sync's cursor, or a batch of writes, is none of ours
    ├── RequestRefused         an HTTP request cannot be served as it is; carries its status
    ├── MalformedMail          a mail's text or settings cannot be made into a message
    ├── ChannelDown            a provider cannot be used at all just now (one target's trouble is a Verdict)
    └── IslandDied             the asyncio thread is gone; nothing can be called on it any more
"""

from __future__ import annotations


class EntNotifyError(Exception):
    """Root of every error that ent_notify raises on purpose."""


class SettingsError(EntNotifyError):
    """A setting is unknown, missing or wrong; the message names it and says where it was read."""


class PublishError(EntNotifyError):
    """An event was refused. Nothing was written."""


class MalformedEvent(PublishError):
    """The event's shape is wrong: unknown type, missing or ill-typed field, bad key or date."""


class MalformedMessage(PublishError):
    """A conversation's subject or message is empty, too long, or holds what no text can. Nothing was written."""


class UnknownAudience(PublishError):
    """The audience names a group, school or person that the directory does not hold."""


class SenderLimited(PublishError):
    """The event's sender publishes more than is allowed; the message says when the next one is."""


class DirectoryError(EntNotifyError):
    """A directory import or sync could not go on."""


class SourceError(DirectoryError):
    """The export cannot be read at all: no such folder, not XML, an unsafe document."""


class TooManyRemovals(DirectoryError):
    """The run would remove more people than the set share. Nothing was changed."""

    def __init__(self, removals: int, present: int, allowed_share: float) -> None:
        self.removals = removals
        self.present = present
        self.allowed_share = allowed_share
        super().__init__(
            f"this run would remove {removals} of {present} people ({removals / max(present, 1):.1%}), "
            f"more than the allowed {allowed_share:.1%}; nothing was changed. Check that the export is whole, "
            f"then run it again with the removals allowed (import-aaf --allow-removals)."
        )


class MalformedDevice(EntNotifyError):
    """A push token or a browser's subscription cannot be one; the message says why and quotes none of it."""


class MalformedRules(EntNotifyError):
    """Rules of who may write to whom are not written as they must be; the message names the place. Nothing changed."""


class MalformedCalendar(EntNotifyError):
    """A school calendar's own data are not written as they must be; the message says which part, and how."""


class MalformedTimetable(EntNotifyError):
    """Lessons, or a file of them, cannot be taken as they are; of a file, the message names the line."""


class NotFound(EntNotifyError):
    """There is no such thing, or it is not for the one who asks: the two answers are the same."""


class NotAllowed(EntNotifyError):
    """This person may not do that; the message says which rule."""


class ContactRefused(NotAllowed):
    """The rules of who may write to whom do not allow it."""


class TooManyRecipients(NotAllowed):
    """The message goes to more people than its author's role may write to, at once or within some hours."""


class Suspended(NotAllowed):
    """The author may not write for now: their account is quarantined or restricted, or messaging is frozen there."""


class StoreError(EntNotifyError):
    """The database refused or failed. ``sqlstate`` is PostgreSQL's code, or None when it was not PostgreSQL."""

    sqlstate: str | None = None


class StoreUnreachable(StoreError):
    """No PostgreSQL answers at the configured address."""


class StoreVersionError(StoreError):
    """The server is older than PostgreSQL 16."""


class SchemaMismatch(StoreError):
    """The schema is older or newer than this release can use."""


class StoreRestored(StoreError):
    """This database came out of a backup, and who was erased since stands in it again: it serves nobody before the
    ledger of erasures is replayed."""


class LedgerRefused(EntNotifyError):
    """A ledger of erasures cannot be read, or is another database's. Nothing was done."""


class StoreBusy(StoreError):
    """No connection came free in time, or a conflict outlived its retries. Try again."""


class MalformedSync(EntNotifyError):
    """A sync's cursor is not this person's or not whole, or a body is no batch of writes. Nothing was done."""


class RequestRefused(EntNotifyError):
    """An HTTP request cannot be served as it is.

    ``status`` is its HTTP status (400-599), ``title`` a few words that never change, the message one sentence;
    ``retry_after`` is in seconds, or None.
    """

    def __init__(self, status: int, title: str, detail: str, retry_after: int | None = None) -> None:
        self.status = status
        self.title = title
        self.retry_after = retry_after
        super().__init__(detail)


class MalformedMail(EntNotifyError):
    """A mail's text cannot be made into a message: a line break in its subject, a brace that opens no place."""


class ChannelDown(EntNotifyError):
    """A provider cannot be used at all just now.

    ``retry_after`` is in seconds, or None when the provider did not say.
    """

    def __init__(self, channel: str, reason: str, retry_after: float | None = None) -> None:
        self.channel = channel
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(f"channel {channel} is down: {reason}")


class IslandDied(EntNotifyError):
    """The asyncio thread is gone; open the engine again."""
