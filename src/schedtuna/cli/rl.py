"""`schedtuna rl`: train policies in simulated machines, and say what they are worth."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import termination_interrupts
from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json
from schedtuna.cli.rl_export import export
from schedtuna.cli.rl_options import LivePlaceOptions, SetOption, set_parameters
from schedtuna.cli.table import described, number, table, wrapped
from schedtuna.errors import UsageError

if TYPE_CHECKING:
    from schedtuna.rl.comparing import Contestant
    from schedtuna.rl.training import Progress, Trained, TrainingPlan

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Train policies in simulated machines, and judge them."
)

app.command()(export)

_DEFAULT = "ppo"
_EpisodesOption = Annotated[
    int, typer.Option("--episodes", min=1, max=100_000, help="How many episodes, over all loads.")
]


@app.command()
@bundled
def train(  # noqa: PLR0917 - typer's options are a function's parameters
    where: LivePlaceOptions,
    environment: Annotated[
        str | None,
        typer.Argument(
            metavar="ENV", help="One of `rl list`, or what Gymnasium has: [MODULE:]ID.", show_default=False
        ),
    ] = None,
    algorithm: Annotated[
        str, typer.Option("--algorithm", metavar="NAME", help="One of `rl list`, or module:Class.")
    ] = _DEFAULT,
    steps: Annotated[int, typer.Option("--steps", help="How many decisions in all.")] = 200_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything that is drawn.")] = 1,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where all of it goes.", show_default=False),
    ] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option(
            "--workload",
            metavar="LOAD",
            help="Train on this load, as `sim run` takes it. Repeatable. Default: members of four families.",
            show_default=False,
        ),
    ] = None,
    validate: Annotated[
        list[str] | None,
        typer.Option(
            "--validate", metavar="LOAD", help="Choose by this load. Repeatable.", show_default=False
        ),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            "--test",
            metavar="LOAD",
            help="Judge the chosen one by this load, once, at the end. Repeatable.",
            show_default=False,
        ),
    ] = None,
    warm_start: Annotated[
        str,
        typer.Option(
            "--warm-start",
            metavar="SCHEDULER|MODEL",
            help="Imitate this first: a scheduler that `rl list` shows for ENV, a policy, or a "
            "model of `train`.",
            show_default=False,
        ),
    ] = "",
    parameters: SetOption = None,
    patience: Annotated[
        int,
        typer.Option(
            "--patience", min=0, metavar="N", help="End after N validations without a better one; 0: don't."
        ),
    ] = 0,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            "--tensorboard",
            metavar="DIR",
            help="Write event files for TensorBoard there.",
            show_default=False,
        ),
    ] = None,
    ray: Annotated[
        str,
        typer.Option(
            "--ray",
            metavar="ADDRESS|local",
            help="Train with Ray's RLlib (ppo, impala, appo) on the cluster at ADDRESS, or on one made here.",
            show_default=False,
        ),
    ] = "",
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="DIR",
            help="In place of all else: go on with the training in DIR, killed or interrupted.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a policy, and write it to DIR/model.safetensors.

    The policy that validates best is kept. A training that was killed goes on with --resume, and comes to the
    same policy as if it had not been.
    """
    _require_extra()
    if resume is not None:
        if environment is not None or output is not None:
            raise UsageError("--resume takes everything from its folder", hint="leave ENV and -o out")
        _show_trained(_trained(None, resume, ray), as_json=as_json)
        return
    if environment is None or output is None:
        lacking = "ENV" if environment is None else "--output"
        raise UsageError(
            f"{lacking} is missing", hint="schedtuna rl train schedtuna/PickNext-v0 --steps 200000 -o DIR"
        )
    from schedtuna.rl.learners import ray_algorithm
    from schedtuna.rl.loads import splits_for
    from schedtuna.rl.training import make_plan

    plan = make_plan(
        environment=environment,
        parameters=set_parameters(parameters) | where.parameters(environment),
        algorithm=ray_algorithm(algorithm) if ray else algorithm,
        steps=steps,
        seed=seed,
        splits=splits_for(environment, workload or [], validate or [], test or []),
        warm_start=warm_start,
        patience=patience,
        tensorboard="" if tensorboard is None else str(tensorboard.absolute()),
    )
    _show_trained(_trained(plan, output, ray), as_json=as_json)


