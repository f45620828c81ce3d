import json
import os
import subprocess
import sys

import pytest

from schedtuna.machine.checks import GROUPS

NOBODY = 65534


def doctor(*arguments, as_nobody=False, **environment):
    wrapper = (
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
        if as_nobody
        else []
    )
    return subprocess.run(
        [*wrapper, sys.executable, "-m", "schedtuna", "doctor", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
        env=os.environ | environment,
    )


@pytest.fixture(scope="module")
def facts():
    done = doctor("--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_shows_every_check_and_fits(columns):
    done = doctor(COLUMNS=str(columns))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    for group, checks in GROUPS.items():
        assert any(line.strip() == group for line in lines)
        for check in checks:
            assert any(line[9:].startswith(check.title) for line in lines), check.title


def test_json_has_every_check_and_the_manifest(facts):
    assert set(facts["checks"]) == {check.name for checks in GROUPS.values() for check in checks}
    assert facts["manifest"]["machine"]["kernel_release"] == os.uname().release
    assert sum(facts["counts"].values()) == len(facts["checks"])


def test_missing_programs_are_not_a_failure_and_come_with_a_hint():
    done = doctor("--json", PATH="/nowhere")
    checks = json.loads(done.stdout)["checks"]
    assert done.returncode == 0
    assert checks["stress_ng"]["status"] == "missing"
    assert "stress-ng" in checks["stress_ng"]["get"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become nobody")
def test_it_runs_without_privileges():
    done = doctor("--json", as_nobody=True)
    if done.returncode and ("Permission denied" in done.stderr or "No module named" in done.stderr):
        pytest.skip(f"nobody may not read this installation: {done.stderr.strip().splitlines()[-1]}")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert result["checks"]["cap_sys_admin"]["status"] == "missing"
    assert result["abilities"]["record"]["status"] == "missing"
    assert result["abilities"]["tune"]["status"] == "warning"
    assert doctor(as_nobody=True).returncode == 0


@pytest.fixture
def results(facts, tmp_path):
    def write(name, **machine):
        folder = tmp_path / name
        folder.mkdir()
        manifest = facts["manifest"] | {"machine": facts["manifest"]["machine"] | machine}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return write


def test_results_of_the_same_conditions_may_be_compared(results):
    done = doctor("--diff", results("a"), results("b"))
    assert done.returncode == 0
    assert done.stdout == "These results may be compared: the same machine, kernel, settings and programs.\n"


def test_reservations_are_named(results):
    done = doctor("--diff", results("a"), results("b", boot_id="another") / "manifest.json")
    assert done.returncode == 0
    assert "boot_id" in done.stdout
    assert "with the reservations above" in done.stdout


def test_results_of_two_kernels_may_not_be_compared(results):
    a, b = results("a"), results("b", kernel_release="0.1", cpu_model="abacus\x1b[31m")
    done = doctor("--diff", a, b)
    assert done.returncode == 1
    assert "may not be compared: cpu_model, kernel_release differ." in done.stdout
    assert "\x1b" not in done.stdout
    done = doctor("--json", "--diff", a, b)
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert result["comparable"] is False
    assert {d["field"] for d in result["differences"]} == {"cpu_model", "kernel_release"}


def test_malformed_manifests_are_named(results, tmp_path):
    good = results("a")
    (tmp_path / "bad.json").write_text('{"format_version": 1,\n oops}')
    done = doctor("--diff", good, tmp_path / "bad.json")
    assert done.returncode == 2
    assert f"error: {tmp_path}/bad.json, line 2: not JSON" in done.stderr
    done = doctor("--diff", good, tmp_path / "none")
    assert done.returncode == 2
    assert "hint: give a manifest.json, or a results folder" in done.stderr
    assert doctor("--diff", good).returncode == 2
