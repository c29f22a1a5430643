"""Which module measures what, and with which arguments in the short and in the long run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A module of this package. ``selects``: it takes ``--metrics`` and can measure some of its own alone."""

    module: str
    metrics: tuple[str, ...]
    short: tuple[str, ...]
    full: tuple[str, ...]
    selects: bool = False


def _arguments(text: str) -> tuple[str, ...]:
    return tuple(text.split())


REGISTRY: tuple[Benchmark, ...] = (
    Benchmark(
        "fanout_plan",
        ("1",),
        short=_arguments("--people 1500000 --pairs 3"),
        full=_arguments("--people 1500000 --pairs 7"),
    ),
    Benchmark(
        "fanout_drain",
        ("2", "2b", "3", "4", "14"),
        short=_arguments("--people 150000 --pairs 2"),
        full=_arguments("--people 1500000 --pairs 7 --every-peer --snapshot 600"),
        selects=True,
    ),
    Benchmark(
        "rate_exact",
        ("9",),
        short=_arguments("--people 150000 --seconds 30 --pairs 1 --per-second 1200"),
        full=_arguments("--people 1500000 --seconds 60 --pairs 7 --per-second 3000"),
    ),
    Benchmark(
        "message_posts",
        ("15",),
        short=_arguments("--pairs 3 --each 1000"),
        full=_arguments("--pairs 7 --each 4000"),
    ),
    Benchmark(
        "thread_pages",
        ("15b", "15c"),
        short=_arguments("--messages 300000 --pairs 3 --readers 60"),
        full=_arguments("--messages 10000000 --pairs 7 --readers 400"),
    ),
    Benchmark(
        "small_campaigns",
        ("16",),
        short=_arguments("--people 150000 --pairs 3 --each 625"),
        full=_arguments("--people 1500000 --pairs 7"),
    ),
    Benchmark(
        "retention_month",
        ("12", "12b"),
        short=_arguments("--pairs 3 --rows 200000"),
        full=_arguments("--pairs 3 --rows 10000000"),
    ),
    Benchmark(
        "smtp_rate",
        ("10",),
        short=_arguments("--messages 5000 --pairs 3"),
        full=_arguments("--messages 50000 --pairs 7"),
    ),
    Benchmark(
        "push_rate",
        ("11",),
        short=_arguments("--pushes 2000 --pairs 3"),
        full=_arguments("--pushes 20000 --pairs 7"),
    ),
    Benchmark(
        "push_engine",
        ("11",),
        short=_arguments("--people 6000 --pairs 3"),
        full=_arguments("--people 60000 --pairs 7"),
    ),
    Benchmark(
        "held_streams",
        ("5", "6", "7"),
        short=_arguments("--streams 5000 --pairs 3 --rounds 5"),
        full=_arguments("--streams 200000 --pairs 7 --rounds 5"),
    ),
    Benchmark(
        "commit_to_browser",
        ("8",),
        short=_arguments("--people 150000 --streams 2000 --pairs 2 --seconds 5"),
        full=_arguments("--people 1500000 --streams 15000 --pairs 7 --seconds 40"),
    ),
    Benchmark(
        "inbox_page",
        ("13",),
        short=_arguments("--people 1500000 --pairs 5 --readers 200"),
        full=_arguments("--people 1500000 --pairs 7 --readers 2000"),
    ),
)
