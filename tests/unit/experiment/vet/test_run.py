"""A folder in which vetting goes on: what is done is not done again, and another plan is refused."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from schedtuna.configfile import parse_json
from schedtuna.errors import ConfigFileError, UsageError
from schedtuna.experiment.vet.certificate import VetOutcome, VetResult
from schedtuna.experiment.vet.plan import VetCase, VetPlan
from schedtuna.experiment.vet.run import (
    CASES,
    CERTIFICATE_NAME,
    VetSubject,
    Vetting,
    read_plan,
    replay_command,
)
from schedtuna.lab.errors import GuestError
from schedtuna.scheduler.spec import SchedulerConfig

if TYPE_CHECKING:
    from schedtuna.lab.store import Lab

CASES_OF = tuple(
    VetCase(kernel="7.3.4", topology="1x1x1", adversary=name) for name in ("pinned", "hotplug", "quota")
)
PLAN = VetPlan(
    scheduler="scx_x", program="/x 12", cases=CASES_OF, seconds=2.5, seed=7, is_quick=True, qemu="10"
)
SUBJECT = VetSubject(SchedulerConfig(name="scx_x", description="a test's"), {}, {"7.3.4": "it is not there"})


def vetting(folder, plan=PLAN, *, resume=False):
    return Vetting(cast("Lab", None), folder, plan, SUBJECT, resume=resume)  # no guest is booted here


def test_what_is_done_is_not_done_again(tmp_path):
    folder = tmp_path / "vet"
    begun = vetting(folder)
    done = VetResult(case=CASES_OF[0], outcome=VetOutcome.OK, longest_wait_s=0.125, hash="ab")
    (folder / CASES / f"{CASES_OF[0].name}.json").write_text(done.model_dump_json())
    told = []
    certificate = begun.run(lambda nr, note: told.append((nr, note)))
    assert certificate.results[0] == done
    # The others had nothing to be run with, and that is said; a layout that is too small goes first.
    assert [one.reason for one in certificate.results[1:]] == ["it needs 2 CPUs", "it is not there"]
    assert told[-1] == (3, "1x1x1 quota: not run")
    assert parse_json((folder / CERTIFICATE_NAME).read_bytes())["plan"]["seed"] == 7
    assert vetting(folder, resume=True).run() == certificate
    assert read_plan(folder) == PLAN


@pytest.mark.parametrize(("lives_without", "outcome"), [(True, VetOutcome.DIED), (False, VetOutcome.NOT_RUN)])
def test_a_guest_that_dies_without_the_scheduler_too_says_nothing_of_it(
    tmp_path, monkeypatch, lives_without, outcome
):
    def attack(_self, _case, _share, *, own):
        if own or not lives_without:
            raise GuestError("it hangs")
        return None, {"longest_wait_s": 0.1}

    monkeypatch.setattr(Vetting, "_attack", attack)
    subject = VetSubject(SUBJECT.scheduler, {"7.3.4": Path("/x")}, {})
    plan = PLAN.model_copy(update={"cases": CASES_OF[:1]})
    (result,) = Vetting(cast("Lab", None), tmp_path / "vet", plan, subject).run().results
    assert result.outcome is outcome
    assert "it hangs" in result.reason


def test_another_plan_or_none_is_refused(tmp_path):
    folder = tmp_path / "vet"
    with pytest.raises(UsageError, match="nothing to go on with"):
        vetting(folder, resume=True)
    vetting(folder)
    with pytest.raises(UsageError, match="holds one already"):
        vetting(folder)
    with pytest.raises(UsageError, match="another plan"):
        vetting(folder, PLAN.model_copy(update={"seed": 8}), resume=True)


@pytest.mark.parametrize("text", ["{", "[]", '{"format_version": 99}', '{"scheduler": "x"}'])
def test_a_damaged_plan_is_refused_by_name(tmp_path, text):
    folder = tmp_path / "vet"
    vetting(folder)
    (folder / "plan.json").write_text(text)
    with pytest.raises(ConfigFileError, match=r"plan\.json"):
        vetting(folder, resume=True)


def test_the_command_that_shows_a_case_again_has_all_that_decides_it():
    result = VetResult(case=CASES_OF[0], outcome=VetOutcome.STALLED)
    words = replay_command("./my own.bpf.o", PLAN, result)
    assert words[:4] == ["schedtuna", "schedulers", "vet", "./my own.bpf.o"]
    assert dict(zip(words[4::2], words[5::2], strict=True)) == {
        "--kernel": "7.3.4",
        "--topology": "1x1x1",
        "--adversary": "pinned",
        "--for": "2.5s",
        "--seed": "7",
    }
