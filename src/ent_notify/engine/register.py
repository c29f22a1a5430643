"""The record of processing activities (GDPR 30), from the schema's annotations and the project's figures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from ent_notify.engine.retention import figures_of
from ent_notify.model.retention import Kept
from ent_notify.policy.retention import LAWS, in_words
from ent_notify.settings import Settings
from ent_notify.store.personal_data import Annotated, PersonalData, personal_data

RECIPIENTS = (
    ("Mail", "the relay of `email.host`, and the reader's own mail server: address, name, the notification's text"),
    ("Apple, Google", "a device's token and a wake-up without text, sender or subject"),
    ("Web Push services", "a subscription's address and an encrypted wake-up without personal data"),
    ("The platform (ENT)", "what its own pages ask for, for the reader who is signed in"),
)
WIDTH = 116
"""Characters of a line of the page, tables excepted."""
SAFEGUARDS = (
    "Logs, metrics and pushes carry no personal data; people stand in logs by keyed pseudonyms.",
    "Whoever may not see something gets the same answer as if it were not there.",
    "Secrets of sessions are kept as digests alone.",
    "Deletions leave receipts in a chain (`ent-notify retention verify`).",
    "Erasures are done again on a restored backup before it is opened.",
)


def register_page(settings: Settings) -> str:
    """The record, as a Markdown page."""
    return "\n".join(_wrapped(_lines(settings, personal_data()))) + "\n"


def _wrapped(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if len(line) <= WIDTH or line.startswith("|"):
            yield line
        else:
            yield from textwrap.wrap(line, WIDTH, subsequent_indent="  " if line.startswith("- ") else "")


def _lines(settings: Settings, data: PersonalData) -> Iterator[str]:
    figures = figures_of(settings.retention)
    yield "# Record of processing"
    yield ""
    yield "Written by `ent-notify gdpr register` (GDPR 30) from the annotations that tests hold to the schema."
    yield ""
    yield f"Service: {settings.project.name} ({settings.project.url}). Controller: the head of each school, and the"
    yield "authority that runs the platform; this service is their processor. Categories of people: pupils, guardians,"
    yield "teachers, staff. No transfer outside the European Union but what pushes need: a token, and no text."
    for name, (text, law) in data.purposes.items():
        tables = [table for table in data.tables.values() if table.purpose == name and table.personal]
        yield ""
        yield f"## {name.capitalize()}"
        yield ""
        yield f"{text}."
        yield ""
        yield f"Lawful because: {law.text}. Source: {law.source} ({law.date})."
        if tables:
            yield ""
            yield "| Table | What it says of people | Kept |"
            yield "|---|---|---|"
            for table in tables:
                yield f"| `{table.name}` | {_said(table)} | {_kept(table)} |"
    yield ""
    yield "## How long"
    yield ""
    yield "| Class | Figure and reason | Source |"
    yield "|---|---|---|"
    for kept in Kept:
        yield f"| {kept.value} | {in_words(kept, figures)} | {LAWS[kept].source} ({LAWS[kept].date}) |"
    yield ""
    yield "## What the kinds mean"
    yield ""
    for kind, words in data.kinds.items():
        yield f"- {kind}: {words}"
    yield ""
    yield "## Who receives what"
    yield ""
    for who, what in RECIPIENTS:
        yield f"- {who}: {what}"
    yield ""
    yield "## How it is kept safe"
    yield ""
    for safeguard in SAFEGUARDS:
        yield f"- {safeguard}"
    yield ""
    yield "## Tables without personal data"
    yield ""
    yield ", ".join(f"`{table.name}`" for table in data.tables.values() if not table.personal) + "."


def _said(table: Annotated) -> str:
    by_kind: dict[str, list[str]] = {}
    for column, kind in table.personal.items():
        by_kind.setdefault(kind, []).append(column)
    return "; ".join(f"{kind}: {', '.join(f'`{column}`' for column in columns)}" for kind, columns in by_kind.items())


def _kept(table: Annotated) -> str:
    return f"class {table.kept}" if table.kept in {kept.value for kept in Kept} else table.kept
