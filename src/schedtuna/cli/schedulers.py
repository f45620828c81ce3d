"""`schedtuna schedulers`: which are known, what they understand, and which one is in charge."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli import schedulers_advice, schedulers_model, schedulers_vet
from schedtuna.cli.common import parse_positive_duration, termination_interrupts
from schedtuna.cli.options import IgnoreLimitsOption, InOption, JsonOption
from schedtuna.cli.output import print_json, print_remark, require_writable, writing
from schedtuna.cli.table import described, wrapped
from schedtuna.errors import UsageError
from schedtuna.printable import exact, number, printable

if TYPE_CHECKING:
    from types import ModuleType

    from schedtuna.lab.named.guest import NamedGuest
    from schedtuna.scheduler.entry import Entry
    from schedtuna.scheduler.probe import Joined, ProbedProgram
    from schedtuna.scheduler.spec import SchedulerConfig

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="List, probe, start, stop and switch schedulers."
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
ParametersArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[PARAMETER=VALUE]...", show_default=False)
]
WithinOption = Annotated[
    str, typer.Option("--within", metavar="60s", help="How long the verifier and the scheduler may take.")
]


@app.command("list")
def list_schedulers(as_json: JsonOption = False) -> None:
    """List what can be named, and what of it is installed."""
    from schedtuna.scheduler.catalogue import catalogue

    rows = catalogue()
    if as_json:
        print_json({"schedulers": [row.to_dict() for row in rows]})
        return
    shown = [[row.name, str(row.nr_parameters), "yes" if row.installed else "", row.summary] for row in rows]
    print(described(["scheduler", "parameters", "installed", "what it is"], shown))


@app.command()
def show(
    name: NameArgument,
    release: Annotated[
        str | None,
        typer.Option("--release", metavar="VERSION", help="As of this release.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a scheduler's parameters, rules and traps.

    With NAME:param=value,... or a file of settings, what they set, too.
    """
    from schedtuna.scheduler.entry import entries
    from schedtuna.scheduler.lookup import lookup
    from schedtuna.scheduler.parse import parse_scheduler

    found: list[Entry] = []

    def look_up(text: str) -> SchedulerConfig:
        if text not in entries():
            return lookup(text)
        found.append(entries()[text])
        return found[-1].config(release)

    scheduler = look_up(name) if name in entries() else parse_scheduler(name, look_up)
    entry = found[-1] if found else None
    if release is not None and entry is None:
        raise UsageError(
            f"--release {release}: nothing is known of the releases of {scheduler.name}",
            hint="leave it out; `schedtuna schedulers list` has those that are known",
        )
    if as_json:
        print_json(scheduler.model_dump(mode="json"))
        return
    print(wrapped(f"{scheduler.name}: {scheduler.description}"))
    if entry:
        print(f"as of release {entry.release(release)}; known from {entry.releases[0]} on")
    print_parameters(scheduler)
    for rule in scheduler.constraints:
        print(wrapped(f"rule: {rule}"))
    for trap in entry.traps if entry else ():
        print(wrapped(f"know: {trap}"))
    for older in entry.older_names if entry else ():
        print(wrapped(f"older name: {older.name} means {older.parameter}; {older.reason}"))


