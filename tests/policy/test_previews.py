"""Previews: what a reader takes for a character is never cut, whatever the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.policy.previews import MORE, characters, excerpt, preview

PIECES = st.sampled_from(
    ["é", "e\u0301", "👩‍👩‍👧‍👦", "🇫🇷", "👍🏽", "مرحبا", "שלום", "नि", "각", "a", " ", "\n", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "z̤͔ͧ̑"]
)
TEXTS = st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60)


@given(TEXTS)
def test_characters_are_the_text(text: str) -> None:
    assert "".join(characters(text)) == text


@given(TEXTS, st.integers(2, 20))
def test_a_preview_is_the_beginning_and_cuts_no_character(text: str, most: int) -> None:
    shown = preview(text, most)
    line = " ".join(text.split())
    assert len(characters(shown)) <= most
    if shown != line:
        kept = shown.removesuffix(MORE)
        assert shown.endswith(MORE)
        rest = line.removeprefix(kept)
        assert kept + rest == line
        whole = characters(line)
        assert "".join(whole[: len(characters(kept))]) == kept


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        ("  Bonjour\n à  tous ", 20, "Bonjour à tous"),
        ("Bonjour à tous", 9, "Bonjour…"),
        ("👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦", 2, "👩‍👩‍👧‍👦…"),
        ("🇫🇷🇩🇪🇪🇸", 2, "🇫🇷…"),
        ("مرحبا بكم", 6, "مرحبا…"),
        ("", 5, ""),
    ],
)
def test_previews(text: str, most: int, shown: str) -> None:
    assert preview(text, most) == shown


@given(TEXTS, TEXTS, st.integers(4, 40))
def test_an_excerpt_fits_and_cuts_no_character(text: str, words: str, most: int) -> None:
    shown = excerpt(text, words, most)
    assert len(characters(shown)) <= most
    kept = shown.removeprefix(MORE).removesuffix(MORE)
    assert kept in " ".join(text.split())


@pytest.mark.parametrize("words", ["ecole", "ÉCOLES", "rien école"])
def test_an_excerpt_shows_the_word_that_was_found(words: str) -> None:
    text = "👍🏽 œuvre " * 60 + "devant l’École à midi. " + "Merci " * 60
    shown = excerpt(text, words, 60)
    assert "École" in shown
    assert shown.startswith(MORE)
    assert shown.endswith(MORE)
