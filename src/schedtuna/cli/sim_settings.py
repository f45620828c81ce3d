"""`schedtuna sim settings`: what a scheduler's loader computes for a machine, for the simulated one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.common import termination_interrupts
from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.sim_options import TopologyOption
from schedtuna.cli.table import table, wrapped
from schedtuna.errors import UsageError

if TYPE_CHECKING:
    from schedtuna.sim.settings import LoaderSettings

_ROWS = 20


def settings(  # noqa: PLR0917 - typer's options are a function's parameters
    scheduler: Annotated[
        str, typer.Argument(metavar="SCHEDULER", help="A loader's program, or its name: see `sim list`.")
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENT...]", help="What the loader is given.")
    ] = None,
    cpus: Annotated[
        int | None,
        typer.Option("--cpus", metavar="N", help="CPUs, of one cache. Default: 8.", show_default=False),
    ] = None,
    topology: TopologyOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write them there, for --settings. Default: where they are found by themselves.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read what a scheduler's loader computes, in a guest.

    The loader runs in a guest of the lab that is laid out as the simulated machine, and is stopped where it
    would start its scheduler. What it has prepared until then is what simulations of that layout begin with.
    """
    from schedtuna.lab.loader import prepared_by
    from schedtuna.lab.store import read_lab
    from schedtuna.sim.objects import loaded_object, object_named, simulated_kernel
    from schedtuna.sim.settings import LoaderSettings, keep_settings, write_settings
    from schedtuna.sim.topology import MachineShape

    shape = MachineShape.of(cpus, topology)
    config = object_named(scheduler)
    if config is None or config.binary_path is None or config.values:
        raise UsageError(
            f"{scheduler}: expected a sched_ext scheduler's loader, without values",
            hint="`schedtuna sim list` shows those that are found by name",
        )
    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} is there already", hint="--force replaces it")
    program, kernel = config.binary_path, simulated_kernel()

    def say(text: str) -> None:
        print_remark("settings", text, file=sys.stderr)

    with termination_interrupts():
        facts = prepared_by(
            read_lab(), program, arguments or (), topology=str(shape), kernel=kernel.release or None, say=say
        )
    translated = loaded_object(program).translated
    found = LoaderSettings.of_guest(
        facts,
        program=program.name,
        arguments=tuple(arguments or ()),
        sha256=translated.sha256,
        topology=str(shape),
    )
    told = _told(found, program)  # which reads all of it: what does not fit is not kept
    kept = output
    if output is None:
        kept = keep_settings(found, shape)
    else:
        write_settings(output, found)
    if as_json:
        print_json({"file": str(kept), "scheduler": config.name, **told})
    else:
        _show(config.name, told, kept, is_kept=output is None)


def _told(found: LoaderSettings, program: Path) -> dict[str, Any]:
    from schedtuna.sim.bpf.prepared import changed_globals, prepared
    from schedtuna.sim.objects import loaded_object, simulated_kernel, told_settings

    loaded = loaded_object(program)
    made = prepared(found, loaded.translated, simulated_kernel())
    initial = {name: (kind, own) for name, kind, _, _, own in loaded.native.globals() if kind}
    changed = changed_globals(found, loaded.translated, initial)
    return {
        **told_settings(found, loaded.translated),
        "variables": {name: {"own": own, "set": value} for name, (own, value) in changed.items()},
        "members": made["members"],
        "operations_taken_out": made["absent"],
        "nr_map_entries": len(made["entries"]),
        "programs_run": [name for _, name in (each.function for each in found.calls)],
    }


def _show(name: str, told: dict[str, Any], kept: Path | None, *, is_kept: bool) -> None:
    rows = [[name, str(row["own"]), str(row["set"])] for name, row in told["variables"].items()]
    print(table(["variable", "object's own", "set by its loader"], rows[:_ROWS]), end="\n\n")
    if len(rows) > _ROWS:
        print(f"({len(rows) - _ROWS:,} more; --json has them)\n")
    facts = [f"{len(rows)} numbers of {name} are set by {told['program']} on {told['topology']}"]
    if told["nr_map_entries"]:
        facts.append(f"{told['nr_map_entries']} entries of maps")
    if told["programs_run"]:
        facts.append(f"{len(told['programs_run'])} runs of programs of its object")
    print(wrapped(f"{', '.join(facts)}; kernel {told['kernel']}."))
    if told["unread"]:
        print_remark("warning", f"what is in these maps can't be read: {', '.join(told['unread'])}")
    use = (
        f"Simulations of {name} on {told['topology']} use them by themselves."
        if is_kept
        else f"Use them: schedtuna sim run LOAD --topology {told['topology']} --scheduler {name} "
        f"--settings {kept}"
    )
    print(wrapped(use))
