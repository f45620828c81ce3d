"""`schedtuna agent`: a running machine is watched and tuned, within limits, and always put back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.agent_evaluate import evaluate
from schedtuna.cli.agent_learn import learn, versions
from schedtuna.cli.agent_profiles import power_profiles
from schedtuna.cli.agent_swap import quarantine, require_part, swapping, tell_why_swap
from schedtuna.cli.agent_watch import HistoryOption, advise, metrics, monitoring, page, read_history
from schedtuna.cli.options import CommandArgument, JsonOption, SeedOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.errors import UsageError
from schedtuna.printable import printable

if TYPE_CHECKING:
    from schedtuna.agent.config import AgentConfig
    from schedtuna.agent.contract import AgentGuard, AgentPolicy, Need
    from schedtuna.agent.loop import LoopOptions

app = typer.Typer(add_completion=False, no_args_is_help=True)
app.command()(advise)
app.command()(metrics)
app.command()(monitoring)
app.command()(page)
app.command()(evaluate)
app.command()(learn)
app.command()(versions)
app.command(name="power-profiles")(power_profiles)
app.command()(quarantine)

_ONLY = ("cgroup", "unit", "pid")
ConfigOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Read this file instead of /etc/schedtuna/agent.toml and agent.conf.d. Repeatable.",
    ),
]


@app.command()
def run(  # noqa: PLR0917 - typer's options are a function's parameters
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            metavar="NAME[:FILE]",
            help="What decides: rules, priority, affinity, migrate, params:FILE, swap[:FILE] or "
            "module:Class.  [default: rules]",
            show_default=False,
        ),
    ] = None,
    interval: Annotated[
        str | None,
        typer.Option("--interval", metavar="TIME", help="Of the loop.  [default: 1s]", show_default=False),
    ] = None,
    advise: Annotated[
        bool, typer.Option("--advise", help="Change nothing: say what would be changed, and why.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="KIND=NAME",
            help="Change nothing else: cgroup=PATH, unit=NAME or pid=PID. Repeatable.",
        ),
    ] = None,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Stop after this time.", show_default=False)
    ] = None,
    slo: Annotated[
        list[str] | None,
        typer.Option(
            "--slo",
            metavar="NAME<=LIMIT",
            help="What has to hold: a metric of this machine, or NAME<=LIMIT=cmd:COMMAND. Repeatable.",
        ),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            "--arm",
            metavar="SCHEDULER",
            help="Of the policy swap: a scheduler beside the default: NAME[:param=value,...]. Repeatable.",
        ),
    ] = None,
    history: HistoryOption = None,
    no_guard: Annotated[
        bool, typer.Option("--no-guard", help="Do not prove the effect by windows without the changes.")
    ] = False,
    seed: SeedOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tune what runs, until Ctrl-C; then put everything back.

    What it does is told on stderr. Where it is killed, another program puts everything back.
    """
    from schedtuna.agent.guard.slo import parse_objectives
    from schedtuna.agent.running import AgentRun, run_agent
    from schedtuna.cli.common import parse_positive_duration

    def asked(profile: str = "balanced") -> tuple[AgentPolicy, LoopOptions, AgentConfig]:
        found = _asked(policy, interval, advise, only or (), config, profile)
        return found if not arm else (swapping(policy, arm, seed), *found[1:])

    decides, options, settings = asked()
    if only:
        require_part(decides)
    done = run_agent(
        AgentRun(
            decides,
            options,
            guard=_guard(decides, seed) if settings.guard and not (no_guard or options.advise) else None,
            objectives=tuple(parse_objectives(slo or settings.slo)),
            proofs=read_history(history or [Path(name) for name in settings.history], settings.proof_days),
            for_s=None if for_ is None else parse_positive_duration(for_, option="--for"),
            log_bytes=settings.log_mb << 20,
            reload=lambda: asked()[:2],
            under=lambda profile: asked(profile)[:2],
            may_need=_needed_by_profiles(settings),
        ),
        tell=lambda text: print_remark("agent", text, file=sys.stderr),
    )
    if as_json:
        print_json({**vars(done), "log": str(done.log)})
    else:
        _print_summary(done, advise=options.advise)
    if done.not_put_back:
        raise typer.Exit(1)


def _asked(  # noqa: PLR0917 - options, in their order
    policy: str | None,
    interval: str | None,
    advise: bool,
    only: Sequence[str],
    files: Sequence[Path] | None,
    profile: str,
) -> tuple[AgentPolicy, LoopOptions, AgentConfig]:
    """What the command line and, below it, files say; a power profile's policy counts before both."""
    from dataclasses import replace

    from schedtuna.agent.config import config_files, load_agent_config
    from schedtuna.agent.policies.registry import make_policy
    from schedtuna.cli.common import parse_positive_duration

    settings = load_agent_config(list(files) if files else config_files())
    under = settings.under(profile)
    options = under.options()
    if interval is not None:
        seconds = parse_positive_duration(interval, option="--interval")
        if not 0.1 <= seconds <= 60:
            raise UsageError(f"--interval {interval}: expected 0.1s to 60s")
        options = replace(options, interval_s=seconds)
    limits = _limited(options.limits, only)
    options = replace(options, advise=advise or options.advise, limits=limits)
    if under.policy == settings.policy:
        return make_policy(policy or settings.policy), options, settings
    return make_policy(under.policy), options, settings


