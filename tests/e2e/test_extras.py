"""What the base install can do: everything, or it names the extra that is missing."""

import json
import os
import subprocess
import sys

import pytest

import install_size
from schedtuna.trace.schema import STORED

OF_EXTRAS = [
    *(
        "cmaes",
        "greenlet",
        "gymnasium",
        "nanobind_backend",
        "optuna",
        "pandas",
        "polars",
        "pyarrow",
        "safetensors",
        "sb3_contrib",
        "stable_baselines3",
    ),
    *("tensorboard", "torch"),
]
BLOCKED = (
    f"import sys; sys.modules |= dict.fromkeys({OF_EXTRAS!r})\n"  # `import` fails, as for what is absent
)
RUN = BLOCKED + "from schedtuna.__main__ import run; run()"

WORKING = [
    "doctor --json",
    "knobs",
    "undo",
    "schedulers list",
    "suite list",
    "record --json-lines --for 0.2s --interval 0.1s",
    "tune --seed 1 --budget 20 -- true",
    "compare default fair:nice=1 -n 12 -- true",
    "variability -n 3 -- true",
]
NEEDING_THE_SIMULATOR = ["sim list", "sim run load.json"]
NAMING_THE_EXTRA = [
    "record --procfs --for 0.1s -o new",
    "suite record --procfs -o new short-bursts",
    "import --format vmstat vmstat.txt -o new",
    "import --format vmstat vmstat.txt --into trace",
    "stats trace",
    "plot trace -o new.html",
    "trace export trace --jsonl -o new.jsonl",
    "trace diff trace trace",
]


def in_base(command, folder):
    return subprocess.run(
        [sys.executable, "-c", RUN, *command.split()],
        cwd=folder,
        env={**os.environ, "SCHEDTUNA_STATE_DIR": str(folder / "state")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", WORKING)
def test_the_base_install_is_enough(command, tmp_path):
    done = in_base(command, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", NAMING_THE_EXTRA)
def test_a_command_that_needs_an_extra_names_it(command, tmp_path):
    (tmp_path / "trace").mkdir()
    manifest = {"format": "schedtuna-trace", STORED.key: STORED.newest, "state": "complete"}
    (tmp_path / "trace" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "vmstat.txt").write_text("procs -----------memory---------- ---swap--\n")
    done = in_base(command, tmp_path)
    assert done.returncode == 3, done.stderr
    assert "needs the extra 'trace', which is not installed" in done.stderr
    assert "pip install 'schedtuna[trace]'" in done.stderr
    assert not list(tmp_path.glob("new*"))


def test_training_names_its_extra(tmp_path):
    for command in ("rl list", "rl train CartPole-v1 -o new", "rl eval trained"):
        done = in_base(command, tmp_path)
        assert done.returncode == 3, done.stderr
        assert "pip install 'schedtuna[rl]'" in done.stderr
        assert not list(tmp_path.glob("new*"))


@pytest.mark.parametrize("command", NEEDING_THE_SIMULATOR)
def test_the_simulator_says_what_it_lacks(command, tmp_path):
    done = in_base(command, tmp_path)
    assert done.returncode == 3, done.stderr
    assert "pip install 'schedtuna[sim]'" in done.stderr
    gone = f"sys.modules['schedtuna.sim._native'] = None\n{RUN.removeprefix(BLOCKED)}"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{gone}", *command.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "lacks the simulator's native module" in done.stderr


def test_the_base_install_is_small():
    sizes = {name: install_size.size_mb(name) for name in install_size.distributions()}
    assert sum(sizes.values()) <= install_size.GOAL_MB, sizes
