"""`schedtuna sim calibrate` and `sim fidelity`: is the simulated machine like this one?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.common import termination_interrupts
from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, refuse_existing, writing
from schedtuna.cli.table import described, number, table, wrapped
from schedtuna.errors import SchedtunaError, UsageError, naming

if TYPE_CHECKING:
    from schedtuna.fidelity.certificate import Certificate
    from schedtuna.fidelity.envelope import Certification
    from schedtuna.fidelity.machine_file import SimulatedMachine
    from schedtuna.trace.trace import Trace

FOLDER = Path("results/fidelity")
PAGE_NAME = "report.html"


def certification_of(simulation: Mapping[str, Any]) -> Certification:
    """Return whether this machine's certificate covers a simulation, as its trace's manifest tells it."""
    from schedtuna.fidelity.envelope import certification

    return certification(simulation["topology"], simulation["scheduler"], simulation["costs"])


def calibrate(
    traces: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[TRACES]",
            help="Recorded by `record`, unfiltered. Default: what it takes is played and recorded here.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.json",
            help="Where the machine goes. Default: this user's state folder, as `--machine here`.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.json.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the simulated machine's constants to recordings.

    What the recordings move is fitted; all else stays as it is, and why is said. `sim run --machine FILE`
    simulates that machine.
    """
    from schedtuna.fidelity import machine_file
    from schedtuna.fidelity.calibrate import calibrated

    if output is not None:
        refuse_existing(output, force=force)
    with termination_interrupts():
        if traces:
            machine = calibrated([_opened(path) for path in traces])
        else:
            from schedtuna.fidelity.campaign import calibrated_here
            from schedtuna.fidelity.envelope import envelope_here
            from schedtuna.fidelity.real import machine_shape

            shape = machine_shape()
            cpus = tuple(range(shape.nr_cpus))
            machine = calibrated_here(envelope_here(str(shape)), cpus, _CALIBRATION_S)
    path = output or machine_file.default_path()
    if output is None:
        machine_file.write_machine(machine, path)
    else:
        with writing(output, force=force) as file:
            file.write(machine_file.machine_text(machine).encode())
    if as_json:
        print_json({"machine": str(path), **machine.model_dump(mode="json")})
        return
    _show_machine(machine)
    print(wrapped(f"The machine is in {path}: sim run --machine {path if output else 'here'} simulates it."))


_CALIBRATION_S = 3


def _opened(path: Path) -> Trace:
    from schedtuna.trace.store import open_trace

    with naming(path):
        trace = open_trace(path)
        trace.require_complete()
    return trace


def _show_machine(machine: SimulatedMachine) -> None:
    rows = [
        [name, f"{constant.value:,}", "yes" if constant.is_fitted else "no", constant.source]
        for name, constant in machine.constants.items()
    ]
    print(described(["constant", "value", "fitted", "from"], rows), end="\n\n")


def fidelity(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help=f"Where runs, certificate and page go; {FOLDER} without it.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="About 3 minutes instead of 20: too few runs for a certificate."),
    ] = False,
    load: Annotated[
        list[str] | None,
        typer.Option("--load", metavar="NAME", help="Only this load. Repeatable.", show_default=False),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="DIR", help="Go on where DIR's runs end.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Is the simulated machine like this one? Certify it.

    Loads are played here and simulated, and both sides compared by rules that were fixed before. A cell is
    a metric of a load; it passes where both sides are equivalent. Models that are wrong on purpose have to
    fail. The machine should be idle otherwise. Exit code 1: no certificate.
    """
    from schedtuna.cli.progress import RunProgress
    from schedtuna.configfile import parse_json
    from schedtuna.fidelity.campaign import FidelityCampaign, planned
    from schedtuna.fidelity.certificate import FILE_NAME, publish, write_certificate
    from schedtuna.fidelity.real import machine_shape
    from schedtuna.report.fidelity import write_page

    if resume is not None and output is not None:
        raise UsageError("--resume and -o contradict each other", hint="--resume DIR goes on in DIR")
    folder = resume or output or FOLDER
    plan = planned(quick=quick, shape=machine_shape(), only=load or ())
    with termination_interrupts(), naming(folder):
        with RunProgress("fidelity", None) as progress:
            campaign = FidelityCampaign(folder, plan, resume=resume is not None)
            certificate, sides = campaign.run(
                lambda done, total, note: progress.update(done, total, note=note, title="fidelity")
            )
        write_certificate(certificate, folder / FILE_NAME)
        write_page(certificate, sides, folder / PAGE_NAME)
        if not plan.is_quick:
            publish(folder)
    if as_json:
        print_json({"folder": str(folder), **parse_json(certificate.model_dump_json())})
    else:
        _show(certificate)
        print(wrapped(f"The page is {folder / PAGE_NAME}."))
    if not (plan.is_quick or certificate.is_certified):
        raise SchedtunaError(
            f"no certificate: {certificate.reason}", hint=f"{folder / PAGE_NAME} shows each cell"
        )


def _show(certificate: Certificate) -> None:
    rows = [
        [
            cell.load,
            cell.metric,
            number(cell.real),
            number(cell.model),
            f"{number(cell.low)} to {number(cell.high)}",
            number(cell.tolerance),
            f"{cell.aa:.1%}",
            cell.outcome.value,
        ]
        for cell in certificate.cells
    ]
    headings = ["load", "metric", "machine", "model", "difference, 90%", "tolerance", "A/A", "cell"]
    print(table(headings, rows), end="\n\n")
    print(
        table(
            ["wrong on purpose", "fails", "because"],
            [[one.name, "yes" if one.fails else "NO", one.reason] for one in certificate.controls],
        ),
        end="\n\n",
    )
    changes = [
        [
            one.change,
            one.metric,
            f"{one.real:+.2f}",
            f"{one.model:+.2f}",
            ("yes" if one.sign_is_right else "NO") if one.has_verdict else "-",
        ]
        for one in certificate.differences
    ]
    print(table(["change", "metric", "machine, log ratio", "model", "sign"], changes))
    print(wrapped(f"differences: {certificate.agreement.reason}"), end="\n\n")
    if certificate.is_certified:
        print(wrapped(f"certified: {certificate.reason}"))
    else:
        print(wrapped(f"not certified: {certificate.reason}"))
