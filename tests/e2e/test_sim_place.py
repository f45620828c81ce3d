"""`--backend sim`: loads are tuned, compared and described as commands are."""

import json

import pytest

from schedtuna.cli.main import main

MACHINE = ("--backend", "sim", "--cpus", "1", "--workload", "poisson:load=0.8")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in a folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))

    def start(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return start


def last_object(out):
    return json.loads(out.strip().splitlines()[-1])


@pytest.mark.parametrize("command", ["tune", "compare default fair:base_slice_us=900", "variability"])
def test_a_command_is_refused_with_the_lines_that_record_and_replay_it(run, command):
    code, out, told = run(*command.split(), "--backend", "sim", "--", "hackbench", "-l", "9")
    assert (code, out) == (2, "")
    assert "schedtuna record -o trace -- hackbench -l 9" in told
    assert "--workload trace" in told


def test_tune_without_a_load_is_refused(run):
    code, _, told = run("tune", "--backend", "sim")
    assert code == 2
    assert "--workload" in told


def test_options_of_other_places_are_refused(run):
    code, _, told = run("compare", *MACHINE, "--kernel", "6.18", "default", "fair:base_slice_us=900")
    assert code == 2
    assert "--kernel needs --backend vm" in told
    code, _, told = run("variability", "--topology", "1x2x1", "--", "true")
    assert code == 2
    assert "--topology needs --backend vm or sim" in told


def test_variability_is_that_of_the_loads_seeds(run):
    first, again = (
        last_object(run("variability", *MACHINE, "--runs", 4, "--seed", 3, "--json")[1]) for _ in range(2)
    )
    spread = first["metrics"]["sched.wakeup_latency_p99_us"]
    assert spread["minimum"] < spread["maximum"]
    assert first["metrics"] == again["metrics"]
    assert first["cpus"] == 1


def test_compare_says_that_it_is_a_model_and_what_confirms_it(run, tmp_path):
    sides = ("default", "fair:base_slice_us=20000")
    code, out, told = run("compare", *MACHINE, "--seed", 1, *sides)
    assert code == 0
    assert "worse (model): sched.wakeup_latency_p99_us" in out
    assert "worse (model), " in told
    assert "the default repeats exactly" in out
    confirm = "--metric sched.wakeup_latency_p99_us:min default fair:slice_us=20000 -- COMMAND"
    assert f"confirm: schedtuna compare {confirm}" in out
    assert run("compare", *MACHINE, "--seed", 1, "--fail-on", "worse", *sides)[0] == 1
    found = last_object(run("compare", *MACHINE, "--seed", 1, "--json", *sides)[1])
    assert (found["verdict"], found["is_model"]) == ("worse (model)", True)
    assert found["places"][0]["kind"] == "sim"
    assert found["confirm"].endswith("fair:slice_us=20000 -- COMMAND")
    assert found["trials"] % 2 == 0
    with_noise = run("compare", *MACHINE, "--cost", "kthread_per_s=200", "--budget", 18, "--json", *sides)
    assert last_object(with_noise[1])["trials"] % 3 == 0
    index = last_object(run("report", "--index", "results", "--json")[1])
    assert {study["verdict"] for study in index["studies"]} >= {"worse (model)"}
    assert "worse (model)" in (tmp_path / index["index"]).read_text()


def test_the_same_seed_gives_the_same_study_and_an_interrupted_one_goes_on(run):
    sides = ("default", "fair:base_slice_us=20000")
    first, again = (last_object(run("compare", *MACHINE, "--seed", 5, "--json", *sides)[1]) for _ in range(2))
    assert first["effect"] == again["effect"]
    resumed = last_object(run("compare", *MACHINE, "--resume", first["study"], "--json", *sides)[1])
    assert resumed["effect"] == first["effect"]


def test_a_load_without_chance_is_refused_as_evidence(run, tmp_path):
    (tmp_path / "load.json").write_text(
        json.dumps(
            {"tasks": {"a": {"run": 900, "sleep": 100}, "b": {"run": 1000}}, "global": {"duration": 1}}
        )
    )
    machine = ("--backend", "sim", "--cpus", 1, "--workload", "load.json")
    code, out, told = run("compare", *machine, "default", "fair:base_slice_us=20000")
    assert (code, out) == (1, "")
    assert "draws nothing from its seed" in told
    assert "--cost kthread_per_s=" in told
    assert run("tune", *machine)[0] == 1


def test_what_tune_finds_in_the_model_is_not_applied(run):
    code, out, _ = run("tune", *MACHINE, "--seed", 2, "--budget", 40, "--scheduler", "rr", "--json")
    found = last_object(out)
    assert code == 0
    assert found["verdict"] == "improved (model)"
    assert "in the model alone" in found["confirm"]
    code, out, _ = run(
        "tune", *MACHINE, "--seed", 2, "--budget", 40, "--sampler", "random", "--exclude", "hrtick"
    )
    assert "(model): sched.wakeup_latency_p99_us" in out.splitlines()[0]
    study = out.partition("report: ")[2].strip().removesuffix("/report.html")
    for command in (["apply", study], ["compare", "default", study], ["variability", "-S", study]):
        code, printed, told = run(*command, "--", "true")
        assert (code, printed) == (2, "")
        assert "found in a model" in told
        assert "schedtuna compare" in told
    assert run("compare", *MACHINE, "--budget", 12, "default", study)[0] == 0


def test_a_trace_is_replayed_with_its_cpus_and_its_noise(run):
    run("sim", "run", "ping-pong:load=0.6", "--cpus", 2, "--for", "1s", "-o", "trace")
    sides = ("default", "fair:base_slice_us=20000")
    code, _, told = run("compare", "--backend", "sim", "--workload", "trace", *sides)
    assert code == 1
    assert "draws nothing from its seed" in told
    noisy = ("--backend", "sim", "--workload", "trace", "--cost", "kthread_per_s=20")
    code, out, _ = run("compare", *noisy, "--budget", 12, "--json", *sides)
    found = last_object(out)
    assert code == 0
    assert found["places"][0]["topology"] == "1x2x1"
    assert last_object(run("variability", *noisy, "--runs", 2, "--json")[1])["cpus"] == 2
    assert last_object(run("variability", *noisy, "--cpus", 1, "--runs", 2, "--json")[1])["cpus"] == 1


def test_several_candidates_are_judged_in_one_table(run):
    machine = (
        "--backend",
        "sim",
        "--cpus",
        "2",
        "--workload",
        "interactive",
        "--seed",
        "3",
        "--budget",
        "20",
    )
    code, out, _ = run("compare", *machine, "--json", "fair", "vtime", "rr:slice_us=9000")
    assert code == 0
    found = last_object(out)
    assert sorted(row["scheduler"] for row in found["candidates"]) == ["rr:slice_us=9000", "vtime"]
    ratios = [row["comparison"]["effect"]["ratio"] for row in found["candidates"]]
    assert ratios == sorted(ratios)  # less is better
    assert found["default"] == "fair"
    assert all(row["instructions_ran"] is None for row in found["candidates"])  # no objects
    best = found["candidates"][0]
    alone = last_object(run("compare", *machine, "--json", "fair", best["scheduler"])[1])
    assert alone["effect"]["ratio"] == best["comparison"]["effect"]["ratio"]


def test_one_that_ends_does_not_end_the_others(run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "bad.py").write_text(
        "from schedtuna.sim import Scheduler\n\nclass Bad(Scheduler):\n"
        "    def select_cpu(self, machine, task, prev_cpu, reason):\n        return 99\n"
    )
    machine = ("--backend", "sim", "--cpus", "1", "--workload", "poisson:load=0.8", "--budget", "20")
    code, out, _ = run("compare", *machine, "--json", "fifo", "bad:Bad", "las")
    assert code == 0
    rows = {row["scheduler"]: row for row in last_object(out)["candidates"]}
    assert rows["bad:Bad"]["verdict"] == "failed" and "returned CPU 99" in rows["bad:Bad"]["why_not"]
    assert rows["las"]["comparison"] is not None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("fifo", "las", "las"), "is named twice"),
        (("fifo", "las", "nobody"), "has no scheduler 'nobody'"),
        (("--fail-on", "worse", "fifo", "las", "fair"), "--fail-on is of one candidate"),
    ],
)
def test_lists_that_are_none_are_refused(run, arguments, expected):
    code, _, told = run("compare", *MACHINE, *arguments)
    assert code == 2
    assert expected in told