@app.command()
def probe(
    binary: Annotated[str, typer.Argument(metavar="BINARY", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write what it understands as a file that defines it: *.toml, *.yaml or *.json.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask an installed binary what it understands.

    By its --help and --version, beside what the registry says.
    """
    from schedtuna.configfile import SUFFIXES
    from schedtuna.scheduler.catalogue import examine, find_binary
    from schedtuna.scheduler.definition import first_definition

    require_writable(output, option="--output", suffixes=SUFFIXES)
    found = examine(find_binary(binary))
    if output:
        text = first_definition(found.probed, found.scheduler, output.suffix.lower())
        with writing(output, force=force) as file:
            file.write(text.encode())
    if as_json:
        print_json(found.to_dict() | ({"output": str(output)} if output else {}))
        return
    if output:
        print_remark(str(output), f"defines {found.scheduler.name}; mend its bounds, then")
        print_remark("next", f"schedtuna schedulers check {shlex.quote(str(output))}")
        return
    _print_probe(found.probed, found.joined)
    print_parameters(found.scheduler)


@app.command()
def check(
    subject: Annotated[str, typer.Argument(metavar="FILE|NAME:VALUES", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Check a scheduler's file, or settings as commands take them."""
    from schedtuna.configfile import load_config
    from schedtuna.scheduler.lookup import lookup
    from schedtuna.scheduler.parse import parse_scheduler

    file = Path(subject)
    is_text = not file.exists() and (":" in subject or not file.suffix)
    is_settings = is_text or "scheduler" in load_config(file)
    scheduler = parse_scheduler(subject if is_text else str(file.absolute()), lookup)
    if is_settings:
        if as_json:
            print_json({"settings": scheduler.label(), "values": scheduler.values})
        else:
            print(f"{subject}: settings {scheduler.label()}")
        return
    if as_json:
        print_json(scheduler.model_dump(mode="json"))
        return
    print(f"{file}: scheduler {scheduler.name} with {len(scheduler.parameters)} parameters")
    print_parameters(scheduler)
    program = scheduler.binary_path
    if program is None:
        print_remark("note", f"it names no binary_path: its program is {scheduler.name} on PATH")
    elif not program.exists():
        print_remark("note", f"{program} is not there, so its flags could not be checked")


@app.command()
def start(  # noqa: PLR0917 - typer's options are a function's parameters
    name: NameArgument,
    parameters: ParametersArgument = None,
    within: WithinOption = "60s",
    named: InOption = None,
    ignore_limits: IgnoreLimitsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put an installed sched_ext scheduler in charge.

    It stays in charge of this machine. It is in the journal before it runs: `schedtuna undo` ends it,
    too. Needs root. With --in it is in charge of a guest, where NAME may also be a bare BPF object's path.
    """
    from schedtuna.knobs.journal import Journal
    from schedtuna.scheduler import control

    within_s = parse_positive_duration(within, option="--within")
    with termination_interrupts():
        if named is None:
            chosen = _chosen(name, parameters)
            state = control.start(chosen, Journal(), within_s=within_s, ignore_limits=ignore_limits)
        else:
            with _guest(named) as (guest, in_guest):
                chosen, state = in_guest.start(guest, _text(name, parameters), within_s=within_s)
    if as_json:
        print_json({"scheduler": chosen.label(), "ops": state.ops, "switch_all": state.switch_all})
        return
    print(f"{chosen.label()} is in charge, as {state.ops}")
    if not state.switch_all:
        print("of the tasks that ask for it (policy SCHED_EXT), not of all")


@app.command("set")
def set_values(
    name: NameArgument,
    parameters: Annotated[list[str], typer.Argument(metavar="PARAMETER=VALUE...", show_default=False)],
    named: InOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set parameters of the scheduler in charge, which goes on.

    All of them are in force at once, and are read back. For scx_tuna and BPF objects; other schedulers
    read their flags at start: `switch` starts them anew. Needs root, or --in.
    """
    from schedtuna.scheduler import control
    from schedtuna.space import spell_value

    text = _text(name, parameters)
    with termination_interrupts():
        if named is None:
            chosen = control.find_registered(text, stated=True)
            live, idle = control.set_values(chosen)
        else:
            with _guest(named) as (guest, in_guest):
                chosen, live, idle = in_guest.set_values(guest, text)
    values = {key: live.values[key] for key in chosen.values}
    if as_json:
        print_json({"scheduler": chosen.name, "values": values, "version": live.version, "ineffective": idle})
        return
    for key, value in values.items():
        print(f"{key} is {spell_value(value)}")
        if key in idle:
            print_remark("ineffective", f"{key}: {idle[key]}")
    if live.in_force:
        print_remark("in force", live.in_force)


@app.command()
def stop(named: InOption = None, as_json: JsonOption = False) -> None:
    """Stop the scheduler that `start` or scx_loader runs.

    The kernel's own takes over.
    """
    from schedtuna.knobs.journal import Journal
    from schedtuna.scheduler import control

    with termination_interrupts():
        if named is None:
            stopped = control.stop(Journal())
        else:
            with _guest(named) as (guest, in_guest):
                stopped = in_guest.stop(guest)
    if as_json:
        print_json({"stopped": stopped})
    else:
        print(f"{stopped} is stopped" if stopped else "no sched_ext scheduler is in charge")


@app.command()
def switch(  # noqa: PLR0917 - typer's options are a function's parameters
    name: NameArgument,
    parameters: ParametersArgument = None,
    within: WithinOption = "60s",
    named: InOption = None,
    ignore_limits: IgnoreLimitsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put another scheduler in charge, and measure what the swap costs.

    The kernel's own scheduler runs in between. Where the new one does not start, the old one
    is started again.
    """
    from dataclasses import asdict

    from schedtuna.knobs.journal import Journal
    from schedtuna.scheduler import control

    within_s = parse_positive_duration(within, option="--within")
    with termination_interrupts():
        if named is None:
            chosen = _chosen(name, parameters)
            cost = control.switch(chosen, Journal(), within_s=within_s, ignore_limits=ignore_limits)
        else:
            with _guest(named) as (guest, in_guest):
                chosen, cost = in_guest.switch(guest, _text(name, parameters), within_s=within_s)
    if as_json:
        print_json({"scheduler": chosen.label(), **asdict(cost)})
        return
    print(
        f"{chosen.label()} is in charge: the old one left in {cost.disable_s:.2f} s, this one was in charge "
        f"after {cost.enable_s:.2f} s, no task stood still for more than {cost.longest_stall_s * 1e3:.1f} ms "
        f"({cost.usual_stall_s * 1e3:.1f} ms before)"
    )


@app.command()
def status(named: InOption = None, as_json: JsonOption = False) -> None:
    """Say which scheduler is in charge, and who started it."""
    from dataclasses import asdict

    from schedtuna.knobs.journal import Journal
    from schedtuna.scheduler import control
    from schedtuna.space import spell_assignment

    if named is None:
        found = control.status(Journal())
    else:
        with _guest(named) as (guest, in_guest):
            found = in_guest.status(guest)
    if as_json:
        print_json(asdict(found))
        return
    print(f"sched_ext is {found.state}{f', {found.ops} is in charge' if found.ops else ''}")
    for title, value in (
        ("started by", found.started_by),
        ("settings", found.label),
        ("process", str(found.pid or "")),
        ("set", "" if found.live is None else spell_assignment(found.live.changed)),
        ("in force", "" if found.live is None else found.live.in_force),
        ("schedules", "" if found.switch_all or not found.ops else "only tasks of policy SCHED_EXT"),
        ("enabled since boot", f"{found.enable_seq} times"),
        ("tasks rejected", str(found.nr_rejected or "")),
        *((name, number(value, "nr_")) for name, value in found.counters.items()),
    ):
        if value:
            print_remark(title, value)


app.command()(schedulers_model.model)
app.command()(schedulers_advice.advise)
app.command()(schedulers_advice.hint)
app.command()(schedulers_vet.vet)


@contextmanager
def _guest(name: str) -> Iterator[tuple[NamedGuest, ModuleType]]:
    """Give a named guest, and what starts and stops schedulers there; both take a while to import."""
    from schedtuna.backend import in_guest
    from schedtuna.lab.named.guest import NamedGuest

    with NamedGuest(name) as guest:
        yield guest, in_guest


def _chosen(name: str, parameters: Sequence[str] | None) -> SchedulerConfig:
    """Return the scheduler of ``NAME:param=value,...``, or of a name and ``param=value`` words."""
    from schedtuna.scheduler.control import find_registered

    return find_registered(_text(name, parameters))


def _text(name: str, parameters: Sequence[str] | None) -> str:
    """Return ``NAME:param=value,...`` of a name and words."""
    return name + ("," if ":" in name else ":") + ",".join(parameters) if parameters else name


def _print_probe(probed: ProbedProgram, joined: Joined) -> None:
    print(printable(f"{probed.name} {probed.version or '(version unknown)'} at {probed.binary}"))
    if not joined.release:
        print("not registered: its parameters are guessed from its --help")
        return
    print(f"compared with release {joined.release}: {len(joined.known)} flags known")
    for title, flags in (("only in the binary", joined.unknown), ("only in the registry", joined.missing)):
        if flags:
            print(wrapped(f"{title}: {' '.join(flags)}"))
    for old, new in joined.renamed:
        print(f"probably renamed: {old} to {new}")
    for flag, registered, printed in joined.defaults:
        print_remark("another default", f"{flag} is {printed}, was {registered}")


def print_parameters(scheduler: SchedulerConfig) -> None:
    """Show what can be set of a scheduler, if anything."""
    from schedtuna.space import spell_value

    rows, is_set = [], bool(scheduler.values)
    for spec in scheduler.parameters.values():
        if spec.choices or spec.min_value is None:
            values = " ".join(spec.choices)
        else:
            values = f"{exact(spec.min_value)} to {exact(spec.max_value or 0)} {spec.unit}".rstrip()
        own = scheduler.values.get(spec.name)
        cells = [spec.name, spell_value(spec.default), *(["" if own is None else spell_value(own)] * is_set)]
        rows.append([*cells, values or "true false", spec.description])
    if rows:
        headings = ["parameter", "default", *["set to"] * is_set, "values", "what it does"]
        print("\n" + described(headings, rows), end="\n\n")
