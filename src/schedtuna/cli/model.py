"""`schedtuna model`: what is in a model, does all here compute it alike, and what runs it elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.exported import (
    ExportFolderOption,
    ExportNameOption,
    ReplaceFilesOption,
    limited,
    write_exported,
)
from schedtuna.cli.model_serve import serve
from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark, refuse_existing
from schedtuna.cli.table import described, spelled_size, table, wrapped
from schedtuna.errors import ModelError, UnavailableError, UsageError, naming, nearest
from schedtuna.printable import printable

if TYPE_CHECKING:
    from schedtuna.model.kernel.cost import CostSheet
    from schedtuna.model.model import DecisionModel

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Show, check, import, export and serve models: learned decisions.",
)

app.command()(serve)

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model's file, or `default` or `migration`, which come along.",
        show_default=False,
    ),
]


@app.command()
def show(
    model: ModelArgument,
    tree: Annotated[
        int | None, typer.Option("--tree", metavar="N", help="Draw this tree.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a model takes, what decides, and its trees."""
    from schedtuna.model.shipped import find_model
    from schedtuna.model.show import shares_decided, tree_lines

    found = find_model(model)
    lines = tree_lines(found, tree) if tree is not None else []
    shares = shares_decided(found)
    if as_json:
        told = _described(found) | {"decisions_changed": shares}
        print_json(told | ({"tree": lines} if tree is not None else {}))
        return
    if tree is not None:
        print("\n".join(printable(line) for line in lines))
        return
    rows = found.rows
    print(wrapped(f"{found.name}, version {found.version}: {found.made_by}"))
    stages = ", ".join(f"{size} {name}" for name, size in found.core.layout())
    print(wrapped(f"family {found.core.family}; of each row: {stages}; {len(rows or ())} rows to check it"))
    decisions = ", ".join(found.labels)
    rule = (
        "the second where the logit is above 0" if found.core.nr_logits == 1 else "that of the greatest logit"
    )
    print(wrapped(f"decides: {decisions}; {rule}"))
    cells = [
        [
            one.name,
            one.bins.kind,
            str(one.bins.lo),
            str(one.bins.hi),
            str(one.bins.nr_bins),
            f"{100 * shares[one.name]:.1f}%",
        ]
        for one in found.inputs
    ]
    print()
    print(table(["input", "bins", "from", "to", "number", "decisions changed"], cells))
    print()
    print(wrapped("decisions changed: by another bin of this input alone, over rows drawn evenly"))


