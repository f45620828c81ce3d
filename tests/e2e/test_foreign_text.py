"""Names, commands and files of others, shown by every kind of command: none of it steers the terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands import run_schedtuna
from tests.unit.tune.studies import make_study

EVIL = "\x1b]0;t\x07\x1b[2J\u202e"
SHOWN = "\\x1b]0;t\\x07\\x1b[2J\\u202e"
OTHER = "\udcff"  # a byte of a name that is no UTF-8, as Python has it
STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


@pytest.fixture
def run(tmp_path):
    def schedtuna(*argv: str | Path, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        done = run_schedtuna(
            *argv,
            env={**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state"), "LINES": "2000"},
            cwd=tmp_path,
            timeout=120,
        )
        assert done.returncode in codes, done.stderr
        assert not STEERS.search(done.stdout + done.stderr), ascii(done.stdout + done.stderr)
        return done

    return schedtuna


@pytest.mark.parametrize(
    "argv",
    [
        ["variability", "-n", "1", "--", f"no{EVIL}such"],
        ["variability", "-n", "1", "--", "sh", "-c", f"printf '{EVIL}' >&2; exit 1"],
        ["variability", "-n", "1", "--user", EVIL, "--", "true"],
        ["variability", "-n", "1", "-m", f"{EVIL}:min=regex:x", "--", "true"],
        ["compare", "default", f"fair:{EVIL}=1", "--", "true"],
        ["tune", "--resume", EVIL],
        ["tune", "--cgroup", EVIL, "--", "true"],
        ["knobs", "--cgroup", EVIL],
        ["apply", EVIL, "--", "true"],
        ["apply", f"fair:{EVIL}=1", "--", "true"],
        ["replay", "--results", EVIL],
        ["analyze", EVIL],
        ["stats", EVIL],
        ["plot", EVIL, "-o", "x.png"],
        ["import", EVIL, "-o", "t"],
        ["schedulers", EVIL],
        ["schedulers", "probe", EVIL],
        ["doctor", "--diff", EVIL, EVIL],
        [EVIL],
        ["knobs", f"--{EVIL}"],
    ],
    ids=lambda value: " ".join(value[:3]).replace(EVIL, "ESC"),
)
def test_an_error_spells_what_it_was_given(run, argv):
    done = run(*argv, codes=(1, 2, 3))
    assert "Traceback" not in done.stderr
    assert "\\x1b" in done.stderr


@pytest.mark.parametrize(
    "argv",
    [
        ["tune", "--episodes", "2", "--", "echo", OTHER],
        ["tune", "--episodes", "2", "--experiment-name", OTHER, "--", "true"],
        ["tune", "--episodes", "2", "-m", f"x:min=regex:{OTHER}", "--", "echo", "1"],
        ["compare", "default", "fair:nice=1", "--", "echo", OTHER],
        ["variability", "-n", "1", "--", "echo", OTHER],
        ["variability", "-n", "1", "-m", f"x:min=csv@{OTHER}:a", "--", "true"],
        ["tune", "--backend", "sim", "--workload", OTHER],
    ],
)
def test_what_is_no_utf8_is_refused_where_a_folder_would_tell_it(run, tmp_path, argv):
    done = run(*argv, codes=(2,))
    assert re.match(r"error: .*\\udcff.* is not UTF-8", done.stderr), done.stderr
    assert not (tmp_path / "results").exists()


def test_a_comparison_in_a_folder_whose_name_is_no_utf8_has_its_page(run, tmp_path):
    folder = tmp_path / OTHER
    run("compare", "default", "fair:nice=1", "-n", "12", "--results", folder, "--", "true")
    [page] = folder.glob("*/report.html")
    assert "\\udcff" in page.read_text()


def test_a_study_of_somebody_else_is_shown_in_one_piece(run, tmp_path):
    folder = make_study(tmp_path / f"study{EVIL}", seed=1)
    file = folder / "study.json"
    plan = json.loads(file.read_text())
    plan["workload"]["argv"] = ["./bench", f"{EVIL}\nnote: all is well"]
    file.write_text(json.dumps(plan))
    shown = run("replay", "--results", folder).stdout
    assert SHOWN in shown
    assert "\nnote: all is well" not in shown
    as_json = run("replay", "--results", folder, "--json").stdout
    assert EVIL in json.dumps(json.loads(as_json), ensure_ascii=False).replace("\\u001b", "\x1b").replace(
        "\\u0007", "\x07"
    )


def test_a_study_is_analyzed_by_its_spelled_name(run, tmp_path):
    folder = make_study(tmp_path / "results" / f"study{EVIL}\nnote: fine", seed=1)
    shown = run("analyze", folder).stdout
    assert SHOWN in shown
    assert "\nnote: fine" not in shown


def test_a_broken_study_is_skipped_by_its_spelled_name(run, tmp_path):
    bad = tmp_path / "results" / f"bad{EVIL}\nnote: fine"
    make_study(tmp_path / "results" / "good", seed=1)
    bad.mkdir()
    (bad / "study.json").write_text("{")
    done = run("replay", "--results", bad.parent, "--statistics")
    assert SHOWN in done.stderr
    assert "\nnote: fine" not in done.stderr


def test_an_imported_trace_names_its_tasks_spelled(run, tmp_path):
    lines = [
        f" {EVIL[:11]}-7 [000] d..2. 1.00000{n}: sched_switch: prev_comm={EVIL[:11]} prev_pid=7 "
        "prev_prio=120 prev_state=S ==> next_comm=swapper/0 next_pid=0 next_prio=120"
        for n in range(3)
    ]
    (tmp_path / "trace.txt").write_text("# tracer: nop\n" + "\n".join(lines) + "\n")
    run("import", "trace.txt", "-o", "t")
    assert "\\x1b" in run("stats", "t").stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs BPF")
@pytest.mark.parametrize("by", ["task", "comm"])
def test_a_running_task_is_spelled_by_top(run, by):
    code = (
        "import time\nopen('/proc/self/comm', 'w').write('\\x1b[2J\\x1b]0;t')\n"
        "print(flush=True)\nend = time.time() + 60\nwhile time.time() < end: pass"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        try:
            shown = run("top", "--screens", "1", "--by", by).stdout
            assert "\\x1b[2J" in shown
            names = [row["name"] for row in json.loads(run("top", "--screens", "1", "--json").stdout)["rows"]]
            assert any("x1b[2J" in name or "\x1b[2J" in name for name in names)
        finally:
            process.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs control groups")
def test_undo_spells_the_control_group_that_a_killed_run_left(run, tmp_path):
    v1 = Path("/sys/fs/cgroup/cpu")
    group = (v1 if v1.is_dir() else v1.parent) / f"schedtuna-test-{os.getpid()}{EVIL}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    weight = next((group / name for name in ("cpu.weight", "cpu.shares") if (group / name).exists()), None)
    try:
        if weight is None:
            pytest.skip("control groups have no weight here")
        before = weight.read_text()
        argv = [sys.executable, "-m", "schedtuna", "compare", "default", "fair:cpu_weight=200"]
        argv += ["--cgroup", str(group), "--results", str(tmp_path), "--", "sleep", "1"]
        environment = {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}
        with subprocess.Popen(
            argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            while process.poll() is None and weight.read_text() == before:
                time.sleep(0.01)
            assert process.poll() is None, process.stderr.read()
            process.kill()
        shown = run("undo").stdout
        assert "restored" in shown
        assert SHOWN in shown
        assert weight.read_text() == before
    finally:
        group.rmdir()
