"""What `--json` prints: one document on stdout, whichever command and options it stands with."""

import json
from pathlib import Path

import pytest
from tests.unit.cli.test_mistakes import LEAVES

from schedtuna.cli.main import main

ROOT = Path(__file__).parents[3]
OLD = ROOT / "tests/data/old/2026-11-29"
PROGRAM = "#!/bin/sh\necho '  -s, --slice-us <US>  Base slice [default: 5000]'\n"
# What each command is run with; or the test that has it with --json, where it makes runs or boots guests.
CHEAP: dict[str, list[Path | str]] = {
    "agent check-config": [],
    "agent monitoring": ["monitoring"],
    "analyze": [OLD / "studies/gp"],
    "doctor": [],
    "knobs": [],
    "lab list": [],
    "metrics": ["run"],
    "replay": ["--results", OLD / "studies"],
    "report": ["--index", OLD, "-o", "index.html"],
    "schedulers check": ["mine.toml"],
    "schedulers list": [],
    "schedulers probe": ["./scx_mine", "-o", "own.toml"],
    "schedulers show": ["scx_rusty:interval=3"],
    "stats": [OLD / "traces/perf", "--allow-lost"],
    "suite list": [],
    "trace diff": [OLD / "traces/perf", OLD / "traces/perf", "--allow-lost"],
    "undo": ["--dry-run"],
}
ELSEWHERE = {
    "agent advise": "unit/cli/test_agent_watch.py",
    "agent page": "e2e/test_agent_page.py",
    "agent evaluate": "e2e/test_agent_evaluate.py",
    "agent learn": "unit/cli/test_agent_learn.py",
    "agent versions": "unit/cli/test_agent_learn.py",
    "agent run": "e2e/test_agent.py",
    "agent quarantine": "unit/cli/test_agent_swap.py",
    "agent status": "e2e/test_agent.py",
    "agent why": "e2e/test_agent.py",
    "bisect": "e2e/test_bisect.py",
    "compare": "e2e/test_compare.py",
    "dataset build": "unit/cli/test_dataset.py",
    "dataset check": "unit/cli/test_dataset.py",
    "dataset load": "unit/cli/test_dataset.py",
    "dataset show": "unit/cli/test_dataset.py",
    "demo agent": "unit/cli/test_demo.py",
    "import": "e2e/test_trace.py",
    "lab boot": "e2e/test_lab.py",
    "lab run": "e2e/test_lab.py",
    "lab setup": "e2e/test_lab.py",
    "lab start": "e2e/test_lab_named.py",
    "lab status": "e2e/test_lab.py",
    "lab stop": "e2e/test_lab_named.py",
    "record": "e2e/test_record.py",
    "schedulers start": "e2e/test_lab_named.py",
    "schedulers status": "e2e/test_lab_named.py",
    "schedulers set": "e2e/test_lab_named.py",
    "schedulers stop": "e2e/test_lab_named.py",
    "schedulers switch": "e2e/test_lab_named.py",
    "schedulers model": "e2e/test_scheduler_advice.py",
    "schedulers hint": "e2e/test_scheduler_advice.py",
    "schedulers advise": "e2e/test_scheduler_advice.py",
    "schedulers vet": "e2e/test_schedulers_vet.py",
    "model check": "unit/cli/test_model.py",
    "model export": "unit/cli/test_model.py",
    "model import": "unit/cli/test_model_import.py",
    "model show": "unit/cli/test_model.py",
    "bench list": "e2e/test_bench.py",
    "bench run": "e2e/test_bench.py",
    "bench verify": "e2e/test_bench.py",
    "rl compare": "unit/rl/test_training.py",
    "rl eval": "unit/rl/test_training.py",
    "rl export": "unit/rl/test_exported.py",
    "rl list": "unit/rl/test_training.py",
    "rl train": "unit/rl/test_training.py",
    "sim calibrate": "e2e/test_sim_fidelity.py",
    "sim fidelity": "kernel/test_fidelity.py",
    "sim list": "e2e/test_sim.py",
    "sim run": "e2e/test_sim.py",
    "sim settings": "kernel/test_loader_settings.py",
    "sim replay": "unit/sim/test_replay.py",
    "sim verify-picks": "unit/sim/test_picks.py",
    "sim why": "unit/sim/test_why.py",
    "suite record": "e2e/test_suite.py",
    "suite run": "e2e/test_suite.py",
    "top": "e2e/test_record.py",
    "train": "unit/cli/test_train.py",
    "serve": "e2e/test_serve.py",
    "tune": "e2e/test_tune.py",
    "variability": "e2e/test_variability.py",
}


def takes_json(command):
    return any("--json" in parameter.opts for parameter in command.params)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    Path("scx_mine").write_text(PROGRAM)
    Path("scx_mine").chmod(0o755)
    Path("mine.toml").write_text('scheduler = "scx_rusty"\nparameters = {interval = 3.0}\n')


def test_every_command_with_json_is_run_somewhere():
    assert {name for name, command in LEAVES.items() if takes_json(command)} == {*CHEAP, *ELSEWHERE}
    for file in ELSEWHERE.values():
        assert '"--json"' in (ROOT / "tests" / file).read_text(), file


@pytest.mark.parametrize("name", CHEAP)
def test_it_prints_one_document(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), *map(str, CHEAP[name]), "--json"])
    out, error = capsys.readouterr()
    assert ended.value.code == 0, error
    assert isinstance(json.loads(out), dict)


@pytest.mark.parametrize(
    "line", ["record --procfs --json-lines --json --for 1s", "stats --windows 1s --csv --json --for 1s"]
)
def test_another_form_beside_it_is_refused(line, capsys):
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    out, error = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert "mutually exclusive" in error
