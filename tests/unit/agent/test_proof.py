"""What past studies prove of settings, where, and until when: by studies that really were made."""

import json
import shutil
from dataclasses import replace

import pytest
from tests.old_files import LATER, OLD
from tests.unit.agent.rows import sensed, standing, thread

from schedtuna.agent import proof as proof_module
from schedtuna.agent.advising import advise_on
from schedtuna.agent.contract import ChangeTarget, Intent
from schedtuna.agent.explaining import explain
from schedtuna.agent.lapses import ProofWatch
from schedtuna.agent.limits import Limits, Surroundings, ThreadFacts, refusal
from schedtuna.agent.log import AgentLog, intent_row
from schedtuna.agent.policies.registry import make_policy
from schedtuna.agent.proof import ProofBook, raw_trials, read_proofs
from schedtuna.machine.manifest import load_manifest

GP = OLD / LATER / "studies/gp"
CANDIDATE = {"autogroup": False, "timer_slack_us": 1, "slice_us": 100000, "nice": -9, "policy": "batch"}
MADE_S = 1795973718  # when the study began
NOW_S = MADE_S + 86_400
RUNS = sensed(0, thread(7, comm=b"hackbench"))
TUNED = {"slice_us": 5000, "timer_kick": True}


@pytest.fixture(scope="module")
def gp(tmp_path_factory):
    return study(tmp_path_factory.mktemp("studies"))


def study(tmp_path, **changed):
    """A study that was made on a machine, with what results say since: where."""
    folder = tmp_path / "gp"
    shutil.copytree(GP, folder)
    path = folder / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "place": {"kind": "host"}, **changed}))
    return folder


def as_there(_command):
    """A machine like the study's."""
    return load_manifest(GP)


def elsewhere(**facts):
    def describe(_command):
        made = load_manifest(GP)
        return made.model_copy(update={"machine": made.machine.model_copy(update=facts)})

    return describe


def wanted(values=CANDIDATE, comm="hackbench", **target):
    place = ChangeTarget("thread", tid=7, tgid=7, start_time_ns=7000, comm=comm)
    return [Intent(replace(place, **target), name, None, value, "why") for name, value in values.items()]


def judged(intents, *places, describe=as_there, now_s=NOW_S, interval=RUNS):
    proofs, _ = read_proofs(places, describe=describe)
    return ProofBook(proofs, lambda: now_s).judge(intents, interval)


def test_just_what_a_study_proved_is_proven_with_its_interval(gp):
    one = judged(wanted(), gp)[0]
    assert one.why_unproven == ""
    assert (one.expected.metric, one.expected.ratio_low, one.expected.ratio_high) == (
        "time_s",
        pytest.approx(0.66773, abs=1e-5),
        pytest.approx(0.96925, abs=1e-5),
    )
    assert one.expected.basis == f"study gp, {one.proof.evidence}"
    assert "improved: time_s x0.796 [0.668, 0.969] of `hackbench -s 512 -l 20` over 7 pairs" in one.proof.told
    assert one.id == wanted()[0].id  # what it is called does not depend on its proof


@pytest.mark.parametrize(
    ("intents", "words"),
    [
        (wanted({**CANDIDATE, "nice": -8}), "no past study"),
        (wanted({"nice": -9}), "no past study"),  # a part of what was proven
        (wanted(comm="other"), "no past study"),
        (wanted(kind="scheduler", scheduler="scx_tuna"), "no past study"),
    ],
)
def test_other_settings_or_threads_are_not_proven(gp, intents, words):
    found = judged(intents, gp)
    assert all(words in one.why_unproven and one.expected is None for one in found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"describe": elsewhere(kernel_release="7.3.4")}, "kernel_release is 7.3.4, and was 6.18.0"),
        ({"describe": elsewhere(cpu_model="another")}, "cpu_model is another"),
        ({"describe": elsewhere(sched_ext_ops="scx_tuna")}, "sched_ext_ops is scx_tuna"),
        ({"now_s": MADE_S + 90 * 86_400 + 1}, "it is too old, since "),
        ({"now_s": MADE_S - 10 * 86_400}, "it is of the future"),
        ({"interval": sensed(0, thread(7, comm=b"else"))}, "its load does not run: hackbench"),
    ],
)
def test_a_proof_lapses_with_each_of_its_conditions(gp, options, words):
    for one in judged(wanted(), gp, **options):
        assert words in one.why_unproven
        assert one.expected is None
        assert one.proof.evidence  # it is still said which study it was


