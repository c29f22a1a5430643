"""A few words of a text, cut between what a reader takes for characters: no emoji, flag or accent is cut in two."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import regex

MORE = "…"
_CHARACTER = regex.compile(r"\X")
"""An extended grapheme cluster: UAX #29."""
_WORD = regex.compile(r"[^\W_]+")
_NOT_ONE_CHARACTER = {"œ": "oe", "æ": "ae"}


def characters(text: str) -> list[str]:
    """What a reader takes for characters, one by one; joined they are the text."""
    return [match.group() for match in _CHARACTER.finditer(text)]


def preview(text: str, most: int) -> str:
    """The beginning of ``text`` on one line, in at most ``most`` characters as readers count them, "…" included."""
    found = characters(" ".join(text.split()))
    return "".join(found) if len(found) <= most else "".join(found[: most - 1]).rstrip() + MORE


def excerpt(text: str, words: str, most: int) -> str:
    """As ``preview``, but from a little before the first word that begins as one of ``words`` does, or shares its
    first half with it (a stem); the beginning where none does."""
    line = characters(" ".join(text.split()))
    if len(line) <= most:
        return "".join(line)
    plain, at = _flat(line)
    starts = [match.group() for match in _WORD.finditer(_flat(list(words))[0])]
    places = [(match.group(), match.start()) for match in _WORD.finditer(plain)]
    first = next((start for word, start in places if any(word.startswith(each) for each in starts)), None)
    if first is None:
        halves = [each[: max(3, len(each) // 2 + 1)] for each in starts]
        first = next((start for word, start in places if any(word.startswith(half) for half in halves)), 0)
    begin = max(0, min(at[first] - most // 4, len(line) - most)) if at else 0
    begin = next((n + 1 for n in range(begin, at[first]) if line[n] == " "), begin) if begin else 0
    shown = preview("".join(line[begin:]), most - bool(begin))
    return f"{MORE}{shown}" if begin else shown


def _flat(found: list[str]) -> tuple[str, list[int]]:
    """Characters without case and accents, and from which of them each comes."""
    pairs = [(each, n) for n, character in enumerate(found) for each in _without_accents(character)]
    return "".join(each for each, _ in pairs), [n for _, n in pairs]


def _without_accents(character: str) -> Iterator[str]:
    for each in unicodedata.normalize("NFD", character.lower()):
        if not unicodedata.combining(each):
            yield from _NOT_ONE_CHARACTER.get(each, each)
