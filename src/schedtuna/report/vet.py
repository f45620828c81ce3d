"""The page of what became of a scheduler among adversaries: outcomes, dumps, and how to see each again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from schedtuna.evidence.verdict import Verdict
from schedtuna.experiment.vet.certificate import VetCertificate, VetOutcome, VetResult
from schedtuna.experiment.vet.run import replay_command
from schedtuna.printable import number
from schedtuna.report.page import Command, Page, Section, Table, write


def write_page(certificate: VetCertificate, name: str, path: Path) -> None:
    """Write the page into a folder of ours, whole or not at all.

    Args:
        certificate: What became of it.
        name: How the scheduler was named.
        path: Of the page.
    """
    write(vet_page(certificate, name), path)


def vet_page(certificate: VetCertificate, name: str) -> Page:
    """Return the page of a certificate."""
    plan = certificate.plan
    kernels = ", ".join(dict.fromkeys(case.kernel for case in plan.cases))
    return Page(
        title=f"{plan.scheduler} among adversaries",
        tone=Verdict.NO_EVIDENCE if certificate.is_clean else Verdict.WORSE,
        verdict=f"{certificate.verdict}.",
        facts=[
            ("kernels", kernels),
            ("program", plan.program),
            ("seed", str(plan.seed)),
            ("each case", f"{plan.seconds:g} s of the guest"),
            ("QEMU", plan.qemu),
        ],
        sections=[
            *(_matrix(certificate, kernel) for kernel in dict.fromkeys(case.kernel for case in plan.cases)),
            *_failures(certificate, name),
            *_left_out(certificate),
            Section("What this can't tell", notes=certificate.limits),
        ],
    )


def _matrix(certificate: VetCertificate, kernel: str) -> Section:
    here = [result for result in certificate.results if result.case.kernel == kernel]
    topologies = list(dict.fromkeys(result.case.topology for result in here))
    cells = {(result.case.adversary, result.case.topology): _cell(result) for result in here}
    return Section(
        f"Kernel {kernel}",
        text=[
            (
                "How each case ended, and how long a task stood still at most; in brackets under the "
                "kernel's own scheduler, where that was measured."
            )
        ],
        table=Table(
            ["adversary", *topologies],
            [
                [adversary, *(cells.get((adversary, topology), "") for topology in topologies)]
                for adversary in dict.fromkeys(result.case.adversary for result in here)
            ],
        ),
    )


def _cell(result: VetResult) -> str:
    if result.outcome is not VetOutcome.OK:
        return result.outcome.value
    usual = "" if result.usual_wait_s is None else f" ({number(result.usual_wait_s)} s)"
    return f"ok, {number(result.longest_wait_s)} s{usual}"


def _failures(certificate: VetCertificate, name: str) -> Iterator[Section]:
    for result in certificate.failed:
        when = "" if result.after_s is None else f", after {result.after_s:.1f} s"
        yield Section(
            f"{result.outcome.value}: {result.case.label}",
            text=[f"{result.reason}{when}."],
            commands=[
                Command(result.replay_told, shlex.join(replay_command(name, certificate.plan, result)))
            ],
            table=Table(
                ["what its program printed last"],
                [[line] for line in result.dump.splitlines()],
                folded="the dump",
            ),
        )


def _left_out(certificate: VetCertificate) -> Iterator[Section]:
    left_out = [result for result in certificate.results if result.outcome is VetOutcome.NOT_RUN]
    if left_out:
        yield Section("Not run", notes=[f"{result.case.label}: {result.reason}" for result in left_out])
