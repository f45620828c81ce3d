"""`schedtuna sim` as a user types it."""

from __future__ import annotations

import json

import pytest

from schedtuna.cli.main import main
from schedtuna.trace.store import open_trace

LOAD = {
    "tasks": {
        "hog": {"run": 10_000, "priority": 5},
        "sleeper": {"instance": 3, "run": 700, "sleep": 1300},
    },
    "global": {"duration": 1},
}
LOCKED = {"lock": "m", "run": 100, "lock2": "n", "run2": 9, "unlock": "n", "unlock2": "m"}
CROSSED = {"lock": "n", "run": 100, "lock2": "m", "run2": 9, "unlock": "m", "unlock2": "n"}
DEADLOCK = {
    "tasks": {
        name: {"loop": 1, "phases": {"all": {"loop": 9, **events}}}
        for name, events in (("left", LOCKED), ("right", CROSSED))
    }
}


@pytest.fixture
def sim(tmp_path, monkeypatch, capsys):
    """Run a command in a folder with a load; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "load.json").write_text(json.dumps(LOAD))
    (tmp_path / "stuck.json").write_text(json.dumps(DEADLOCK))

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["sim", *map(str, arguments)])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


def test_run_shows_what_tasks_did(sim):
    code, shown, _ = sim("run", "load.json", "--scheduler", "rr", "--cpus", 2)
    assert code == 0
    assert "1.000 s under rr on 2 CPUs" in shown
    assert {line.split()[0] for line in shown.splitlines() if line} >= {"name", "hog", "sleeper"}
    assert "not certified for this machine" in shown
    assert max(map(len, shown.splitlines()[:-1])) <= 80


def test_what_all_did_is_the_sum_of_what_each_did(sim):
    options = ("run", "load.json", "--scheduler", "rr", "--cpus", 3)
    groups = json.loads(sim(*options, "--json")[1])["groups"]
    sums = {name: sum(group[f"nr_{name}"] for group in groups) for name in ("switches", "wakeups")}
    line = sim(*options)[1].splitlines()[1]
    assert line.startswith(f"{sums['switches']:,} switches, {sums['wakeups']:,} wakeups, ")


def test_run_says_the_same_twice_and_to_programs(sim):
    options = ("run", "load.json", "--scheduler", "rr:slice_us=500", "--topology", "2x1x1", "--json")
    code, shown, _ = sim(*options)
    assert code == 0
    assert sim(*options)[1] == shown
    told = json.loads(shown)
    assert told["is_certified"] is False
    assert told["nr_cpus"] == 2
    assert told["simulation"]["scheduler"] == {"name": "rr", "parameters": {"slice_us": 500}}
    assert {group["name"] for group in told["groups"]} == {"hog", "sleeper"}
    other = json.loads(sim(*options, "--seed", 2, "--noise-seed", 3, "--cost", "irq_per_s=100")[1])
    assert other["simulation"]["noise_seed"] == 3
    assert other["simulation"]["costs"]["irq_per_s"] == 100


def test_a_trace_is_written_that_other_commands_read(sim, capsys):
    code, shown, _ = sim("run", "load.json", "--scheduler", "rr", "--for", "200ms", "-o", "t")
    assert code == 0 and "schedtuna stats" in shown
    assert open_trace("t").window_ns == (0, 200_000_000)
    assert sim("run", "load.json", "--scheduler", "rr", "-o", "t")[0] == 2
    assert sim("run", "load.json", "--scheduler", "fifo", "--for", "200ms", "-o", "u")[0] == 0
    reading = (["stats", "t"], ["plot", "t", "-o", "t.svg"], ["trace", "diff", "t", "u"])
    for command in (*reading, ["trace", "export", "t", "--perfetto", "-o", "t.pb"]):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 0, (command, capsys.readouterr())
    assert sim("run", "load.json", "--scheduler", "rr", "-o", "t", "--force")[0] == 0


def test_list_shows_what_can_be_chosen(sim):
    code, shown, _ = sim("list")
    assert code == 0
    assert all(name in shown for name in ("fifo", "slice_us", "context_switch_ns", "fitted", "poisson"))
    told = json.loads(sim("list", "--json")[1])
    assert {"fifo", "rr"} <= {row["name"] for row in told["schedulers"]}
    assert all(row["source"] for row in told["costs"])


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("load.json", "--scheduler", "nothing"), 2, "schedtuna sim list"),
        (("load.json", "--scheduler", "rr:slice_us=x"), 2, "slice_us"),
        (("load.json", "--scheduler", "fair:version=617"), 2, "616 or 618"),
        (("load.json", "--scheduler", "rr", "-o", "load.json"), 2, "a file is in its place"),
        (("none.json", "--scheduler", "rr"), 2, "no workload file"),
        (("load.json", "--scheduler", "rr", "--cpus", 2000), 2, "1 to 1,024"),
        (("load.json", "--scheduler", "rr", "--cost", "tick_ns"), 2, "NAME=NUMBER"),
        (("load.json", "--scheduler", "rr", "--cost", "tick_ns=0", "--cost", "tick_ns=1"), 2, "twice"),
        (("load.json", "--scheduler", "rr", "--for", "0s"), 2, "more than 0"),
        (("stuck.json", "--scheduler", "rr", "--cpus", 2), 1, "deadlock after"),
    ],
)
def test_what_is_wrong_ends_with_its_code_and_what_to_do(sim, options, code, told):
    ended, _, error = sim("run", *options)
    assert (ended, error.startswith("error: ")) == (code, True)
    assert told in error


def test_another_scheduler_takes_over_while_a_load_runs(sim, tmp_path):
    hogs = {"tasks": {"hog": {"run": 1000, "loop": -1, "instance": 3}}, "global": {"duration": 1}}
    (tmp_path / "hogs.json").write_text(json.dumps(hogs))
    options = ("hogs.json", "--cpus", 1, "--cost", "swap_ns=0")
    nr_switches = []
    for swap in ((), ("--swap", "500ms:rr:slice_us=40000")):
        code, out, _ = sim("run", *options, *swap, "--json")
        assert code == 0
        told = json.loads(out)
        nr_switches.append(told["overall"]["nr_switches"])
    [taken_over] = told["simulation"]["swaps"]
    assert (taken_over["at_ns"], taken_over["scheduler"]["name"]) == (500_000_000, "rr")
    assert nr_switches[1] < 0.75 * nr_switches[0]  # slices of 40 ms in the second half
    code, out, err = sim("run", *options, "--swap", "5s:rr", "--swap", "100ms:fifo")
    assert code == 0
    assert "under fair, then fifo after 0.1 s" in out
    assert "rr was to take over after 5 s: the load had ended before" in " ".join(err.split())


@pytest.mark.parametrize("swap", ["2s", "2s:", "x:rr", "0s:rr", "1s:nobody"])
def test_swaps_that_are_none_are_refused(sim, swap):
    code, _, err = sim("run", "load.json", "--swap", swap)
    assert code == 2
    assert err.startswith("error")
