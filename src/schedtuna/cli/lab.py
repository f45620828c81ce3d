"""`schedtuna lab`: real kernels with sched_ext in virtual machines, without touching this one."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import listed, parse_positive_duration, termination_interrupts
from schedtuna.cli.lab_named import list_guests, start, stop
from schedtuna.cli.lab_options import MachineOptions, ProgramsOption, found
from schedtuna.cli.lab_shell import boot, forward, shell
from schedtuna.cli.options import CommandArgument, InOption, JsonOption, MetricOption
from schedtuna.cli.output import print_json
from schedtuna.cli.streams import pass_on
from schedtuna.errors import UsageError, naming

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Run commands on a real kernel with sched_ext."
)


@app.command()
def setup(
    kernel: Annotated[
        str,
        typer.Option(
            "--kernel",
            metavar="auto|FILE|VERSION",
            help="`auto`: the host's own if it has sched_ext, else the newest of the mirror.",
        ),
    ] = "auto",
    schedulers: Annotated[
        bool,
        typer.Option(
            "--schedulers", help="Also build the kernel's example schedulers (scx_simple, scx_central, ...)."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch QEMU, a kernel and guest programs; boot them once.

    They go into a folder of their own; what is there is kept. Needs Debian's apt; the system's packages
    and lists stay untouched.
    """
    from schedtuna.lab.build.examples import install_examples
    from schedtuna.lab.build.setup import setup as install
    from schedtuna.machine.labfolder import lab_directory

    def say(text: str) -> None:
        typer.echo(f"lab: {text}", err=True)

    built = None
    with termination_interrupts(), naming(lab_directory()):
        lab = install(kernel, say=say)
        if schedulers:
            built = install_examples(lab, say=say)
    if as_json:
        examples = {"schedulers": built.model_dump(mode="json")} if built else {}
        print_json({"folder": str(lab_directory()), **lab.model_dump(mode="json"), **examples})
    else:
        print(
            f"kernel {lab.default_kernel}, QEMU {lab.qemu.version} ({lab.accelerator}), in {lab_directory()}"
        )


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Say what the lab has, and which guests are up."""
    from schedtuna.cli.table import wrapped
    from schedtuna.lab.build.examples import find_examples
    from schedtuna.lab.image import PROGRAMS
    from schedtuna.lab.named.guests import find_all
    from schedtuna.lab.store import read_lab, size_of
    from schedtuna.machine.labfolder import lab_directory

    lab = read_lab()
    size, guests = size_of(lab_directory()), find_all()
    if as_json:
        named = [guest.to_dict() for guest in guests]
        has = lab.model_dump(mode="json")
        print_json({"folder": str(lab_directory()), "bytes": size, **has, "guests": named})
        return
    rows = [
        ["folder", f"{lab_directory()}, {size / 1e6:.0f} MB"],
        ["QEMU", f"{lab.qemu.version}, {lab.qemu.origin}"],
        ["accelerator", lab.accelerator],
        ["guest programs", " ".join(PROGRAMS)],
        ["example schedulers", " ".join(find_examples(lab.kernel())) or "none: lab setup --schedulers"],
        *(
            ["kernel" + " (default)" * (v == lab.default_kernel), f"{v}, {k.origin}"]
            for v, k in lab.kernels.items()
        ),
        *([f"guest {one.record.name}", f"{one.state}, kernel {one.record.kernel}"] for one in guests),
    ]
    for part, what in rows:
        print(f"{part:20}{wrapped(what, indent=20).lstrip()}")


@app.command()
def clean() -> None:
    """Remove the lab's files."""
    from schedtuna.lab.store import clean as remove
    from schedtuna.machine.labfolder import lab_directory

    print(f"{remove() / 1e6:.0f} MB freed in {lab_directory()}")


