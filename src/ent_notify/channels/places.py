"""Personal places in a mail's text.

``{key}`` is filled with the recipient's value, ``{?key}...{/key}`` stays only for a recipient who has one, ``{{`` and
``}}`` are braces. A text is read once, made a %-pattern for each set of keys, and then filled by one C call.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from ent_notify.errors import MalformedMail

_TOKEN = re.compile(r"\{\{|\}\}|\{([?/]?)([a-z_]+)\}|[{}]")


class MissingValue(KeyError):
    """A text has a place for which the recipient has no value."""


class Place(NamedTuple):
    """``{key}``."""

    key: str


class Section(NamedTuple):
    """``{?key}...{/key}``."""

    key: str
    nodes: list[str | Place | Section]


Nodes = list[str | Place | Section]


def parse(text: str) -> Nodes:
    """Read a text with places. Raises MalformedMail, naming what is wrong, for a lone brace or an unclosed section."""
    root: Nodes = []
    open_sections: list[Section] = []
    nodes = root
    start = 0
    for token in _TOKEN.finditer(text):
        if token.start() > start:
            nodes.append(text[start : token.start()])
        start = token.end()
        mark, key = token[1], token[2]
        if key is None:
            if len(token[0]) == 1:
                raise MalformedMail(
                    f"a lone {token[0]!r} stands at character {token.start()} of a mail's text; "
                    f"write {token[0] * 2!r} for a brace, {{name}} for a place"
                )
            nodes.append(token[0][0])
        elif mark == "?":
            section = Section(key, [])
            nodes.append(section)
            open_sections.append(section)
            nodes = section.nodes
        elif mark == "/":
            if not open_sections or open_sections.pop().key != key:
                raise MalformedMail(f"{{/{key}}} in a mail's text closes a section that is not open")
            nodes = open_sections[-1].nodes if open_sections else root
        else:
            nodes.append(Place(key))
    if open_sections:
        raise MalformedMail(f"{{?{open_sections[-1].key}}} in a mail's text is never closed")
    if start < len(text):
        nodes.append(text[start:])
    return root


def pattern(nodes: Nodes, keys: Collection[str]) -> str:
    """The text as a %-pattern (``%(key)s``) for a recipient who has values for ``keys``.

    Raises MissingValue if a place outside a dropped section has no value.
    """
    parts: list[str] = []
    for node in nodes:
        if isinstance(node, str):
            parts.append(node.replace("%", "%%"))
        elif isinstance(node, Section):
            if node.key in keys:
                parts.append(pattern(node.nodes, keys))
        elif node.key in keys:
            parts.append(f"%({node.key})s")
        else:
            raise MissingValue(node.key)
    return "".join(parts)


def has_place(line: str) -> bool:
    """Whether a line of a pattern has anything to fill."""
    return "%(" in line.replace("%%", "")
