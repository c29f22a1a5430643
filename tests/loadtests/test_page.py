"""The page about load tests shows the committed results, and nothing else."""

from __future__ import annotations

from loadtests.page import MARK, PAGE, read_results, tables


def test_the_page_shows_the_committed_results() -> None:
    _, mark, shown = PAGE.read_text(encoding="utf-8").partition(MARK)
    assert mark + shown == tables(read_results()), "write it anew with `python -m loadtests.page`"


def test_committed_results_have_passed_and_were_checked() -> None:
    results = read_results()
    assert results
    for name, result in results.items():
        assert result["passed"], name
        assert all(result["check_notices_tampering"].values()), name
