"""The model inside scx_tuna, hints and advice, as they are typed."""

import json
import os

import pytest
from tests.commands import run_schedtuna
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.scheduler.objects import own_objects

WITHIN_S = 600


@pytest.fixture
def schedtuna(tmp_path):
    """Runs a command in a folder of its own, with a state folder of its own."""
    own = {"SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}

    def run(*argv):
        return run_schedtuna(*argv, env={**os.environ, **own}, cwd=tmp_path, timeout=WITHIN_S)

    yield run
    run("lab", "stop", "--all")


def test_the_session_of_the_documents(schedtuna):
    lab_or_skip()
    if not own_objects():
        pytest.skip("built without clang 17 or newer")

    def inside(*argv):
        return schedtuna("schedulers", *argv, "--in", "trial")

    assert schedtuna("lab", "start", "trial").returncode == 0
    early = inside("model", "status", "scx_tuna")
    assert (early.returncode, "no sched_ext scheduler is in charge" in early.stderr) == (3, True)
    assert inside("start", "scx_tuna").returncode == 0
    assert inside("model", "status", "scx_tuna").stdout == "no model is loaded\n"
    none = inside("model", "act", "scx_tuna")
    assert (none.returncode, "no model is loaded" in none.stderr) == (2, True)

    loaded = inside("model", "load", "scx_tuna", "short_tasks").stdout
    assert "of its own rows give what they should on this kernel\nmode: off\n" in loaded
    shadow = json.loads(inside("model", "shadow", "scx_tuna", "--period", "1", "--json").stdout)
    assert (shadow["name"], shadow["mode"], shadow["settings"]["period"]) == ("short_tasks", "shadow", 1)
    schedtuna("lab", "run", "--in", "trial", "--", "hackbench", "-g", "1", "-l", "20")
    told = inside("model", "status", "scx_tuna").stdout
    assert "mode: shadow\ntasks queued: " in told
    assert ", acted on 0\n" in told
    assert "mode: off" in inside("model", "off", "scx_tuna").stdout

    assert inside("hint", "scx_tuna", "batch", "--tid", "1").stdout == "tid 1: batch\n"
    assert json.loads(inside("hint", "scx_tuna", "none", "--tid", "1", "--json").stdout) == {
        "class": "none",
        "tid": 1,
    }
    missing = inside("hint", "scx_tuna", "batch", "--group", "/sys/fs/cgroup/none")
    assert (missing.returncode, "there is no control group" in missing.stderr) == (2, True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["model", "load", "scx_tuna"], "load takes a model"),
        (["model", "off", "scx_tuna", "short_tasks"], "load takes a model"),
        (["model", "status", "scx_tuna", "--period", "1"], "period: for shadow and act, not for status"),
        (["model", "load", "scx_tuna", "no_such"], "there is no model 'no_such'"),
        (["model", "load", "scx_tuna", "migration"], "migration looks at '"),
        (["hint", "scx_tuna", "batch"], "for a task or for a control group"),
        (["advise", "scx_tuna", "--model", "short_tasks", "--for", "0s"], "--for"),
    ],
)
def test_what_can_not_be_done_is_refused(schedtuna, argv, message):
    done = schedtuna("schedulers", *argv)
    assert done.returncode in (1, 2)
    assert message in done.stderr


def test_advice_needs_a_scheduler_that_asks(schedtuna):
    done = schedtuna("schedulers", "advise", "scx_tuna", "--model", "migration", "--json")
    assert done.returncode == 3
    assert "sched_ext" in done.stderr
    done = schedtuna("schedulers", "advise", "scx_rusty", "--model", "migration")
    assert (done.returncode, "scx_rusty has no model inside" in done.stderr) == (2, True)