def tuned_study(tmp_path, **changed):
    """A study of scx_tuna, as one of the kernel's own was written."""
    values = {"scheduler": "scx_tuna", "default": "scx_tuna", "candidate": TUNED}
    return study(tmp_path, **{**values, **changed})


OF_TUNA = {"kind": "scheduler", "scheduler": "scx_tuna"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ""),
        ({"verdict": "too_noisy"}, "it showed no gain"),
        ({"default": "fair"}, "it compares with fair, and not with scx_tuna as it is"),
        ({"default": "scx_tuna:slice_us=9"}, "it compares with scx_tuna:slice_us=9"),
        ({"place": {"kind": "vm", "kernel": "7.3.4"}}, "under 7.3.4 (vm)"),
    ],
)
def test_studies_of_a_schedulers_parameters(tmp_path, monkeypatch, changed, words):
    monkeypatch.setattr(proof_module, "own_objects", lambda: {"scx_tuna": None})
    folder = tuned_study(tmp_path, **changed)
    found = judged(wanted(TUNED, **OF_TUNA), folder, describe=elsewhere(sched_ext_ops="scx_tuna"))
    for one in found:
        assert (words in one.why_unproven) if words else not one.why_unproven
    monkeypatch.setattr(proof_module, "__version__", "9.9")
    (one, _) = judged(wanted(TUNED, **OF_TUNA), folder)
    assert "scx_tuna is of version 9.9, and was of 0.1.0" in one.why_unproven


def test_where_only_what_is_proven_may_be_set_the_rest_is_advised(gp):
    limits, around = Limits(proven_only=True), Surroundings()
    facts = ThreadFacts(7, False, 0)
    proven, lapsed = judged(wanted(), gp)[3], judged(wanted(), gp, now_s=MADE_S + 1e9)[3]
    assert refusal(proven, limits, around, facts) is None
    found = refusal(lapsed, limits, around, facts)
    assert found.advise
    assert found.reason.startswith("it is not proven: it is too old")


def test_a_proof_that_lapses_is_said_once(gp):
    proven, lapsed = judged(wanted(), gp), judged(wanted(), gp, now_s=MADE_S + 1e9)
    held, watch = standing(*proven), ProofWatch()
    course = [proven, lapsed, lapsed, proven]
    told = [[one.why for one in watch.see(held, {i.key: i for i in each})] for each in course]
    assert [len(each) for each in told] == [0, 5, 0, 5]
    assert told[1][0].startswith("it is too old")
    assert told[3] == [""] * 5


def test_why_shows_the_chain_down_to_the_runs(tmp_path):
    folder = study(tmp_path)
    (one, *_) = judged(wanted(), folder)
    log = AgentLog(tmp_path / "state")
    log.write("decision", result="made", **intent_row(one))
    log.close()
    found = explain(one.id, tmp_path / "state")
    text = "\n".join(found.lines())
    assert f"proof {one.proof.evidence}: improved: time_s x0.796" in text
    assert f"its runs: {folder}/trials.jsonl, in blocks: " in text
    assert "candidate 7" in text
    runs = found.trials[one.proof.evidence]
    assert len(runs) == 21
    assert {run["arm"] for run in runs} == {"default", "candidate", "default_again"}
    assert all(0.1 < run["time_s"] < 1 for run in runs)
    (folder / "result.json").write_text((folder / "result.json").read_text() + " ")
    assert "another one than" in "\n".join(explain(one.id, tmp_path / "state").lines())


def test_the_runs_are_those_of_the_log_itself(gp):
    lines = [json.loads(line) for line in (GP / "trials.jsonl").read_text().splitlines()[1:]]
    values = [line["trial"]["metrics"]["time_s"] for line in lines if line["block"] is not None]
    (proof,) = read_proofs([gp], describe=as_there)[0]
    assert [run["time_s"] for run in raw_trials(gp, proof.evidence, "time_s")] == values


ADVISED = """
[[rule]]
name = "t"
intervals = 1
match = { comm = "hackbench" }
set = { nice = 10 }
reason = "the test wants it"
"""


def test_advice_takes_its_effect_from_a_study_of_just_that(tmp_path):
    folder = study(tmp_path, candidate={"nice": 10})
    (tmp_path / "rules.toml").write_text(ADVISED)
    policy = make_policy(f"rules:{tmp_path / 'rules.toml'}")
    proofs = ProofBook(read_proofs([folder], describe=as_there)[0], lambda: NOW_S)
    (advice,) = advise_on(OLD / LATER / "traces/events", policy, proofs=proofs).advice
    assert advice.threads.keys() == {"hackbench"}
    assert f"expected: time_s x0.67 to x0.97 (study gp, {advice.intents[0].proof.evidence})" in advice.tell()
