"""How is a policy trained, so that it can be killed at any time and be judged fairly?

A training is a row of stages. Each begins new episodes, with a seed of its own, learns, is validated, and
ends with a checkpoint; nothing else is carried from one to the next. So a training that was killed and
resumed gives the same policy, bit for bit, as one that was not. The policy that validates best is kept; test
loads are touched once, by that one, at the end.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from schedtuna import __version__
from schedtuna.configfile import parse_json
from schedtuna.errors import PolicyError, UsageError
from schedtuna.files import make_folder, open_for_writing, write_text
from schedtuna.files.versions import StoredFormat
from schedtuna.rl.evaluation import evaluate, mean_score
from schedtuna.rl.imitation import EPOCHS, MOST_SHOWN, SHARE, make_expert
from schedtuna.rl.learner import tensorboard_writer
from schedtuna.rl.learners import Learner, learner_class, require_actions
from schedtuna.rl.policy import (
    FILE_NAME,
    PolicyFit,
    PolicyManifest,
    Splits,
    TrainedPolicy,
    load_policy,
    save_policy,
)
from schedtuna.rl.randomness import one_thread, seeded
from schedtuna.rl.tensors import Arrays, flatten, read_tensors, restore, write_tensors
from schedtuna.rl.world import World, action_masks
from schedtuna.workload.spec import derived_seed

STORED = StoredFormat(PolicyError)
PLAN, CHECKPOINT = "plan.json", "checkpoint.safetensors"
MOST_CHECKPOINT_BYTES = 2 << 30  # a DQN's replay buffer of wide observations
MOST_STAGES, LEAST_STAGE = 20, 4096  # decisions of a stage
LEAST_STEPS = 256
MOST_STEPS = 10**10
VALIDATION_SEED, TEST_SEED = 1, 2  # the same for every training: all policies meet the same arrivals
PACKAGES = ("gymnasium", "numpy", "sb3-contrib", "stable-baselines3", "torch")


class TrainingPlan(BaseModel):
    """What a training is to do; stored in its folder.

    Attributes:
        version: Of this format.
        environment: Its id.
        parameters: Keywords for it.
        algorithm: A name, or ``module:Class``.
        steps: Decisions in all, those included that are shown by a warm start.
        seed: Of everything that is drawn, but for validation and test.
        splits: Loads; where there are none, the environment's own one with other seeds.
        warm_start: Whom to imitate first; empty: nobody.
        patience: Validations without a better score after which it ends; 0: it never does.
        tensorboard: Folder for its event files; empty: none are written.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = STORED.newest
    environment: str
    parameters: dict[str, JsonValue] = {}
    algorithm: str = "ppo"
    steps: int = Field(default=200_000, ge=LEAST_STEPS, le=MOST_STEPS)
    seed: int = Field(default=1, ge=0, lt=2**63)
    splits: Splits = Splits()
    warm_start: str = ""
    patience: int = Field(default=0, ge=0)
    tensorboard: str = ""

    @property
    def nr_stages(self) -> int:
        """How many stages there are."""
        return max(1, min(MOST_STAGES, self.steps // LEAST_STAGE))


class CurvePoint(BaseModel):
    """A point of a learning curve: the end of a stage.

    Attributes:
        nr_steps: Decisions so far.
        score: Of the validation.
        cpu_seconds: So far.
        metrics: The algorithm's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    nr_steps: int
    score: float = Field(allow_inf_nan=False)
    cpu_seconds: float
    metrics: dict[str, float] = {}


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        title: What it does.
        done, total: Decisions.
        note: What else is worth telling.
    """

    title: str
    done: int
    total: int
    note: str = ""


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        policy: The one that validated best, with its score on the test loads.
        curve: Its validations; the first one is before any learning, or after imitating.
        ended_early: Whether its patience ended.
        folder: Where all of it is.
    """

    policy: TrainedPolicy
    curve: list[CurvePoint]
    ended_early: bool
    folder: Path


Tell = Callable[[Progress], None]


def make_plan(**fields: Any) -> TrainingPlan:
    """Return a plan.

    Raises:
        UsageError: Something of it is out of bounds.
    """
    try:
        return TrainingPlan(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def train(plan: TrainingPlan, folder: Path, tell: Tell = lambda _progress: None) -> Trained:
    """Train a policy in a new folder.

    Args:
        plan: What is to be done.
        folder: Where; it may be there already, if no training is in it.
        tell: Is told how far it is.

    Raises:
        UsageError: The folder has a training, or something of the plan is wrong.
        PolicyError: Rewards are no numbers, or the folder can't be written.
    """
    if (folder / PLAN).exists():
        raise UsageError(f"{folder} has a training already", hint=f"continue it with --resume {folder}")
    _check(plan)
    make_folder(folder)
    write_text(folder / PLAN, json.dumps(plan.model_dump(mode="json"), indent=1) + "\n")
    return resume(folder, tell)


def resume(folder: Path, tell: Tell = lambda _progress: None) -> Trained:
    """Go on with a training where its last checkpoint is; one that has ended gives its result again.

    Raises:
        UsageError: There is no training, or another process is at it.
        PolicyError: What is in the folder is damaged, or rewards are no numbers.
    """
    plan = read_plan(folder)
    with _alone(folder), one_thread(), ExitStack() as stack:
        training = _Training(plan, folder, tell)
        stack.callback(training.close)
        return training.run()


def read_plan(folder: Path) -> TrainingPlan:
    """Return the plan of the training in a folder.

    Raises:
        UsageError: There is no training.
        PolicyError: The plan is damaged, or a newer version wrote it.
    """
    path = folder / PLAN
    if not path.is_file():
        raise UsageError(
            f"there is no training in {folder}", hint="`schedtuna rl train ... -o DIR` makes one"
        )
    try:
        return TrainingPlan.model_validate(STORED.upgrade(parse_json(path.read_bytes()), path))
    except (ValueError, ValidationError) as error:
        raise PolicyError(f"{path} is damaged: {str(error).splitlines()[0]}") from None


def require_apart(splits: Splits) -> None:
    """Refuse loads that are in two of the three sets.

    Raises:
        UsageError: One is.
    """
    seen: dict[str, str] = {}
    for name in ("train", "validation", "test"):
        for load in getattr(splits, name):
            if seen.setdefault(load, name) != name:
                raise UsageError(
                    f"{load} is both for {seen[load]} and for {name}", hint="leave one of them out"
                )


def _check(plan: TrainingPlan) -> None:
    """Make everything once, so that a wrong plan is refused before there is a folder."""
    require_apart(plan.splits)
    kind, world = learner_class(plan.algorithm), World(plan.environment, plan.parameters)
    for loads in (plan.splits.train, plan.splits.validation, plan.splits.test):
        for load in loads:
            world.make(load).close()
    require_actions(plan.algorithm, world)
    if plan.warm_start:
        kind.require_imitating()
        make_expert(plan.warm_start, world, plan.splits.train)
    elif not kind.learns:
        raise UsageError(f"{plan.algorithm} needs somebody to imitate", hint="say whom with --warm-start")
    vector = world.vector(1, plan.splits.train)
    has_masks = action_masks(vector) is not None
    vector.close()
    if kind.needs_masks and not has_masks:
        raise UsageError(
            f"{plan.algorithm} needs an environment with action masks: {plan.environment} has none"
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from training in the same folder."""
    lock = open_for_writing(folder / PLAN, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UsageError(f"another process is training in {folder}", hint="wait until it has ended") from None
    try:
        yield
    finally:
        os.close(lock)


class _Training:
    """A training at work."""

    def __init__(self, plan: TrainingPlan, folder: Path, tell: Tell) -> None:
        self.plan, self.folder, self.tell = plan, folder, tell
        self.world = World(plan.environment, plan.parameters)
        self.fit: PolicyFit = self.world.fit()
        kind = learner_class(plan.algorithm)
        self.nr_shown = min(plan.steps // SHARE, MOST_SHOWN) if plan.warm_start else 0
        with seeded(plan.seed):
            self.learner: Learner = kind.of_world(
                self.world, plan.splits.train, nr_steps=plan.steps - self.nr_shown, seed=plan.seed
            )
        self.curve: list[CurvePoint] = []
        self.cpu_before = time.process_time()
        self.writer: Any = None

    def close(self) -> None:
        """Close environments and event files."""
        self.learner.close()
        if self.writer is not None:
            self.writer.close()

    def run(self) -> Trained:
        """Do what is left to do."""
        self._restore()
        if self.plan.tensorboard:
            self.writer = tensorboard_writer(self.plan.tensorboard, self._nr_steps + 1)
        if not self.curve:
            self._end_stage(self._warm_up())
        nr_stages = self.plan.nr_stages if self.learner.learns else 0
        while len(self.curve) <= nr_stages and not self._is_patience_over():
            stage = len(self.curve)
            until = self.learner.total * stage // nr_stages
            seed = derived_seed(self.plan.seed, stage)
            with seeded(seed):
                metrics = self.learner.advance(
                    max(until - self.learner.nr_done, 1),
                    seed,
                    lambda done: self._told("training", self.nr_shown + done),
                )
            self._end_stage(metrics)
        return self._ended(nr_stages)

    @property
    def _nr_steps(self) -> int:
        return self.curve[-1].nr_steps if self.curve else 0

    def _told(self, title: str, done: int) -> None:
        note = f"best {max(point.score for point in self.curve):.4g}" if self.curve else ""
        self.tell(Progress(title, min(done, self.plan.steps), self.plan.steps, note))

    def _warm_up(self) -> dict[str, float]:
        if not self.plan.warm_start:
            return {}
        expert = make_expert(self.plan.warm_start, self.world, self.plan.splits.train)
        seed = derived_seed(self.plan.seed, 0)
        shown = expert.show(self.nr_shown, seed, lambda done: self._told("watching", done))
        with seeded(seed):
            return self.learner.imitate(shown, EPOCHS)

    def _end_stage(self, metrics: dict[str, float]) -> None:
        nr_steps = self.nr_shown + self.learner.nr_done
        self._told("validating", nr_steps)
        if self.world.is_live:
            self.learner.vector.close()  # it leaves the machine to the validation, until the next stage
        policy = TrainedPolicy(self._manifest(nr_steps), self.learner.network())
        episodes = evaluate(policy, self.world, self.plan.splits.validation, seed=VALIDATION_SEED)
        score = mean_score(episodes)
        if not np.isfinite([score, *metrics.values()]).all():
            raise PolicyError(
                f"{self.plan.environment} gave rewards that are no numbers, or {self.plan.algorithm} diverged"
            )
        best = max((point.score for point in self.curve), default=-np.inf)
        self.curve.append(
            CurvePoint(nr_steps=nr_steps, score=score, cpu_seconds=self._cpu_seconds, metrics=metrics)
        )
        if score > best:
            manifest = policy.manifest.model_copy(update={"validation": score})
            save_policy(replace(policy, manifest=manifest), self.folder / FILE_NAME)
        self._checkpoint()
        if self.writer is not None:
            for name, number in {"validation": score, **metrics}.items():
                self.writer.add_scalar(f"rl/{name}", number, nr_steps)
            self.writer.flush()

    @property
    def _cpu_seconds(self) -> float:
        return time.process_time() - self.cpu_before

    def _is_patience_over(self) -> bool:
        scores = [point.score for point in self.curve]
        return bool(self.plan.patience) and len(scores) - 1 - int(np.argmax(scores)) >= self.plan.patience

    def _manifest(self, nr_steps: int) -> PolicyManifest:
        network = self.learner.network()
        return PolicyManifest(
            schedtuna_version=__version__,
            algorithm=self.plan.algorithm,
            fit=self.fit,
            parameters=self.plan.parameters,
            hidden=[len(biases) for _, biases in network.layers[:-1]],
            activation=network.activation,
            seed=self.plan.seed,
            nr_steps=nr_steps,
            cpu_seconds=round(self._cpu_seconds, 3),
            warm_start=self.plan.warm_start,
            packages={name: version(name) for name in PACKAGES},
            splits=self.plan.splits,
        )

    def _checkpoint(self) -> None:
        arrays: Arrays = {}
        content = {
            "version": STORED.newest,
            "curve": [point.model_dump() for point in self.curve],
            "state": flatten(self.learner.state(), arrays),
        }
        write_tensors(self.folder / CHECKPOINT, arrays, content)

    def _restore(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        arrays, content = read_tensors(path, most_bytes=MOST_CHECKPOINT_BYTES)
        content = STORED.upgrade(content, path)
        try:
            self.curve = [CurvePoint.model_validate(row) for row in content["curve"]]
            self.learner.restore(restore(content["state"], arrays))
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise PolicyError(
                f"{path} is damaged, or of another algorithm: {str(error).splitlines()[0]}",
                hint="train anew in another folder",
            ) from None
        self.cpu_before -= self.curve[-1].cpu_seconds

    def _ended(self, nr_stages: int) -> Trained:
        policy = load_policy(self.folder / FILE_NAME)
        if policy.manifest.test is None and self.plan.splits.test:
            self._told("testing", self._nr_steps)
            episodes = evaluate(policy, self.world, self.plan.splits.test, seed=TEST_SEED)
            policy = policy.tested(mean_score(episodes))
            save_policy(policy, self.folder / FILE_NAME)
        return Trained(policy, self.curve, len(self.curve) <= nr_stages, self.folder)
