"""scx_tuna's advisory channel: good advice acts, and bad or late advice does no harm and is counted."""

import json
import shutil
from pathlib import Path

import pytest
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.backend.places.guest import Guest
from schedtuna.lab.boot import boot
from schedtuna.lab.layers import guest_program
from schedtuna.lab.vm import GuestSpec
from schedtuna.scheduler.objects import own_objects
from schedtuna.scheduler.scx import ScxProcess

ADVISERS = Path(__file__).with_name("tuna_advisers.py")
CPUS = 3
WRONG = {  # case -> the counter that every one of its answers is in
    "wrong start": "nr_wrong_start",
    "stale": "nr_stale",
    "unknown": "nr_unknown",
    "late": "nr_late",
    "no such cpu": "nr_invalid",
    "no such kind": "nr_invalid",
    "no such slice": "nr_invalid",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What all cases have seen in one guest."""
    if not own_objects():
        pytest.skip("built without clang 17 or newer")
    program = own_objects()["scx_tuna"]
    share = tmp_path_factory.mktemp("share")
    shutil.copy(ADVISERS, share)
    guest, _ = boot(lab_or_skip(), GuestSpec(cpus=CPUS, programs=(program,), share=share))
    scheduler = Guest(cpus=CPUS).scheduler("scx_tuna")
    with guest, ScxProcess(guest, scheduler, guest_program(program), cpu_s=guest.cpu_s) as process:
        done = guest.run(["python3", f"/share/{ADVISERS.name}"], folder="/", timeout_s=600)
        assert done.exit_code == 0, done.stderr
        assert process.ejected() == ""
    return json.loads(done.stdout)


def test_a_task_runs_where_it_is_advised_to(found):
    counted, cpus = found["place"]["counted"], found["place"]["cpus"]
    assert counted["nr_taken"] > 5
    assert counted["nr_placed"] > 5
    later = cpus[len(cpus) // 2 :]  # at first nobody has answered yet
    assert later.count(2) > 0.6 * len(later)


def test_a_task_is_queued_as_it_is_advised(found):
    counted = found["kind"]["counted"]
    assert counted["nr_taken"] > 5
    assert counted["nr_placed"] == counted["nr_not_allowed"] == 0


def test_requests_tell_of_the_task_and_of_the_machine(found):
    asked = found["kind"]["asked"]
    assert 500_000 < asked["burst_ns"] < 100_000_000
    assert asked["sleep_ns"] > 4_000_000
    assert (asked["nice"], asked["weight"], asked["nr_cpus"]) == (0, 100, CPUS)
    assert asked["nr_idle_cpus"] + asked["nr_busy_cpus"] == CPUS
    assert 0 <= asked["src_load_permille"] <= 1000


def test_a_cpu_that_the_task_may_not_use_is_not_used(found):
    counted, cpus = found["not allowed"]["counted"], found["not allowed"]["cpus"]
    assert counted["nr_not_allowed"] > 5
    assert counted["nr_placed"] == 0
    assert 2 not in cpus


@pytest.mark.parametrize("case", WRONG)
def test_every_wrong_answer_is_counted_for_what_is_wrong_and_none_is_used(found, case):
    counted = found[case]["counted"]
    assert counted["nr_answers"] == counted[WRONG[case]] == found[case]["nr_asked"] > 5
    assert counted["nr_taken"] == counted["nr_placed"] == counted["nr_queued"] == 0


def test_every_answer_is_counted_once(found):
    fates = ("nr_taken", "nr_unknown", "nr_wrong_start", "nr_stale", "nr_late", "nr_invalid")
    for case in (*WRONG, "place", "kind", "not allowed", "expires", "many"):
        counted = found[case]["counted"]
        assert counted["nr_answers"] == found[case]["nr_asked"] * (40 if case == "many" else 1), case
        assert counted["nr_answers"] == sum(counted[fate] for fate in fates), case
        assert 0 < counted["nr_batches"] <= counted["nr_requests"], case


def test_advice_that_expired_meanwhile_is_not_used(found):
    counted = found["expires"]["counted"]  # it holds for 2 ms, and the task sleeps for 5
    assert counted["nr_expired"] + counted["nr_late"] > 5  # on a busy machine it comes late already


@pytest.mark.parametrize("fate", ["stopped", "killed"])
def test_a_program_that_does_not_answer_any_more_is_not_asked_after_a_second(found, fate):
    assert found[fate]["asked_after_lease"] == 0
    assert found[fate]["nr_rounds"] > 10  # tasks ran on all the while
    assert found["state"] == "enabled"


def test_hints_are_for_tasks_and_for_control_groups(found):
    assert found["hints"]["none"] == 0
    assert min(found["hints"]["tid"], found["hints"]["group"]) > 5
