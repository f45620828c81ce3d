"""Adversaries in deterministic guests: scx_tuna holds, and builds with a bug in them fail by name."""

import subprocess
from pathlib import Path

import pytest
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.experiment.vet.certificate import VetOutcome
from schedtuna.experiment.vet.run import Vetting, planned, vet_subject
from schedtuna.lab.build.compiler import host_clang
from schedtuna.lab.guest.adversaries import ADVERSARIES
from schedtuna.scheduler.objects import own_objects

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "bpf/sched/scx_tuna.bpf.c"
BUGS = {  # what is built wrong -> an adversary that shows it, and the words that it leaves with
    "BUG_STUCK_LOCAL": ("pinned", "ms in queue"),
    "BUG_NEVER_INSERTED": ("pinned", "runnable task stall"),
    "BUG_NEVER_CONSUMED": ("pinned", "ms in queue"),
    "BUG_TIMER_DEAD": ("pinned", "the watch stands still"),
}


@pytest.fixture
def own():
    if not own_objects():
        pytest.skip("built without clang 17 or newer")
    return "scx_tuna"


def build(definition, folder):
    """Compile scx_tuna with a bug in it."""
    clang = host_clang()
    if clang is None:
        pytest.skip("no clang 17 or newer")
    (folder / "bpf").symlink_to(ROOT / "third_party/libbpf/src")
    file = folder / f"{definition.lower()}.bpf.o"
    options = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", f"-D{definition}", "-D__TARGET_ARCH_x86"]
    includes = [f"-I{folder}", f"-I{ROOT / 'include'}"]
    subprocess.run([clang, *options, *includes, "-c", SOURCE, "-o", file], check=True)
    return str(file)


def vet(text, folder, adversaries, *, seconds, topologies=("2x1x1",), is_quick=True):
    lab = lab_or_skip()
    kernels = [lab.kernel().version]
    subject = vet_subject(text, lab, kernels)
    plan = planned(
        lab,
        subject,
        kernels=kernels,
        topologies=topologies,
        adversaries=adversaries,
        seconds=seconds,
        seed=1,
        is_quick=is_quick,
    )
    return Vetting(lab, folder, plan, subject).run()


def test_one_that_forgets_tasks_fails_by_name_and_its_seed_shows_it_again(tmp_path):
    (failed,) = vet(build("BUG_NEVER_INSERTED", tmp_path), tmp_path / "vet", ["pinned"], seconds=1).failed
    assert failed.outcome is VetOutcome.STALLED
    assert "runnable task stall" in failed.reason
    assert "DEBUG DUMP" in failed.dump
    assert failed.replays


@pytest.mark.long
@pytest.mark.parametrize("bug", BUGS)
def test_each_bug_fails_by_the_reason_that_it_has(tmp_path, bug):
    adversary, words = BUGS[bug]
    (failed,) = vet(build(bug, tmp_path), tmp_path / "vet", [adversary], seconds=10).failed
    assert words in failed.reason
    assert failed.replays


@pytest.mark.long
@pytest.mark.parametrize("topology", ["1x1x1", "2x1x1", "1x2x2", "2x2x1:numa"])
def test_scx_tuna_holds_against_all_of_them(own, tmp_path, topology):
    certificate = vet(own, tmp_path / "vet", (), seconds=5, topologies=[topology], is_quick=False)
    assert certificate.failed == ()
    run = {result.case.adversary for result in certificate.results if result.outcome is VetOutcome.OK}
    assert run == {name for name, (_, fewest) in ADVERSARIES.items() if topology != "1x1x1" or fewest == 1}
    # How long tasks stand still is told beside the kernel's own.
    assert all(result.usual_wait_s for result in certificate.results if result.outcome is VetOutcome.OK)


def test_the_same_seed_gives_the_same_bits(own, tmp_path):
    first = vet(own, tmp_path / "one", ["real_time"], seconds=0.5)
    again = vet(own, tmp_path / "two", ["real_time"], seconds=0.5)
    assert first.results == again.results
