"""Every place keeps the contract, and a new one is a file and a row."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.unit.backend.places.fakes import ROWS, Remote, Simulated

from schedtuna.backend.conformance import check_place
from schedtuna.backend.places.guest import Guest
from schedtuna.backend.places.host import Host
from schedtuna.backend.places.registry import PLACES, make_place, place_class
from schedtuna.cli.main import load
from schedtuna.errors import ConformanceError, MissingExtraError, StudyError, UsageError
from schedtuna.experiment.campaign import Question, open_campaign
from schedtuna.experiment.compare import compare
from schedtuna.experiment.triallog import read_trials
from schedtuna.history.plan import StudyPlan
from schedtuna.knobs.base import Scope, Target
from schedtuna.tune.options import make_plan
from schedtuna.tune.running import open_study
from schedtuna.workload.spec import Direction, MetricSpec, RunSpec, Workload

TRUE = Workload(argv=("true",))
WALL = MetricSpec(name="wall_time_s", direction=Direction.MIN)


@pytest.fixture(autouse=True)
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))
    for kind, row in ROWS.items():
        monkeypatch.setitem(PLACES, kind, row)


@pytest.mark.parametrize(
    "place",
    [Host(), Host(scope=Scope.MACHINE), Simulated(), Remote(), Remote(there=Simulated(cpus=2))],
    ids=lambda place: place.label,
)
def test_places_keep_the_contract(place):
    check_place(place)


def test_a_place_that_breaks_the_contract_is_told_how(monkeypatch):
    monkeypatch.setattr(Simulated, "scheduler", lambda self, text: Host().scheduler("fair"))
    with pytest.raises(ConformanceError, match="default means fair"):
        check_place(Simulated())


def test_a_plan_keeps_any_place_and_refuses_what_is_none():
    for place in (Host(), Guest(kernel="6.18", cpus=4), Simulated(cpus=8), Remote(there=Guest())):
        plan = StudyPlan(scheduler=Host().scheduler("default"), workload=TRUE, metrics=(WALL,), place=place)
        assert StudyPlan.model_validate_json(plan.model_dump_json()).place == place
    with pytest.raises(ValidationError, match="moon"):
        StudyPlan.model_validate({**plan.model_dump(), "place": {"kind": "moon"}})
    with pytest.raises(ValidationError, match="kernel"):
        StudyPlan.model_validate({**plan.model_dump(), "place": {"kind": "host", "kernel": "6.18"}})


def test_options_name_a_place_and_are_refused_elsewhere():
    assert make_place("vm", {"kernel": "6.18", "cpus": None}) == Guest(kernel="6.18")
    assert make_place("simulated", {"cpus": 2}) == Simulated(cpus=2)
    with pytest.raises(UsageError, match="--kernel needs --backend vm"):
        make_place("simulated", {"kernel": "6.18"})
    with pytest.raises(UsageError, match="unknown place 'moon': known: host"):
        make_place("moon", {})


def test_a_place_whose_packages_are_missing_names_the_extra(monkeypatch):
    row = PLACES["simulated"]
    monkeypatch.setitem(PLACES, "simulated", replace(row, extra="sim", modules=("nope",)))
    with pytest.raises(MissingExtraError, match="sim"):
        place_class("simulated")


def test_nothing_of_the_lab_is_imported_for_this_machine():
    code = (
        "import sys; from schedtuna.backend.places.registry import make_place; make_place('host', {}); "
        "print([name for name in sys.modules if name.startswith('schedtuna.lab')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_glossary_has_every_place_with_its_options():
    text = (Path(__file__).parents[4] / "docs/terms.md").read_text()
    table = text.partition("| `--backend` |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [
        (kind.strip("`"), summary, re.findall(r"--([\w-]+)", options.replace("token-file", "token_file")))
        for kind, summary, options in rows
    ] == [(kind, row.summary, list(row.options)) for kind, row in PLACES.items() if kind not in ROWS]


def test_a_process_that_has_ended_is_not_another_one_of_its_number():
    mine = Host.on(Target(Scope.PID, pid=os.getpid(), force=True))
    assert mine.target() == Target(Scope.PID, pid=os.getpid(), force=True)
    with pytest.raises(StudyError, match="has ended"):
        mine.model_copy(update={"pid_is": "another boot"}).target()


def test_places_are_compared_as_schedulers_are(tmp_path):
    sides = [
        (place, place.scheduler("fair")) for place in (Simulated(cpus=4), Remote(there=Simulated(cpus=8)))
    ]
    asked, spec = Question("compare", sides), RunSpec(workload=TRUE, metrics=(WALL,), seed=3)
    assert asked.labels() == ["fair on a simulated machine with 4 CPUs", "fair on there"]
    with open_campaign(asked, spec, results=tmp_path) as campaign:
        found = compare(spec, *campaign.sides, log=campaign.log)
    assert found.verdict == "improved"
    assert found.result.effect.ratio == pytest.approx(0.5, rel=0.02)
    assert found.candidate == "fair on there"
    identity, records = read_trials(campaign.folder)
    assert identity["simulator"] == "4 CPUs" and identity["remote"] == "there"
    assert len(records) == found.nr_runs


def test_each_places_program_is_known_by_what_is_in_it(tmp_path):
    """One that is rebuilt is another one, whatever runs at the other place."""
    sides = [(place, place.scheduler("fair")) for place in (Host(), Simulated())]
    spec = RunSpec(workload=TRUE, metrics=(WALL,), seed=3)
    with open_campaign(Question("compare", sides), spec, results=tmp_path) as campaign:
        path = os.path.realpath(shutil.which("true") or "")
        digest = campaign.manifest.binary_hashes[path][:16]
        assert campaign.log.identity["program"].startswith(f"{path} {digest}; true")


def test_a_new_place_is_tuned_on_like_any_other(tmp_path: Path):
    plan, _ = make_plan(
        TRUE, Simulated(), "fair", metrics=["wall_time_s:min"], sampler="random", options={}, episodes=10
    )
    with open_study(plan, results=tmp_path) as study:
        result = study.run()
    assert result.comparison.verdict == "improved"
    assert StudyPlan.read(result.folder).place == Simulated()


def test_few_modules_hand_a_study_on_until_it_is_open(tmp_path, monkeypatch):
    """A reader who follows `tune` to the open results folder passes each of them."""
    passed: set[str] = set()

    class OpenedError(Exception):
        pass

    def look(_log: object, *_arguments: object, **_named: object) -> None:
        frame = sys._getframe()
        while frame := frame.f_back:  # type: ignore[assignment]  # the last one has none
            passed.add(frame.f_globals["__name__"])
        raise OpenedError

    monkeypatch.setattr("schedtuna.experiment.campaign.TrialLog", look)
    with pytest.raises(OpenedError):
        load("tune")(["--budget", "40", "--results", str(tmp_path), "--", "true"], standalone_mode=False)
    assert {"schedtuna.cli.tune", "schedtuna.experiment.campaign"} <= passed
    ours = {name for name in passed if name.startswith("schedtuna.")}
    assert len(ours) <= 9, ours
