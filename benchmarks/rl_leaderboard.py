"""Does a learned policy beat the best blind rule? A row per algorithm, environment, decision cost and seed.

    OMP_NUM_THREADS=1 python benchmarks/rl_leaderboard.py --quick
    OMP_NUM_THREADS=1 python benchmarks/rl_leaderboard.py

    SCHEDTUNA_SCX_PATH=FOLDER python benchmarks/rl_leaderboard.py --schedulers scx_bpfland scx_flash

The second takes hours, and goes on where it was stopped: rows are added to
benchmarks/data/leaderboard.csv one by one, and docs/leaderboard.md is made of them. Costs are integrals
over the episodes of the test loads, divided by what EEVDF comes to under the same arrivals: `turnaround`
of the number of tasks that run or wait, `latency` of the number that wait, long waits more. Rules decide
at no cost. The third adds rows of sched_ext schedulers' own objects, whose code costs nothing there either.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from schedtuna.files import write_output
from schedtuna.rl.evaluation import Decider, evaluate
from schedtuna.rl.loads import splits_for
from schedtuna.rl.scores import LEAST_SEEDS, interquartile_mean, judge
from schedtuna.rl.training import TEST_SEED, VALIDATION_SEED, make_plan, train
from schedtuna.rl.world import World
from schedtuna.sim.objects import found_objects, object_facts
from schedtuna.sim.topology import MachineShape

ROOT = Path(__file__).parents[1]
ROWS, PAGE = ROOT / "benchmarks/data/leaderboard.csv", ROOT / "docs/leaderboard.md"
ENVIRONMENT = "schedtuna/PickNext-v0"
PARAMETERS: dict[str, Any] = {"cpus": 1, "episode_ms": 250, "reward": {"turnaround": 1}}
BLIND = ["fifo", "las", "mlfq", *(f"fair:base_slice_us={slice_us}" for slice_us in (700, 3000, 12000))]
SEEING = ["srtf", "gittins"]
SCX, OWN_VALUES = "scx_", " (own values)"
ARMS = {  # name -> algorithm, whom it imitates first
    "imitation of LAS": ("imitation", "las"),
    "PPO": ("maskable_ppo", ""),
    "PPO after LAS": ("maskable_ppo", "las"),
    "REINFORCE": ("reinforce", ""),
    "REINFORCE after LAS": ("reinforce", "las"),
    "DQN": ("dqn", ""),
    "A2C": ("a2c", ""),
    "UCB": ("ucb", ""),
}
QUICK = ("imitation of LAS", "PPO after LAS", "REINFORCE after LAS", "UCB")
INTRODUCTION = f"""\
Does a learned policy beat the best blind rule? `python benchmarks/rl_leaderboard.py` measures, and
writes this page from [its rows](../benchmarks/data/leaderboard.csv).

Environment: `{ENVIRONMENT}`, one CPU, members of four families at load 0.9. Rules and policies meet the
same episodes, of members that none was trained on or chosen by. Costs are shares of EEVDF's, and lower
is better: *turnaround* is the integral of the number of tasks that run or wait, *latency* that of those
that wait, long waits more.

A policy **wins** only if the 95% bound of its interquartile mean over at least {LEAST_SEEDS} training
seeds is below the best blind rule's turnaround, and its latency at most 2% above. That rule is chosen on
validation loads. Rules decide at no cost, policies at the one that is given."""
DECISION_NS = (500, 0, 5_000, 50_000)  # the default first
STEPS, QUICK_STEPS, QUICK_SEEDS = 65_536, 32_768, 3
EPISODES = 16


@dataclass(frozen=True)
class Row:
    """One policy on the test loads, or one rule; `validation` is the turnaround that it was chosen for."""

    arm: str
    environment: str
    decision_ns: int
    seed: int
    steps: int
    validation: float
    turnaround: float
    latency: float
    cpu_seconds: float

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes it another row."""
        return self.arm, self.environment, self.decision_ns, self.seed, self.steps


def costs(decider: Decider | str, world: World, split: str) -> tuple[float, float]:
    """Return mean turnaround and latency over a split's episodes, each over EEVDF's."""
    loads = getattr(splits_for(ENVIRONMENT, [], [], []), split)
    seed = TEST_SEED if split == "test" else VALIDATION_SEED
    terms = [e.info["terms"] for e in evaluate(decider, world, loads, seed=seed, episodes=EPISODES)]
    return float(np.mean([t["turnaround"] for t in terms])), float(np.mean([t["latency"] for t in terms]))