def _needed_by_profiles(settings: AgentConfig) -> frozenset[Need]:
    """What the policies of configured power profiles need; those that ship need threads alone."""
    from schedtuna.agent.contract import Need
    from schedtuna.agent.policies.registry import make_policy

    named = [table.policy for table in settings.profiles.values() if table.policy]
    return frozenset({Need.TASKS}).union(*(make_policy(name).needs for name in named))


def _guard(policy: AgentPolicy, seed: int | None) -> AgentGuard:
    """What watches a policy; the seed draws when its changes are in force."""
    from schedtuna.agent.contract import Need

    if Need.SWAPS in policy.needs:  # windows without its changes would be swaps of their own
        from schedtuna.agent.swap.breaker import SwapGuard

        return SwapGuard(policy.needs)
    import numpy as np

    from schedtuna.agent.guard.guard import ExperimentGuard

    return ExperimentGuard(np.random.default_rng(seed), needs=policy.needs)


def _limited(limits: Any, only: Sequence[str]) -> Any:
    """Limits that leave out all that is not named."""
    from dataclasses import replace

    from schedtuna.agent.acting import group_folder
    from schedtuna.cli.common import require_process
    from schedtuna.knobs.services import unit_group
    from schedtuna.machine.tasks import descendants, thread_group

    groups, tgids = list(limits.cgroups), set(limits.tgids)
    for text in only:
        kind, _, name = text.partition("=")
        if kind not in _ONLY or not name:
            raise UsageError(f"--only {text}: expected cgroup=PATH, unit=NAME or pid=PID")
        if kind == "pid":
            if not (name.isascii() and name.isdecimal()):
                raise UsageError(f"--only {text}: expected a number")
            require_process(int(name))
            tgids |= {thread_group(tid) or tid for tid in descendants(int(name))}
            continue
        root = group_folder("/")
        folder = unit_group(name) if kind == "unit" else group_folder(name.removeprefix(str(root)))
        if not folder.is_dir():
            raise UsageError(f"there is no control group {folder}", hint="see /proc/PID/cgroup")
        groups.append("/" + str(folder.relative_to(root)).removeprefix("."))
    return replace(limits, cgroups=tuple(groups), tgids=frozenset(tgids))


def _print_summary(done: Any, *, advise: bool) -> None:
    counts = done.counts
    if advise:
        for line in done.advice[:3]:
            print(printable(line))
        if not done.advice:
            print("nothing to advise: the policy found nothing that it would change")
    else:
        print(
            f"made {counts['made']} changes, put {counts['undone']} back, yielded {counts['yielded']}; "
            f"refused {counts['refused']}, failed {counts['failed']}, rolled back {counts['rollbacks']} times"
        )
    share = 100 * counts["cpu_s"] / max(done.seconds, 1e-9)
    print(f"{counts['intervals']} intervals in {done.seconds:.0f} s took {share:.2f}% of one CPU")
    print(printable(f"log: {done.log} ({done.mb_per_h:.2f} MB/h); `schedtuna agent log` shows it"))
    if done.rows_lost:
        print_remark("warning", f"{done.rows_lost} rows could not be written to the log: is the disk full?")
    if chosen := done.decisions:
        print(
            f"decisions: {chosen['seen']} among arms, {chosen['kept']} of them logged "
            f"({chosen['mb_per_h']:.2f} MB/h); `schedtuna agent evaluate` judges by them"
        )
    for line in done.not_put_back:
        print_remark("could not put back", line)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Say what the agent does now, and what is in force."""
    from schedtuna.agent.control import ask_agent

    said = ask_agent("status")
    if as_json:
        print_json(said)
        return
    kind = "advises only" if said["advise"] else f"{len(said['standing'])} changes in force"
    print(printable(f"process {said['pid']}: {said['policy']}, each {said['interval_s']:.2g} s, {kind}"))
    print(printable(f"scheduler {said['scheduler']}, {said['nr_threads']} threads"))
    if said["stopped"]:
        print(printable(f"stopped: {said['stopped']}; `schedtuna agent resume` lets it go on"))
    for name, why in said["unknown"].items():
        print(printable(f"unknown: {name}: {why}"))
    for name in said["managers"]:
        print(printable(f"{name} runs: what it sets is only advised"))
    for one in said["standing"]:
        print(
            printable(
                f"{one['id']}  {one['setting']} of {one['what']}: {one['found']} -> {one['value']}, "
                f"for {one['since_s']:.0f} s: {one['reason']}"
            )
        )
    for line in said["advice"]:
        print(printable(line))


@app.command()
def resume() -> None:
    """Go on after a guard has put all back."""
    from schedtuna.agent.control import ask_agent

    ask_agent("resume")
    print("it goes on")


@app.command()
def why(
    what: Annotated[
        str,
        typer.Argument(
            metavar="PID|ID|swap", help="A process, a thread, the id of a change, or swap: the scheduler."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Say what was decided, why, and what it gained.

    About a thread or the scheduler, on which numbers.
    """
    if what == "swap":
        tell_why_swap(as_json=as_json)
        return
    from schedtuna.agent.explaining import explain

    found = explain(what)
    if as_json:
        print_json({"rows": found.rows, "now": found.now, "effects": found.effects, "trials": found.trials})
        return
    for line in found.lines():
        print(printable(line))


