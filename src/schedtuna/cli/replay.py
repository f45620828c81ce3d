"""`schedtuna replay`: what past studies say together, and an agent trained on them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import listed
from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark, refuse_existing
from schedtuna.printable import percent_change, printable

if TYPE_CHECKING:
    from schedtuna.history.replay import ScoredStudy

app = typer.Typer(add_completion=False)

DEFAULT_COMBINATIONS = 5


@dataclass(frozen=True)
class StudiesOptions:
    """Which runs are looked at, and what they are scored by."""

    patterns: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATTERN...]", help="As --experiment-patterns.", show_default=False),
    ] = None
    results: Annotated[
        Path,
        typer.Option("--results", "--results-dir", metavar="DIR", help="One study, or a folder of studies."),
    ] = Path("results")
    experiment_patterns: Annotated[
        list[str] | None,
        typer.Option(
            "--experiment-patterns",
            metavar="PATTERN",
            help="Only studies whose folder has such a name: 'fair_ppo_*'. Repeatable.",
            show_default=False,
        ),
    ] = None
    max_episodes: Annotated[
        int | None,
        typer.Option(
            "--max-episodes-per-exp",
            min=1,
            help="Use only the first runs of each search.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True)
class LookOptions:
    """What is said of them."""

    statistics: Annotated[
        bool, typer.Option("--statistics", help="Describe each study's runs and rewards.")
    ] = False
    combinations: Annotated[
        int | None,
        typer.Option(
            "--param-combinations", min=1, metavar="N", help="Show the N best settings.", show_default=False
        ),
    ] = None
    recalculate: Annotated[
        list[str] | None,
        typer.Option(
            "--recalculate",
            metavar="NAME[:min|max][*WEIGHT]",
            help="Score the runs by this metric, which they logged, instead of their own. Repeatable.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True)
class AgentOptions:
    """The agent that is trained on them."""

    pretrain_agent: Annotated[
        Path | None,
        typer.Option(
            "--pretrain-agent",
            metavar="OUT.pt",
            help="Train an agent on the runs, and write a checkpoint for `tune --pretrained-model`.",
            show_default=False,
        ),
    ] = None
    algorithm: Annotated[
        str, typer.Option("--algorithm", "--sampler", metavar="NAME", help="The agent's algorithm.")
    ] = "ppo"
    epochs: Annotated[
        int, typer.Option("--pretrain-epochs", min=1, help="How many times to train on all runs.")
    ] = 50
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="The agent's learning rate.", show_default=False)
    ] = None
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the agent's initial weights.")] = 0
    force: Annotated[bool, typer.Option("--force", help="Replace OUT.pt if it exists.")] = False


@app.command()
@bundled
def replay(runs: StudiesOptions, look: LookOptions, agent: AgentOptions, as_json: JsonOption = False) -> None:
    """Put the runs of past studies side by side: statistics, best settings, other rewards, pre-training.

    Rewards are minus the log ratio to each study's own default, so studies of different speed compare.
    They are a search's numbers, steered and noisy: no claim. Without options: statistics and the best
    settings.
    """
    from schedtuna.history.replay import combinations, rescored_statistics, score, statistics
    from schedtuna.history.studies import find_studies

    patterns = [*listed(runs.experiment_patterns), *listed(runs.patterns)]
    studies, unusable = find_studies([runs.results], patterns)
    scored, unscored = score(studies, metrics=listed(look.recalculate), max_episodes=runs.max_episodes)
    unusable |= unscored
    by_default = not (look.statistics or look.combinations or agent.pretrain_agent)
    result: dict[str, Any] = {}
    if look.recalculate:
        result["studies"] = rescored_statistics(scored, max_episodes=runs.max_episodes)
    elif look.statistics or by_default:
        result["studies"] = [statistics(one) for one in scored]
    if nr_combinations := look.combinations or by_default * DEFAULT_COMBINATIONS:
        result["combinations"] = combinations(scored, nr_combinations)
    if agent.pretrain_agent is not None:
        result["pretrained"] = _pretrain(scored, agent.pretrain_agent, agent)
    result["skipped"] = {str(folder): reason for folder, reason in unusable.items()}
    for reason in unusable.values():
        print_remark("skipped", reason, file=sys.stderr)
    if as_json:
        print_json(result)
    else:
        _print(result)


def _pretrain(scored: Sequence[ScoredStudy], path: Path, asked: AgentOptions) -> dict[str, Any]:
    from schedtuna.history.replay import pretrain_agent
    from schedtuna.tune.options import sampler_options

    options, _ = sampler_options(asked.algorithm, {"learning_rate": asked.learning_rate})
    refuse_existing(path, force=asked.force)
    return pretrain_agent(
        scored, path, algorithm=asked.algorithm, epochs=asked.epochs, seed=asked.seed, options=options
    )


# ---- for people ---------------------------------------------------------------------------------


def _print(result: Mapping[str, Any]) -> None:
    if "studies" in result:
        _print_statistics(result["studies"])
    for group in result.get("combinations", ()):
        _print_combinations(group)
    if "pretrained" in result:
        trained = result["pretrained"]
        print(
            f"trained {trained['algorithm']} on {trained['runs']} runs, {trained['epochs']} times over\n"
            f"start from it: schedtuna tune --algorithm {trained['algorithm']} "
            f"--pretrained-model {shlex.quote(trained['checkpoint'])} -- COMMAND"
        )


def _print_statistics(rows: Sequence[Mapping[str, Any]]) -> None:
    from schedtuna.cli.table import number, table

    again = "rank_correlation_with_own_reward"
    extra = ["agrees with its own"] if rows and again in rows[0] else []
    headings = ["study", "runs", "ok", "settings", "mean reward", "sd", "best single", "noise", "verdict"]
    lines = []
    for row in rows:
        reward, rate = row["reward"], row["success_rate"]
        lines.append(
            [
                Path(row["study"]).name,
                str(row["episodes"]),
                "-" if rate is None else f"{rate:.0%}",
                str(row["distinct"]),
                *(number(reward[name]) for name in ("mean", "sd", "max")),
                number(row["noise_sd"]),
                (row["verdict"] or "-").replace("_", " "),
                *([number(row[again])] if extra else []),
            ]
        )
    print(table([*headings, *extra], lines))
    print(
        "reward: minus the log ratio to the study's default, 0.05 is about 5% better; noise: its sd there\n"
    )


def _print_combinations(group: Mapping[str, Any]) -> None:
    from schedtuna.cli.table import table
    from schedtuna.space import spell_assignment

    workload = group["workload"].replace("\n", " ")
    nr_studies = len(group["studies"])
    of = f"{nr_studies} studies" if nr_studies > 1 else "1 study"
    print(printable(f"{group['scheduler']} on {workload[:80]}, {group['metrics']}, {of}"))
    lines = []
    for row in group["best"]:
        low, high = row["change_95"]
        settings = "default" if row["default"] else spell_assignment(row["parameters"])
        lines.append(
            [
                settings,
                str(row["runs"]),
                str(row["failed"]),
                percent_change(1 + row["change"]),
                f"{percent_change(1 + low)} to {percent_change(1 + high)}",
            ]
        )
    print(table(["settings", "runs", "failed", "cost", "95%"], lines))
    print("cost over the default's, less is better; shrunken, but no claim: `schedtuna compare` makes one\n")
