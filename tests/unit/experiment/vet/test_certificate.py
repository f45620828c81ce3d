"""How a case ended, and what a certificate says of all of them."""

import pytest

from schedtuna.experiment.vet.certificate import VetCertificate, VetOutcome, VetResult, judged
from schedtuna.experiment.vet.plan import VetCase, VetPlan, planned_cases

CASE = VetCase(kernel="7.3.4", topology="2x1x1", adversary="pinned")
SEEN = {
    "ejected_after_s": None,
    "longest_wait_s": 0.2,
    "longest_kind": "sleeper",
    "silent": [],
    "nr_tasks": 9,
}


def result_of(seen, **more):
    told = {"ejected": "", "reason": "", "dump": "", "digest": "ab", **more}
    return judged(CASE, {**SEEN, **seen}, **told)


def certificate(*results):
    plan = VetPlan(
        scheduler="scx_x",
        program="/x 12",
        cases=tuple(result.case for result in results),
        seconds=3,
        seed=7,
        is_quick=True,
        qemu="10",
    )
    return VetCertificate(plan=plan, results=results, limits=("one",))


def test_who_stayed_and_served_all_is_ok():
    result = result_of({})
    assert (result.outcome, result.reason, result.longest_wait_s) == (VetOutcome.OK, "", 0.2)
    assert certificate(result).is_clean
    assert certificate(result).verdict == "no stall in 1 case of 3 s"


@pytest.mark.parametrize(
    ("seen", "more", "outcome", "words"),
    [
        ({}, {"ejected": "sched_ext is disabled"}, VetOutcome.STALLED, "sched_ext is disabled"),
        (
            {"silent": ["sleeper"]},
            {"ejected": "sched_ext is disabled", "reason": "runnable task stall (x[1])", "dump": "D"},
            VetOutcome.STALLED,
            "runnable task stall (x[1])",
        ),
        (
            {"silent": ["sleeper", "sleeper", "spinner"]},
            {},
            VetOutcome.FORGOTTEN,
            "never ran again: 2 sleepers, 1 spinner",
        ),
        ({"cannot": "no groups"}, {}, VetOutcome.NOT_RUN, "no groups"),
        # What could not be tried says nothing of why it was thrown out.
        (
            {"cannot": "no groups"},
            {"ejected": "sched_ext is disabled"},
            VetOutcome.STALLED,
            "sched_ext is disabled",
        ),
    ],
)
def test_what_ends_otherwise_says_how(seen, more, outcome, words):
    result = result_of(seen, **more)
    assert (result.outcome, result.reason) == (outcome, words)
    assert result.fails == (outcome is not VetOutcome.NOT_RUN)


def test_a_certificate_of_nothing_that_was_run_is_not_clean():
    left_out = VetResult(case=CASE, outcome=VetOutcome.NOT_RUN, reason="it needs 2 CPUs")
    assert not certificate(left_out).is_clean
    assert certificate(left_out).verdict == "nothing was run"


def test_one_failure_among_many_is_counted_and_the_rest_is_told():
    bad = result_of({}, ejected="gone")
    left_out = VetResult(case=CASE, outcome=VetOutcome.NOT_RUN, reason="it needs 2 CPUs")
    found = certificate(result_of({}), bad, left_out)
    assert found.failed == (bad,)
    assert found.verdict == "1 of 2 failed: 1 ok, 1 stalled, 1 not run"


def test_a_replay_counts_only_where_its_bits_are_the_same():
    bad = result_of({}, ejected="gone")
    assert not bad.replays
    assert bad.model_copy(update={"replay_hash": "ab"}).replays
    assert not bad.model_copy(update={"replay_hash": "cd"}).replays


def test_each_kernel_layout_and_adversary_is_tried_with_each_once():
    cases = planned_cases(["a", "b", "a"], ["1x1x1", "numa", "2x2x1:numa"], ["pinned", "hotplug"])
    assert len(cases) == 2 * 2 * 2
    assert len({case.name for case in cases}) == len(cases)
    # Those of one guest follow one another.
    assert [case.adversary for case in cases[:2]] == ["pinned", "hotplug"]
    assert [case.impossible for case in cases[:4]] == ["", "it needs 2 CPUs", "", ""]
