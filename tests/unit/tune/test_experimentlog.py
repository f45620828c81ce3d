import subprocess
import sys

PROGRAM = """
from pathlib import Path
import sys
from schedtuna.tune.experimentlog import ExperimentLog
with ExperimentLog(Path(sys.argv[1])):
    raise ValueError("boom")
"""


def test_an_error_goes_to_the_file_and_not_to_the_terminal(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "ended by ValueError: boom" in (tmp_path / "experiment.log").read_text()
    assert "ended by" not in done.stderr
    assert done.stderr.splitlines()[-1] == "ValueError: boom"