@app.command("eval")
@bundled
def evaluate(  # noqa: PLR0917 - typer's options are a function's parameters
    where: LivePlaceOptions,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A policy's file, the folder of its training, or one that comes along: `pretrained`.",
            show_default=False,
        ),
    ],
    workload: Annotated[
        list[str] | None,
        typer.Option(
            "--workload",
            metavar="LOAD",
            help="Repeatable. Default: the loads that it was validated on.",
            show_default=False,
        ),
    ] = None,
    parameters: SetOption = None,
    episodes: _EpisodesOption = 16,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the episodes.")] = 1,
    alone: Annotated[
        bool,
        typer.Option(
            "--alone", help="Of a policy of settings: without LinUCB and the best setting that never changes."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a policy is, and what it reaches, load by load."""
    _require_extra()
    from schedtuna.rl.evaluation import evaluate, mean_score
    from schedtuna.rl.pretrained import find_policy
    from schedtuna.rl.rivals import RIVALS, rival_named
    from schedtuna.rl.world import World

    policy = find_policy(model)
    manifest = policy.manifest
    asked = set_parameters(parameters) | where.parameters(manifest.fit.environment)
    world = World(manifest.fit.environment, manifest.parameters | asked)
    policy.require_fit(world.fit())
    judged_on = workload or manifest.splits.validation
    played = evaluate(policy, world, judged_on, seed=seed, episodes=episodes)
    beside = {}
    for name in RIVALS if world.has_points and not alone else ():
        rival = rival_named(name, world, manifest)
        beside[name] = mean_score(evaluate(rival, world.discrete, judged_on, seed=seed, episodes=episodes))
    loads = list(dict.fromkeys(episode.load for episode in played))
    rows = {load: [episode for episode in played if episode.load == load] for load in loads}
    if as_json:
        print_json(
            {
                "manifest": manifest.model_dump(mode="json"),
                "score": mean_score(played),
                "nr_ended": sum(episode.has_ended for episode in played),
                "loads": {load: [episode.score for episode in each] for load, each in rows.items()},
                "beside": beside,
            }
        )
        return
    print(wrapped(_told_manifest(manifest)))
    body = [
        [load or "its own load", str(len(each)), number(mean_score(each), digits=5)]
        for load, each in rows.items()
    ]
    print(
        table(
            ["load", "episodes", "score"],
            [
                *body,
                ["all", str(len(played)), number(mean_score(played), digits=5)],
                *(
                    [f"all, {name}", str(len(played)), number(score, digits=5)]
                    for name, score in beside.items()
                ),
            ],
        )
    )
    if nr_ended := sum(episode.has_ended for episode in played):
        print(f"All tasks had ended in {nr_ended} of {len(played)} episodes; the others were cut off.")


@app.command()
@bundled
def compare(  # noqa: PLR0917 - typer's options are a function's parameters
    where: LivePlaceOptions,
    policies: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL|SCHEDULER...",
            help="Policies, and schedulers of `rl list`; of settings also fixed:N, best-fixed and linucb. "
            "Others are compared with the first.",
            show_default=False,
        ),
    ],
    workload: Annotated[
        list[str] | None,
        typer.Option(
            "--workload",
            metavar="LOAD",
            help="Repeatable. Default: the loads that the first policy was validated on.",
            show_default=False,
        ),
    ] = None,
    parameters: SetOption = None,
    episodes: _EpisodesOption = 32,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the episodes.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Which policy is better in the same episodes?"""
    _require_extra()
    from schedtuna.rl.comparing import compare

    asked = set_parameters(parameters) | where.parameters()
    found = compare(policies, workload or [], asked, seed=seed, episodes=episodes)
    if as_json:
        print_json({"episodes": found.nr_episodes, "sides": [side.__dict__ for side in found.sides]})
        return
    rows = [[side.name, number(side.score, digits=5), _interval(side), side.verdict] for side in found.sides]
    print(table(["policy", "score", "difference [95%]", "verdict"], rows))
    print(wrapped(f"{found.nr_episodes} episodes, the same for all; a higher score is better."))


@app.command("list")
def list_all(as_json: JsonOption = False) -> None:
    """Show algorithms, environments, and who can be imitated in them."""
    _require_extra()
    from schedtuna.rl.learners import ALGORITHMS
    from schedtuna.rl.pretrained import PRETRAINED
    from schedtuna.rl.world import World, environments

    algorithms = {name: entry.summary for name, entry in ALGORITHMS.items()}
    worlds = {name: World(name).experts() for name in environments()}
    if as_json:
        print_json({"algorithms": algorithms, "environments": worlds, "policies": dict(PRETRAINED)})
        return
    print(described(["algorithm", "what it is"], [list(row) for row in algorithms.items()]), end="\n\n")
    rows = [[name, ", ".join(experts) or "a policy only"] for name, experts in worlds.items()]
    print(described(["environment", "can imitate"], rows), end="\n\n")
    print(described(["policy that comes along", "decides"], [list(row) for row in PRETRAINED.items()]))


def _interval(side: Contestant) -> str:
    if side.difference is None or side.low is None or side.high is None:
        return ""
    difference, low, high = (number(value, digits=4) for value in (side.difference, side.low, side.high))
    return f"{difference} [{low}, {high}]"


def _require_extra() -> None:
    from schedtuna.rl import require_extra

    require_extra()


def _trained(plan: TrainingPlan | None, folder: Path, ray: str) -> Trained:
    """Train by a plan, or go on without one, behind a bar."""
    from schedtuna.cli.progress import RunProgress
    from schedtuna.rl.ray_cluster import connected
    from schedtuna.rl.training import resume, train

    with (
        termination_interrupts(),
        RunProgress("training", None, unit="decisions") as bar,
        connected(ray) if ray else nullcontext(),
    ):

        def tell(progress: Progress) -> None:
            bar.update(progress.done, progress.total, note=progress.note, title=progress.title)

        try:
            return resume(folder, tell) if plan is None else train(plan, folder, tell)
        except KeyboardInterrupt:
            bar.say(f"interrupted; continue with: schedtuna rl train --resume {folder}")
            raise typer.Exit(130) from None


def _show_trained(trained: Trained, *, as_json: bool) -> None:
    from schedtuna.rl.world import World

    manifest = trained.policy.manifest
    if as_json:
        print_json(
            {
                "folder": str(trained.folder),
                "model": str(trained.folder / "model.safetensors"),
                "manifest": manifest.model_dump(mode="json"),
                "curve": [point.model_dump() for point in trained.curve],
                "ended_early": trained.ended_early,
            }
        )
        return
    rows = [
        [f"{point.nr_steps:,}", number(point.score, digits=5), number(point.cpu_seconds, digits=3)]
        for point in trained.curve
    ]
    print(table(["decisions", "validation score", "CPU s"], rows), end="\n\n")
    print(wrapped(_told_manifest(manifest)))
    if manifest.test is not None:
        print(wrapped(f"On the loads that were kept back it scores {number(manifest.test, digits=5)}."))
    if trained.ended_early:
        print("It ended early: validations had stopped to improve.")
    print(wrapped(f"The policy is in {trained.folder}: schedtuna rl eval reads it."))
    if experts := World(manifest.fit.environment).experts():
        sides = [str(trained.folder), *(name for name in ("fair", "las", "srtf") if name in experts)]
        print(f"Is it better than plain rules? schedtuna rl compare {shlex.join(sides)}")


def _told_manifest(manifest: Any) -> str:
    start = f", after imitating {manifest.warm_start}" if manifest.warm_start else ""
    return (
        f"{manifest.algorithm} for {manifest.fit.environment}, seed {manifest.seed}: "
        f"best after {manifest.nr_steps:,} decisions, "
        f"{number(manifest.cpu_seconds, digits=3)} s of CPU time{start}"
    )
