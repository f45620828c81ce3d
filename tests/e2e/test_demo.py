"""`make demo`: the simulated part, which takes seconds. demo_outcomes.py measures the others."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not (ROOT / ".venv/bin/schedtuna").exists(), reason="runs what `make setup` installs")
def test_the_simulated_part_ends_with_a_verdict_about_a_model(tmp_path):
    command = [ROOT / "tools/demo.sh", "1", tmp_path, "model"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tables, told = done.stdout.split("What if")
    assert tables.count(" on 16 CPUs (2x8x1)\n") == 3
    assert max(map(len, tables.splitlines())) <= 80
    assert "\nreport: " in told
    assert "not certified for this machine" in told
    verdict = re.search(r"^improved.*: sched\.wakeup_latency_p99_us (-\d+)", told, re.MULTILINE)
    assert verdict is not None, told
    assert int(verdict[1]) < -40
