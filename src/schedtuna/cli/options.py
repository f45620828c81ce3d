"""Options that several commands take: `--scope`, `--metric`, `--seed` and the like mean the same in each.

What becomes of them is in `cli.common`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from schedtuna.backend.places.registry import HOST, PLACES, URLS
from schedtuna.knobs.base import Scope

MOST_RUNS = 1_000_000  # what a study's files and its statistics are made for

CommandArgument = Annotated[
    list[str],
    typer.Argument(metavar="COMMAND", help="The command to run, after `--`.", show_default=False),
]
OptionalCommandArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="COMMAND", help="The command to run, after `--`.", show_default=False),
]
NamedOption = Annotated[
    str | None,
    typer.Option(
        "--workload",
        metavar="NAME",
        help="In place of COMMAND: run this bundled workload, for its own metric; `suite list` shows them. "
        "With `sim`: a FILE of rt-app's JSON, a TRACE, or a family of `sim list`.",
        show_default=False,
    ),
]
MetricOption = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        "-m",
        metavar="NAME[:min|max][*WEIGHT][=SOURCE]",
        help="What to optimise; SOURCE is regex:PATTERN, json:PATH, csv:COLUMN or field:NAME. "
        "Repeatable. Default: the main figure that COMMAND's tool reports, or wall_time_s:min.",
        show_default=False,
    ),
]
RequireOption = Annotated[
    list[str] | None,
    typer.Option(
        "--require",
        metavar="'METRIC>=BOUND'",
        help="A bound that the winner must keep, judged with confidence by its confirmation runs: 7 at "
        "least, 21 runs in all. Repeatable.",
        show_default=False,
    ),
]
BudgetOption = Annotated[
    int | None,
    typer.Option(
        "--budget",
        "-n",
        metavar="RUNS",
        min=1,
        max=MOST_RUNS,
        help="How many runs in all.",
        show_default=False,
    ),
]
TimeOption = Annotated[
    str | None,
    typer.Option("--time", metavar="5m", help="Start no new runs after this time.", show_default=False),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed", min=0, help="Seed of every random choice. Default: a fresh one, which is printed."
    ),
]
DeltaOption = Annotated[
    float,
    typer.Option(
        "--delta", metavar="FRACTION", help="The smallest gain worth having; `no_evidence` excludes it."
    ),
]
ResultsOption = Annotated[
    Path, typer.Option("--results", "--results-dir", metavar="DIR", help="Where results folders are created.")
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        "--resume", metavar="DIR", help="Continue the run in this results folder.", show_default=False
    ),
]
RayOption = Annotated[
    str,
    typer.Option(
        "--ray",
        metavar="ADDRESS|local",
        help="With sim, or another machine: let the Ray cluster at ADDRESS make the runs, or one made here; "
        "results stay the same.",
        show_default=False,
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust-folder", help="Run what DIR says although somebody else owns it or can write to it."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line of stdout.")]
ScopeOption = Annotated[
    Scope | None,
    typer.Option(
        "--scope",
        help="What the settings are for: the command's process tree, a running service (its process or "
        "cgroup, with COMMAND as the load generator), or the machine. Default: tree, or what another "
        "option implies.",
        show_default=False,
    ),
]
PidOption = Annotated[
    int | None,
    typer.Option("--pid", min=1, help="The settings are for this running process.", show_default=False),
]
CgroupOption = Annotated[
    Path | None,
    typer.Option(
        "--cgroup", metavar="DIR", help="The settings are for this running cgroup.", show_default=False
    ),
]
UnitOption = Annotated[
    str | None,
    typer.Option(
        "--unit", metavar="NAME", help="The settings are for this running systemd unit.", show_default=False
    ),
]
ForceOption = Annotated[
    bool | None,
    typer.Option(
        "--force",
        help="With --pid, --cgroup or --unit: go on although init, or this command itself, is in it.",
        show_default=False,
    ),
]
UserOption = Annotated[
    str | None,
    typer.Option("--user", metavar="NAME", help="Run COMMAND as this user; needs root.", show_default=False),
]
AllowClientOption = Annotated[
    bool,
    typer.Option(
        "--allow-client",
        help="COMMAND does its work itself, although its name is a client's, such as docker or ssh.",
    ),
]
ShellOption = Annotated[bool, typer.Option("--shell", help="COMMAND is one string for /bin/sh -c.")]
TimeoutOption = Annotated[
    str, typer.Option("--timeout", metavar="5m", help="Kill a run, children and all, after this time.")
]
WarmupOption = Annotated[
    int, typer.Option("--warmup", min=0, help="Warm-up runs before each run; their results are thrown away.")
]
WashoutOption = Annotated[str, typer.Option("--washout", metavar="0s", help="Rest before each run.")]
MaxStealOption = Annotated[
    float,
    typer.Option(
        "--max-steal",
        metavar="FRACTION",
        min=0,
        max=1,
        help="A run during which the hypervisor took more of the CPUs' time than this fails.",
    ),
]
InOption = Annotated[
    str | None,
    typer.Option(
        "--in", metavar="NAME", help="In this guest of `schedtuna lab start NAME`.", show_default=False
    ),
]
IgnoreLimitsOption = Annotated[
    bool,
    typer.Option(
        "--ignore-cgroup-limits",
        help="Go on although control groups have weights, quotas or cpu.idle that it ignores.",
    ),
]
_BACKENDS = f"Where runs are made: {'; '.join(f'`{name}`, {row.summary}' for name, row in PLACES.items())}."
_PLACE = "|".join([*(name for name in PLACES if name != URLS), "URL"])
_KERNEL = "With `vm`: an installed kernel."
BackendOption = Annotated[str, typer.Option("--backend", metavar=_PLACE, help=_BACKENDS)]
PlacesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        metavar=_PLACE,
        help=f"{_BACKENDS} Twice: compare two places, under one scheduler. Default: {HOST}.",
        show_default=False,
    ),
]
EachPlaceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        metavar=_PLACE,
        help=f"{_BACKENDS} Repeatable: each is described, and held against the first. Default: {HOST}.",
        show_default=False,
    ),
]
KernelOption = Annotated[
    str | None, typer.Option("--kernel", metavar="VERSION", help=_KERNEL, show_default=False)
]
KernelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kernel",
        metavar="VERSION",
        help=f"{_KERNEL} Twice: compare two kernels, under one scheduler.",
        show_default=False,
    ),
]
EachKernelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kernel",
        metavar="VERSION",
        help=f"{_KERNEL} Repeatable: each is described, and held against the first.",
        show_default=False,
    ),
]
KernelListOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kernel",
        metavar="VERSION",
        help=f"{_KERNEL} Repeatable: the kernels are the list, under one scheduler.",
        show_default=False,
    ),
]
CpusOption = Annotated[
    int | None,
    typer.Option(
        "--cpus",
        min=1,
        help="With `vm`: virtual CPUs, 2 by default; with `sim`: CPUs of one cache, 8 by default.",
        show_default=False,
    ),
]
TopologyOption = Annotated[
    str | None,
    typer.Option(
        "--topology",
        metavar="LLCSxCORESxTHREADS",
        help="With `vm` and `sim`: last-level caches, cores of each, and threads of a core. With `vm` also "
        "`numa`: two memory nodes; `4x2x1:numa`: caches and memory on two of them.",
        show_default=False,
    ),
]
CostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cost",
        metavar="NAME=NUMBER",
        help="With `sim`: a constant of the machine, as `sim list` shows them. Repeatable.",
        show_default=False,
    ),
]
MachineOption = Annotated[
    str | None,
    typer.Option(
        "--machine",
        metavar="FILE|here",
        help="With `sim`: the constants that `sim calibrate` fitted; `here`: to this machine. "
        "Default: those of `sim list`.",
        show_default=False,
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="With a URL: the file that holds the token for it. Default: the variable SCHEDTUNA_TOKEN.",
        show_default=False,
    ),
]
ParserOption = Annotated[
    str,
    typer.Option(
        "--parser",
        help="Parser of the output, or module:NAME of your own. Default: chosen by COMMAND's name.",
        show_default=False,
    ),
]
AggregateOption = Annotated[
    bool, typer.Option("--aggregate", help="Count in the kernel: histograms per task instead of events.")
]
ProcfsOption = Annotated[
    bool, typer.Option("--procfs", help="Only sample /proc: needs no privileges, sees no decisions.")
]