@app.command()
def log(  # noqa: PLR0917 - typer's options are a function's parameters
    last: Annotated[int, typer.Option("--last", min=1, help="How many rows.")] = 20,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Only rows of this kind.", show_default=False)
    ] = None,
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="Print one JSON object per row, with all that it has.")
    ] = False,
    decisions: Annotated[
        bool, typer.Option("--decisions", help="Show choices among arms, and what came of them.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Write all of those as a trace, in Parquet.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Show what the agent has logged."""
    from collections import deque

    from schedtuna.agent.decisions.log import read_decision_rows
    from schedtuna.agent.explaining import tell_row
    from schedtuna.agent.log import read_log

    if out is not None:
        from schedtuna.agent.decisions.table import write_decision_table

        count = write_decision_table(read_decision_rows(), out, force=force)
        print_remark("written", f"{out}: {count} decisions")
        return
    logged = read_decision_rows() if decisions else read_log()
    rows = deque((row for row in logged if kind in (None, row.get("kind"))), maxlen=last)
    for row in rows:
        if json_lines:
            print_json(row)
        else:
            print(printable(tell_row(row)))
    if not rows and not json_lines:
        print("nothing is logged")


@app.command()
def hold(
    settings: Annotated[
        str,
        typer.Argument(
            metavar="SETTINGS",
            help="Such as nice=5,slice_us=3000, or what `apply` takes.",
            show_default=False,
        ),
    ],
    command: CommandArgument,
) -> None:
    """Keep settings in force while COMMAND lives, and no longer.

    Settings of threads and groups are for COMMAND and what it starts, others for the whole machine. Exits as
    COMMAND does. They go when it ends or crashes, and where this program is killed, too.
    """
    from schedtuna.agent.holding import hold as hold_settings
    from schedtuna.backend.places.host import Host
    from schedtuna.cli.common import termination_interrupts
    from schedtuna.tune.apply import require_trusted_settings

    named = settings if ":" in settings or "=" not in settings else f"fair:{settings}"
    place = Host.of(None, None, None, None, force=False)
    chosen = place.scheduler(named, stated=False)
    require_trusted_settings(named, chosen, command, trusted=False)
    with termination_interrupts():
        code = hold_settings(
            chosen, command, warn=lambda text: print_remark("warning", text, file=sys.stderr)
        )
    raise typer.Exit(code)


@app.command()
def install(
    print_unit: Annotated[bool, typer.Option("--print", help="Print the unit, and install nothing.")] = False,
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="The root folder of another system's files.")
    ] = Path("/"),
) -> None:
    """Run the agent as a service of systemd, at every boot."""
    from schedtuna.agent.install import agent_unit, install_agent, own_program
    from schedtuna.knobs.journal import Journal
    from schedtuna.knobs.unit import AGENT_UNIT, systemd_runs

    if print_unit:
        print(agent_unit(own_program()), end="")
        return
    path = install_agent(Journal(), root=root)
    print(printable(f"{path}: written; `schedtuna undo` removes it"))
    if root != Path("/"):
        print(printable(f"enable it: systemctl --root={root} enable {AGENT_UNIT}"))
    elif not systemd_runs():
        print(f"systemd does not run here: where it does, `systemctl enable --now {AGENT_UNIT}` starts it")


@app.command(name="check-config")
def check_config(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Read the configuration, and show what it amounts to."""
    from schedtuna.agent.config import config_files, load_agent_config

    files = list(config) if config else config_files()
    settings = load_agent_config(files)
    values = settings.model_dump(mode="json")
    if as_json:
        print_json({"files": [str(path) for path in files], "config": values})
        return
    for path in files:
        print(printable(f"{path}: ok"))
    if not files:
        print("no file: the defaults hold")
    for name, value in values.items():
        print(printable(f"{name} = {value}"))