@dataclass(frozen=True)
class TrialsOptions:
    """Of runs that are the same bits every time."""

    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic", help="Make every run bit-identical; the guest holds only what COMMAND names."
        ),
    ] = False
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            min=0,
            help="With --deterministic: the seed of the run's perturbation. Default: 0.",
            show_default=False,
        ),
    ] = None
    runs: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--runs",
            min=1,
            help="With --deterministic: run this many seeds, and print their spread.",
            show_default=False,
        ),
    ] = None
    scheduler: Annotated[
        str,
        typer.Option(
            "--scheduler",
            metavar="NAME",
            help="With --deterministic: the scheduler to load first.",
            show_default=False,
        ),
    ] = ""
    metric: MetricOption = None

    def require_deterministic(self) -> None:
        """Refuse those that an ordinary run has no use for.

        Raises:
            UsageError: One was given.
        """
        if self.seed is not None or self.runs is not None or self.scheduler or self.metric:
            raise UsageError("--seed, --runs, --scheduler and --metric need --deterministic")


@dataclass(frozen=True)
class RunOptions(MachineOptions):
    """The guest, and how long COMMAND may take."""

    cpus: Annotated[
        int | None,
        typer.Option(
            "--cpus",
            min=1,
            max=64,
            help="Virtual CPUs. Default: 2; with --deterministic, which has up to 4: 1.",
            show_default=False,
        ),
    ] = None
    share: Annotated[
        Path | None,
        typer.Option(
            "--share",
            metavar="DIR",
            help="Copy this folder into the guest, run COMMAND in it, and copy what changed back "
            "(not with --deterministic).",
            show_default=False,
        ),
    ] = None
    programs: ProgramsOption = None
    timeout: Annotated[str, typer.Option("--timeout", metavar="5m", help="End COMMAND after this time.")] = (
        "5m"
    )


@app.command()
@bundled
def run(
    command: CommandArgument,
    where: RunOptions,
    trials: TrialsOptions,
    named: InOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run COMMAND in a guest; output, exit code and files come back.

    The guest sees nothing of this machine but what --share and --with name, and has no network. A guest
    that does not boot is tried once more, then ends with exit code 3.

    With --deterministic it sees what COMMAND names, too; its output, exit code, guest time and context
    switches are the same every run, and what is printed last is their hash.
    """
    from schedtuna.lab.boot import run_in_guest
    from schedtuna.lab.store import read_lab

    limit_s = parse_positive_duration(where.timeout, option="--timeout")
    programs = found(where.programs)
    if named is not None:
        from schedtuna.cli.lab_named import refuse_own_guest, run_in

        refuse_own_guest(named, **where.said(), deterministic=trials.deterministic)
        trials.require_deterministic()
        code = run_in(
            named, command, share=where.share, programs=programs, timeout_s=limit_s, as_json=as_json
        )
        raise typer.Exit(code)
    if trials.deterministic:
        from schedtuna.cli.lab_trial import TrialOptions, run_trials

        asked = TrialOptions(
            command,
            kernel=where.kernel,
            cpus=where.cpus or (None if where.topology else 1),
            topology=where.topology,
            memory_mib=where.memory,
            share=where.share,
            programs=programs,
            timeout_s=limit_s,
            seed=trials.seed or 0,
            runs=trials.runs or 1,
            scheduler=trials.scheduler,
            metrics=listed(trials.metric),
            as_json=as_json,
        )
        raise typer.Exit(run_trials(asked))
    trials.require_deterministic()
    spec = where.machine(programs=programs, share=where.share)
    with termination_interrupts():
        try:
            done = run_in_guest(read_lab(), spec, command, timeout_s=limit_s)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
    if as_json:
        print_json(done.to_dict())
    else:
        pass_on(done.raw.stdout, sys.stdout)
        pass_on(done.raw.stderr, sys.stderr)
        for remark in done.remarks:
            typer.echo(f"lab: {remark}", err=True)
    raise typer.Exit(done.exit_code)


for _command in (shell, boot, forward, start, stop):
    app.command()(_command)
app.command("list")(list_guests)
