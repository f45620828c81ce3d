"""`schedtuna schedulers vet`: does a scheduler ever forget a task? Tried in guests, before it runs here."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.common import parse_positive_duration, termination_interrupts
from schedtuna.cli.options import JsonOption, ResultsOption, ResumeOption, SeedOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.table import number, table, wrapped
from schedtuna.errors import SchedtunaError, naming

if TYPE_CHECKING:
    from schedtuna.experiment.vet.certificate import VetCertificate

PAGE_NAME = "report.html"


def vet(  # noqa: PLR0917 - typer's options are a function's parameters
    name: Annotated[
        str,
        typer.Argument(metavar="NAME|OBJECT", help="With settings: NAME:param=value,...", show_default=False),
    ],
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Newest kernel, two CPUs and 3 s each: a few minutes, and little tried."
        ),
    ] = False,
    kernel: Annotated[
        list[str] | None,
        typer.Option(
            "--kernel",
            metavar="VERSION",
            help="An installed kernel. Repeatable; default: all of the lab.",
            show_default=False,
        ),
    ] = None,
    topology: Annotated[
        list[str] | None,
        typer.Option(
            "--topology",
            metavar="LLCSxCORESxTHREADS",
            help="Layout of up to four CPUs. Repeatable; default: one CPU, two caches, SMT, two nodes.",
            show_default=False,
        ),
    ] = None,
    adversary: Annotated[
        list[str] | None,
        typer.Option("--adversary", metavar="NAME", help="Only this one. Repeatable.", show_default=False),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="10s",
            help="How long each case lasts, on the guest's clock.",
            show_default="10s",
        ),
    ] = None,
    seed: SeedOption = None,
    results: ResultsOption = Path("results"),
    resume: ResumeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try whether a sched_ext scheduler ever forgets a task.

    Adversaries in deterministic guests of the lab: each kernel, layout of CPUs and adversary with each. A
    case that fails is run again, and the same seed shows the same. Exit code 1: something failed. What was
    not run is said. Needs `schedtuna lab setup`, and no privilege.
    """
    from schedtuna.cli.progress import RunProgress
    from schedtuna.experiment.campaign import how_to_continue, new_results_folder
    from schedtuna.experiment.vet.plan import QUICK_SECONDS, SECONDS
    from schedtuna.experiment.vet.run import Vetting, planned, read_plan, vet_subject
    from schedtuna.lab.store import read_lab
    from schedtuna.report.vet import write_page

    lab = read_lab()
    seconds = QUICK_SECONDS if quick else SECONDS
    if time is not None:
        seconds = parse_positive_duration(time, option="--for")
    named = kernel or ([lab.default_kernel] if quick else list(lab.kernels))
    kernels = [lab.kernel(version).version for version in named]
    subject = vet_subject(name, lab, kernels)
    plan = planned(
        lab,
        subject,
        kernels=kernels,
        topologies=topology or (),
        adversaries=adversary or (),
        seconds=seconds,
        seed=read_plan(resume).seed if resume and seed is None else seed,
        is_quick=quick,
    )
    folder = resume or new_results_folder(results, "vet", subject.scheduler.name)
    with termination_interrupts(), naming(folder):
        vetting = Vetting(lab, folder, plan, subject, resume=resume is not None)
        with RunProgress("vet", len(plan.cases), unit="cases") as progress:
            progress.say(f"results: {folder}  seed: {plan.seed}")
            try:
                certificate = vetting.run(
                    lambda done, note: progress.update(done, len(plan.cases), note=note)
                )
            except KeyboardInterrupt:
                progress.say(f"interrupted; {how_to_continue(folder)}")
                raise typer.Exit(130) from None
        write_page(certificate, name, folder / PAGE_NAME)
    if as_json:
        print_json({"folder": str(folder), **_fields(certificate, name)})
    else:
        _show(certificate, name)
        print(wrapped(f"The page is {folder / PAGE_NAME}."))
    if not certificate.is_clean:
        raise SchedtunaError(
            f"{plan.scheduler}: {certificate.verdict}", hint=f"{folder / PAGE_NAME} has the kernel's dumps"
        )


def _fields(certificate: VetCertificate, name: str) -> dict[str, Any]:
    from schedtuna.experiment.vet.run import replay_command

    fields = certificate.model_dump(mode="json")
    for row, result in zip(fields["results"], certificate.results, strict=True):
        row["replay"] = shlex.join(replay_command(name, certificate.plan, result)) if result.fails else None
    return {"clean": certificate.is_clean, "verdict": certificate.verdict, **fields}


def _show(certificate: VetCertificate, name: str) -> None:
    from schedtuna.experiment.vet.run import replay_command

    rows = [
        [
            result.case.kernel,
            result.case.topology,
            result.case.adversary,
            result.outcome.value,
            number(result.longest_wait_s, "longest_wait_s"),
            number(result.usual_wait_s, "longest_wait_s"),
        ]
        for result in certificate.results
    ]
    headings = ["kernel", "CPUs", "adversary", "outcome", "longest wait, s", "fair's"]
    print(table(headings, rows), end="\n\n")
    for result in certificate.results:
        if result.reason:
            when = "" if result.after_s is None else f" after {result.after_s:.1f} s"
            print_remark(f"{result.outcome} ({result.case.label}){when}", result.reason)
        if result.is_worth_a_replay:
            print_remark(result.replay_told, shlex.join(replay_command(name, certificate.plan, result)))
    print(wrapped(f"{certificate.plan.scheduler}: {certificate.verdict}"))
    for limit in certificate.limits:
        print_remark("limit", limit)