@app.command()
def check(
    model: ModelArgument,
    budget_ns: Annotated[
        float | None,
        typer.Option(
            "--budget-ns",
            metavar="NS",
            min=1,
            help="Exit with 1 if a decision in the kernel takes longer after 16 MB of other data.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold all that runs a model to its own rows, and measure it.

    Every accumulator has to be the reference's, bit for bit. Exits with 1 if one is not.
    """
    from schedtuna.export.parity import check_executors
    from schedtuna.model.kernel.cost import measure
    from schedtuna.model.shipped import find_model

    found = find_model(model)
    parities = check_executors(found)
    differing = [parity.executor for parity in parities if parity.outcome == "differs"]
    in_kernel = next(parity for parity in parities if parity.executor == "kernel")
    if budget_ns is not None and in_kernel.outcome != "same":
        raise UnavailableError(f"--budget-ns needs the kernel: {in_kernel.told}", hint=in_kernel.hint)
    cost = measure(found, budget_ns=budget_ns) if in_kernel.outcome == "same" else None
    if as_json:
        print_json(
            _described(found)
            | {"executors": [asdict(parity) for parity in parities]}
            | {"kernel_cost": asdict(cost) if cost else None}
        )
    else:
        print(wrapped(f"{found.name}, version {found.version}: {len(found.rows or ())} rows"))
        print(
            described(["executor", "accumulators", ""], [[p.executor, p.outcome, p.told] for p in parities])
        )
        if cost:
            _print_cost(cost)
    if differing:
        raise ModelError(f"not what the reference computes: {', '.join(differing)}", hint="don't use it here")


@app.command()
def export(  # noqa: PLR0917 - typer's options are a function's parameters
    model: ModelArgument,
    to: Annotated[
        str, typer.Option("--to", metavar="FORM", help="c, native, bpf, onnx or tflite.", show_default=False)
    ],
    output: ExportFolderOption,
    name: ExportNameOption = None,
    small: Annotated[
        bool, typer.Option("--small", help="Walk trees: slower, for where there is little memory.")
    ] = False,
    max_bytes: Annotated[
        int | None,
        typer.Option(
            "--max-bytes", metavar="N", min=1, help="Refuse what takes more there.", show_default=False
        ),
    ] = None,
    max_instructions: Annotated[
        int | None,
        typer.Option(
            "--max-instructions",
            metavar="N",
            min=1,
            help="--to bpf: refuse what takes the kernel's verifier more.",
            show_default=False,
        ),
    ] = None,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="Make it smaller instead, and say how many decisions change.")
    ] = False,
    rows: Annotated[
        Path | None,
        typer.Option(
            "--rows",
            metavar="CSV",
            help="With --shrink: rows such as it meets. Default: bins drawn evenly.",
            show_default=False,
        ),
    ] = None,
    force: ReplaceFilesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a model in a form that others run.

    --to c: C99 that needs no library, with the rows that check it. --to native: a shared library for this
    machine's CPU, compiled and checked here. --to bpf: a table for a fixed BPF program, that program, and
    what other BPF programs need to decide by it. --to onnx: integers throughout, compared with onnxruntime
    before it is written (extra onnx). --to tflite: the same for LiteRT and TFLite Micro, compared with
    LiteRT (extra tflite).

    With --shrink, what is larger than allowed loses trees or units, or becomes a line, whichever changes
    fewer decisions; the smaller model and a card of what that changed are written, too.
    """
    from schedtuna.export.c_text import require_identifier
    from schedtuna.export.limits import ExportLimits
    from schedtuna.export.targets import TARGETS
    from schedtuna.model.shipped import find_model

    if to not in TARGETS:
        raise UsageError(f"--to {to}: no such form", hint=nearest(to, TARGETS))
    if name is not None:
        require_identifier(name)
    found, added = find_model(model), dict[str, bytes]()
    if shrink and max_bytes is None and max_instructions is None:
        raise UsageError("--shrink needs to know how small", hint="--max-bytes N or --max-instructions N")
    if rows is not None and not shrink:
        raise UsageError("--rows is of --shrink", hint="leave it out")
    if max_bytes is not None or max_instructions is not None:
        limits = ExportLimits(to, small, max_bytes, max_instructions)
        found, added = limited(found, limits, rows, shrinks=shrink)
    files = TARGETS[to].files(found, name, small) | added
    advice = TARGETS[to].advice.format(name=name or next(iter(files)).partition(".")[0])
    write_exported(output, files, advice, force=force, as_json=as_json)


@app.command("import")
def import_(  # noqa: PLR0917 - typer's options are a function's parameters
    net: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A net: .onnx, .keras, .h5, .tflite, .pt2, .pt, .pth, or a SavedModel's folder; or trees: "
            ".txt of LightGBM, .json or .ubj of XGBoost.",
            show_default=False,
        ),
    ],
    rows: Annotated[
        Path,
        typer.Option(
            "--rows",
            metavar="CSV",
            help="Rows such as it will meet, with names of its inputs, in its order.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Write the model here.", show_default=False)
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="Of the model; default: the net's file.", show_default=False)
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="A,B", help="What it decides between.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a model of a net or of trees that another library trained.

    Nets have up to 16 inputs, 1 or 2 hidden layers of up to 64 ReLU units, one sigmoid or up to 4 logits;
    trees one score. Rows say how far inputs reach, and how many decisions change where floats become
    integers.
    """
    from schedtuna.learn.importing import import_file
    from schedtuna.learn.net_rows import read_rows
    from schedtuna.model.file import write_model

    with naming(output):
        refuse_existing(output, force=force)
    with naming(rows):
        columns = read_rows(rows)
    with naming(net):
        made = import_file(net, columns, name, labels.split(",") if labels is not None else None)
    with naming(output):
        write_model(made.model, output)
    if as_json:
        told = {
            "file": str(output),
            "decisions_changed": made.decisions_changed,
            "rows": made.nr_rows,
            "fixed": made.fixed,
            "unasked": made.unasked,
            "assumed": made.assumed,
        }
        print_json(_described(made.model) | told)
        return
    if made.assumed:
        print_remark("note", made.assumed)
    if made.unasked:
        print_remark(
            "note", f"no question is about these, and the model does not take them: {', '.join(made.unasked)}"
        )
    if made.fixed:
        told_fixed = ", ".join(f"{column} = {value:g}" for column, value in made.fixed.items())
        print_remark("note", f"the same in all rows, and taken to be so always: {told_fixed}")
    print(wrapped(f"{output}: {made.model.name}, version {made.model.version}"))
    changed = round(made.decisions_changed * made.nr_rows)
    print(
        wrapped(f"decides {changed} of {made.nr_rows} rows ({100 * made.decisions_changed:.2f}%) differently")
    )


def _print_cost(cost: CostSheet) -> None:
    program, columns = cost.program, list(cost.cold_ns)
    print()
    told = [
        f"in the kernel: {program.verified_insns} instructions verified of {program.insns}",
        f"{spelled_size(program.jited_bytes)} of machine code, {program.stack_bytes} B of stack",
        f"a table of {spelled_size(cost.table_bytes)}, of which it uses {spelled_size(cost.used_bytes)}",
    ]
    print(wrapped("; ".join(told)))
    heads = ["a decision, ns", *(f"after {mb} MB" if mb else "one by one" for mb in columns), "in a row"]
    medians = [*(cost.cold_ns[mb] for mb in columns), cost.hot_ns]
    print(table(heads, [["median", *(f"{ns:.0f}" for ns in medians)]]))
    print(
        wrapped(
            f"without the {cost.clock_ns:.0f} ns of measuring one, and {cost.base_ns:.0f} ns of a run in a "
            "row; after so much other data was read, as a scheduler decides"
        )
    )


def _described(model: DecisionModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "made_by": model.made_by,
        "family": model.core.family,
        "labels": model.labels,
        "accumulators": dict(model.core.layout()),
        "inputs": [{"name": one.name, **asdict(one.bins)} for one in model.inputs],
        "rows": len(model.rows or ()),
    }