def rule_row(rule: str) -> Row:
    """Measure a rule, which decides at no cost."""
    began_s, world = time.process_time(), World(ENVIRONMENT, PARAMETERS)
    scheduler = rule.removesuffix(OWN_VALUES)
    validation, _ = costs(scheduler, world, "validation")
    turnaround, latency = costs(scheduler, world, "test")
    return Row(rule, ENVIRONMENT, 0, 0, 0, validation, turnaround, latency, time.process_time() - began_s)


def object_rule(scheduler: str) -> str:
    """What a sched_ext scheduler is called: its name, and whose values it begins with."""
    path = found_objects().get(scheduler)
    if path is None:
        raise SystemExit(f"there is no {scheduler}: known are {', '.join(sorted(found_objects()))}")
    settings = object_facts(path, MachineShape(1, PARAMETERS["cpus"]))["settings"]
    return f"{scheduler}{OWN_VALUES if settings is None else ''}"


def trained_row(arm: str, decision_ns: int, seed: int, steps: int) -> Row:
    """Train a policy, and measure it where a decision costs that."""
    algorithm, warm_start = ARMS[arm]
    parameters = PARAMETERS | {"decision_ns": decision_ns}
    splits = splits_for(ENVIRONMENT, [], [], []).model_copy(update={"test": []})
    plan = make_plan(
        environment=ENVIRONMENT,
        parameters=parameters,
        algorithm=algorithm,
        steps=steps,
        seed=seed,
        splits=splits,
        warm_start=warm_start,
    )
    with tempfile.TemporaryDirectory() as folder:
        found = train(plan, Path(folder) / "trained")
    world = World(ENVIRONMENT, parameters)
    validation, _ = costs(found.policy, world, "validation")
    turnaround, latency = costs(found.policy, world, "test")
    spent = found.curve[-1].cpu_seconds
    return Row(arm, ENVIRONMENT, decision_ns, seed, steps, validation, turnaround, latency, spent)


def read_rows(path: Path) -> list[Row]:
    """Return what was measured so far."""
    if not path.exists():
        return []
    kinds = {field.name: {"str": str, "int": int, "float": float}[str(field.type)] for field in fields(Row)}
    with path.open(newline="") as file:
        return [
            Row(**{name: kinds[name](text) for name, text in row.items()}) for row in csv.DictReader(file)
        ]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write all rows, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in asdict(row).items()})
    write_output(path, text.getvalue().encode())


