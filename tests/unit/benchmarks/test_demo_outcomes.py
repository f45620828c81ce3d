"""What the benchmark of the demo counts, on studies whose outcome is known."""

import json
import os
from pathlib import Path

from demo_outcomes import busy, outcome, summary


def study(folder: Path, verdict: str, ratio: float, cpu_s: dict[str, list[float]]) -> Path:
    """A study's folder with that outcome, and a failed run of the candidate."""
    folder.mkdir()
    result = {"verdict": verdict, "effect": {"ratio": ratio}, "candidate": {"slice_us": 100}}
    (folder / "result.json").write_text(json.dumps(result))
    runs = [("search", None, "ok", 9.0), ("confirmation", "candidate", "failed", 9.0)]
    runs += [("confirmation", arm, "ok", value) for arm, values in cpu_s.items() for value in values]
    lines = [{"format": "schedtuna-trials"}] + [
        {"phase": phase, "arm": arm, "trial": {"validity": validity, "metrics": {"cpu_time_s": value}}}
        for phase, arm, validity, value in runs
    ]
    (folder / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_an_outcome_compares_the_cpu_time_of_the_confirmation(tmp_path):
    cpu_s = {"default": [1.0, 2.0], "default_again": [1.5], "candidate": [3.0, 3.0]}
    found = outcome(study(tmp_path / "study", "improved", 0.4, cpu_s))
    assert found["verdict"] == "improved"
    assert found["change"] == 0.4 - 1
    assert found["cpu_time_change"] == 1.0  # medians: 3 against 1.5


def test_a_summary_counts_verdicts(tmp_path):
    cpu_s = {"default": [1.0], "candidate": [1.0]}
    halves = [
        {**outcome(study(tmp_path / str(n), verdict, 0.9, cpu_s)), "load_before": n, "took_s": 10 * n}
        for n, verdict in enumerate(("improved", "improved", "too_noisy"))
    ]
    found = summary(halves)
    assert found["verdicts"] == {"improved": 2, "too_noisy": 1}
    assert (found["took_s_median"], found["took_s_max"]) == (10, 20)


def test_busy_programs_have_sessions_of_their_own_and_end():
    with busy(1) as programs:
        (pid,) = [program.pid for program in programs]
        assert os.getsid(pid) == pid
    assert not Path(f"/proc/{pid}").exists()
