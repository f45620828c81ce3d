"""The leaderboard's page follows from its rows, and claims nothing that they don't carry."""

from pathlib import Path

import pytest

pytest.importorskip("sb3_contrib")

from rl_leaderboard import ENVIRONMENT, PAGE, ROWS, Row, page, read_rows, write_rows


def row(arm, seed=0, turnaround=0.9, latency=0.9, validation=0.9):
    return Row(arm, ENVIRONMENT, 500, seed, 1000, validation, turnaround, latency, 1.0)


RULES = [row("las"), row("fifo", turnaround=1.2, validation=1.2), row("srtf", turnaround=0.7)]


def verdicts(rows):
    return [line.rsplit("|", 2)[1].strip() for line in page(rows).splitlines() if line.startswith("| PPO |")]


def test_a_win_needs_ten_seeds_and_both_metrics():
    def seeds(number, **costs):
        return [*RULES, *(row("PPO", seed, **costs) for seed in range(number))]

    assert verdicts(seeds(9, turnaround=0.5)) == ["no claim: 10 seeds are needed"]
    assert verdicts(seeds(10, turnaround=0.8))[0].startswith("**wins**")
    assert verdicts(seeds(10, turnaround=0.95)) == ["no gain"]
    assert "worse on the other metric" in verdicts(seeds(10, turnaround=0.8, latency=1.0))[0]
    assert "Better than `las`: PPO at 0.5 us." in page(seeds(10, turnaround=0.8))
    assert "use that rule" in page(seeds(10, turnaround=0.95))


def test_the_rule_is_chosen_on_validation_and_sees_no_sizes():
    rows = [*RULES, row("mlfq", turnaround=0.5, validation=0.95)]
    assert "| `las` | 0.900 | 0.900 | **the best blind rule** |" in page(rows)


def test_rows_come_back(tmp_path):
    path = Path(tmp_path / "rows.csv")
    write_rows(path, RULES)
    assert read_rows(path) == RULES


@pytest.mark.skipif(not ROWS.exists(), reason="nothing was measured yet")
def test_the_page_is_made_of_the_rows():
    assert PAGE.read_text() == page(read_rows(ROWS))