def page(rows: Sequence[Row]) -> str:
    """Return docs/leaderboard.md."""
    rules = {row.arm: row for row in rows if row.arm not in ARMS}
    best = min((rules[name] for name in BLIND if name in rules), key=lambda row: row.validation)
    lines = [
        "# Leaderboard",
        *INTRODUCTION.splitlines(),
        "",
        "| rule | turnaround | latency | |",
        "|---|---|---|---|",
    ]
    for name in [*BLIND, *SEEING]:
        if name in rules:
            note = (
                "sees sizes"
                if name == "srtf"
                else "knows how sizes are distributed"
                if name in SEEING
                else ""
            )
            note = "**the best blind rule**" if name == best.arm else note
            lines.append(f"| `{name}` | {rules[name].turnaround:.3f} | {rules[name].latency:.3f} | {note} |")
    if objects := [row for row in rows if row.arm.startswith(SCX)]:
        lines += [
            "",
            "| sched_ext scheduler | turnaround | latency |",
            "|---|---|---|",
            *(f"| {row.arm} | {row.turnaround:.3f} | {row.latency:.3f} |" for row in objects),
            "",
            "These are their own objects in the modelled kernel, with what their loaders prepare on one CPU",
            "or, where that is said, the object's own values. They are measured, and not chosen from.",
        ]
    lines += [
        "",
        "| policy | decision, us | seeds | steps | CPU s | turnaround | latency | against the rule |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, int, int], list[Row]] = {}
    for row in rows:
        if row.arm in ARMS:
            groups.setdefault((row.arm, row.decision_ns, row.steps), []).append(row)
    order = list(ARMS)
    for (arm, decision_ns, steps), group in sorted(
        groups.items(), key=lambda one: (order.index(one[0][0]), one[0][1:])
    ):
        lines.append(
            f"| {arm} | {decision_ns / 1000:g} | {len(group)} | {steps:,} | "
            f"{np.mean([row.cpu_seconds for row in group]):.0f} | {told(group, 'turnaround')} | "
            f"{told(group, 'latency')} | {verdict(group, best)} |"
        )
    return "\n".join([*lines, "", conclusion(list(groups.values()), best), *left(list(groups)), ""])


def left(groups: Sequence[tuple[str, int, int]]) -> list[str]:
    """Say what nothing is known of."""
    known = {(arm, decision_ns) for arm, decision_ns, _ in groups}
    missing = [f"{arm} at {ns / 1000:g} us" for arm in ARMS for ns in DECISION_NS if (arm, ns) not in known]
    return [f"Not measured yet: {', '.join(missing)}."] if missing else []


def told(group: Sequence[Row], metric: str) -> str:
    """The interquartile mean of a metric with its interval, as far as there are seeds for one."""
    values = [getattr(row, metric) for row in group]
    if len(values) < 4:
        return f"{np.mean(values):.3f}"
    middle = interquartile_mean(values)
    return f"{middle.mean:.3f} [{middle.low:.3f}, {middle.high:.3f}]"


def verdict(group: Sequence[Row], best: Row) -> str:
    """What may be claimed."""
    if len(group) < LEAST_SEEDS:
        return f"no claim: {LEAST_SEEDS} seeds are needed"
    turnaround, latency = ([getattr(row, name) for row in group] for name in ("turnaround", "latency"))
    claim = judge(turnaround, best.turnaround, latency, best.latency)
    return f"**wins**: {claim.reason}" if claim.wins else claim.reason


def conclusion(groups: Sequence[Sequence[Row]], best: Row) -> str:
    """Say in a sentence whether training pays here."""
    winners = [group[0] for group in groups if verdict(group, best).startswith("**wins")]
    if winners:
        names = ", ".join(f"{row.arm} at {row.decision_ns / 1000:g} us" for row in winners)
        return f"Better than `{best.arm}`: {names}."
    told_so = f"No policy is shown to be better than `{best.arm}`: use that rule."
    if any(len(group) < LEAST_SEEDS for group in groups):
        told_so += (
            "\nFewer seeds than claims need are a first look, as `--quick` takes it, and prove nothing."
        )
    return told_so


def main() -> None:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="three seeds, fewer policies and steps, one cost"
    )
    parser.add_argument("--rows", type=Path, help="with --quick, by default: a temporary file")
    parser.add_argument("--page", type=Path, help="with --quick, by default: a temporary file")
    parser.add_argument("--arms", nargs="*", choices=ARMS, help="of these alone; the page has all rows")
    parser.add_argument(
        "--schedulers", nargs="+", default=[], metavar="scx_NAME", help="measure these, and train nothing"
    )
    parser.add_argument("--decision-us", nargs="*", type=float, help="these costs alone")
    parser.add_argument("--seeds", type=int, metavar="N", help=f"so many; claims need {LEAST_SEEDS}")
    parser.add_argument("--steps", type=int, metavar="N", help="decisions of a training")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        default = [Path(scratch) / path.name if options.quick else path for path in (ROWS, PAGE)]
        arms = tuple(options.arms or (QUICK if options.quick else ARMS))
        decisions = (500,) if options.quick else DECISION_NS
        if options.decision_us:
            decisions = tuple(round(1000 * cost_us) for cost_us in options.decision_us)
        rules = [*BLIND, *SEEING, *map(object_rule, options.schedulers)]
        if options.schedulers:
            arms = ()
        measure(
            options.rows or default[0],
            options.page or default[1],
            arms,
            decisions,
            rules=rules,
            seeds=options.seeds or (QUICK_SEEDS if options.quick else LEAST_SEEDS),
            steps=options.steps or (QUICK_STEPS if options.quick else STEPS),
        )


def measure(
    rows_path: Path,
    page_path: Path,
    arms: Sequence[str],
    decisions: Sequence[int],
    *,
    rules: Sequence[str],
    seeds: int,
    steps: int,
) -> None:
    """Measure what is missing of the rows, and write the page."""
    rows = read_rows(rows_path)
    known = {row.key for row in rows}
    began_s = time.monotonic()
    for rule in rules:
        if (rule, ENVIRONMENT, 0, 0, 0) not in known:
            rows.append(rule_row(rule))
            write_rows(rows_path, rows)
    wanted = [(a, d, s) for s in range(1, seeds + 1) for d in decisions for a in arms]
    for done, (arm, decision_ns, seed) in enumerate(wanted):
        if (arm, ENVIRONMENT, decision_ns, seed, steps) not in known:
            rows.append(trained_row(arm, decision_ns, seed, steps))
            write_rows(rows_path, rows)
        print(f"{done + 1}/{len(wanted)} {arm}, {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    write_output(page_path, page(read_rows(rows_path)).encode())
    told_rows = {"rows": len(rows), "seconds": round(time.monotonic() - began_s, 1)}
    print(json.dumps({"benchmark": "rl_leaderboard", "steps": steps, "seeds": seeds, **told_rows}))


if __name__ == "__main__":
    main()
