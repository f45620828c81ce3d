"""`schedtuna schedulers vet` where nothing can be vetted: a clear error each, before a guest is booted."""

import json
import os

import pytest
from tests.commands import run_schedtuna
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.scheduler.objects import own_objects


def vet(tmp_path, *arguments, **environment):
    variables = {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state"), **environment}
    return run_schedtuna("schedulers", "vet", *arguments, env=variables, cwd=tmp_path, timeout=120)


def test_without_a_lab_it_says_how_to_set_one_up(tmp_path):
    done = vet(tmp_path, "scx_tuna", SCHEDTUNA_LAB_DIR=str(tmp_path / "lab"))
    assert done.returncode == 3
    assert "schedtuna lab setup" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("fair",), 2, "the kernel's own scheduler"),
        (("scx_tuna", "--adversary", "pined"), 2, "pinned"),
        (("scx_tuna", "--topology", "4x2x1"), 2, "8 CPUs"),
        (("scx_tuna", "--kernel", "1.0"), 3, "kernel 1.0 is not in the lab"),
        (("scx_tuna", "--for", "never"), 2, "not a duration"),
        (("scx_tuna", "--resume", "nowhere"), 2, "nowhere"),
        (("scx_nobody",), 2, "unknown scheduler"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_anything_runs(tmp_path, arguments, code, message):
    lab_or_skip()
    if not own_objects():
        pytest.skip("built without clang 17 or newer")
    done = vet(tmp_path, *arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert not (tmp_path / "results").exists()


def test_what_can_not_be_tried_is_no_certificate_and_is_kept(tmp_path):
    """CPUs can't go where there is one: no guest is booted for that."""
    lab_or_skip()
    if not own_objects():
        pytest.skip("built without clang 17 or newer")
    case = ("scx_tuna", "--quick", "--topology", "1x1x1", "--adversary", "hotplug", "--json")
    done = vet(tmp_path, *case, "--seed", "3")
    assert done.returncode == 1, done.stderr
    assert "nothing was run" in done.stderr
    told = json.loads(done.stdout)
    assert told["clean"] is False
    (result,) = told["results"]
    assert (result["outcome"], result["reason"], result["replay"]) == ("not run", "it needs 2 CPUs", None)
    assert (tmp_path / told["folder"] / "report.html").exists()
    again = vet(tmp_path, *case, "--resume", told["folder"])
    assert json.loads(again.stdout) == told
    other = vet(tmp_path, *case, "--resume", told["folder"], "--seed", "4")
    assert other.returncode == 2
    assert "another plan" in other.stderr
