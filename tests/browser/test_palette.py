"""Every pair of colours that carries text or a control's edge, in both schemes: WCAG 2.2, 1.4.3 and 1.4.11."""

import re
from importlib.resources import files

import pytest

STYLE = (files("ent_notify.demo") / "pages" / "style.css").read_text(encoding="utf-8")
COLOURS = {name: pair for name, *pair in re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", STYLE)}
TEXT = [
    ("text", "ground"), ("text", "card"), ("text", "raised"), ("text", "accent-ground"),
    ("muted", "ground"), ("muted", "card"), ("muted", "raised"), ("muted", "accent-ground"),
    ("accent", "card"), ("accent", "ground"), ("accent", "accent-ground"), ("on-accent", "accent"),
    ("good", "good-ground"), ("warn", "warn-ground"), ("bad", "bad-ground"),
]  # fmt: skip
EDGES = [
    ("control", "card"), ("control", "ground"), ("accent", "card"), ("accent", "ground"),
    ("bar-accepted", "bar-empty"), ("bar-failed", "bar-empty"),
]  # fmt: skip


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``, as WCAG defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_measure_itself() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("front", "back", "least"), [(*p, 4.5) for p in TEXT] + [(*p, 3.0) for p in EDGES])
def test_contrast(front: str, back: str, least: float, scheme: int) -> None:
    assert contrast(COLOURS[front][scheme], COLOURS[back][scheme]) >= least
