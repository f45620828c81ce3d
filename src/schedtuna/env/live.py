"""Which scheduler next, on a real machine? `schedtuna/LiveSwap-v0`: a step is a trial of a seeded load.

Any place that runs commands will do: this machine, a guest of the lab, another machine. As in
`schedtuna/Swap-v0` a step's first part is discarded, what is observed are features of the step before, and
L is held against the default's. Two things differ. Each step begins its load anew, with the same seed: a
change of the scheduler costs nothing that is seen. And `first_run` is all waiting for a CPU per job, as /proc
does not tell waits after a wakeup from those after a preemption. Equal seeds are the same loads with the same
seeds; what is measured varies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from schedtuna.backend.base import Backend, Trial, Validity
from schedtuna.backend.places.base import Place
from schedtuna.backend.places.registry import make_place
from schedtuna.env.actions import nth_action
from schedtuna.errors import SchedtunaError, StudyError, UsageError
from schedtuna.features.loss import LOSS_TERMS, MOST, SWITCHING, complete_weights, loss
from schedtuna.features.observed import scaled
from schedtuna.features.windows import Window, WindowValues, windows
from schedtuna.resources import resource_path
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import RunSpec, Workload

DEFAULT = "default"
# What is tried of those that a place can run, unless it is said.
CANDIDATES = ("fair:slice_us=500", "fair:slice_us=20000", "fair:policy=batch")
# Loads of stress-ng: name -> its stressors; {cpus} and {2cpus} stand for numbers of CPUs.
LOADS: dict[str, str] = {
    "cpu": "--cpu {2cpus} --cpu-method int64",
    "switch": "--switch {cpus}",
    "pipe": "--pipe {2cpus}",
    "futex": "--futex {cpus}",
    "nanosleep": "--nanosleep {cpus}",
    "mixed": "--cpu {cpus} --cpu-method int64 --switch {cpus}",
}
# Features of the whole system over a window, each by its average, its change and its change in percent.
LIVE_FEATURES = (
    "voluntary_switches_per_s",
    "involuntary_switches_per_s",
    "cpu_percent",
    "iowait_percent",
    "irq_percent",
    "softirq_percent",
    "run_queue_length",
    "nr_active_threads",
    "nr_blocked_threads",
    "nr_io_blocked_threads",
    "memory_used_bytes",
    "memory_available_bytes",
    "swap_used_bytes",
    "cache_bytes",
    "buffers_bytes",
    "swap_in_bytes_per_s",
    "swap_out_bytes_per_s",
    "io_read_bytes_per_s",
    "io_written_bytes_per_s",
)
LIVE_OBSERVED = tuple(
    f"{name}{part}" for name in LIVE_FEATURES for part in ("", ".change", ".percent_change")
)
_NR_SAMPLES = 3
_SLACK_S = 60.0
Observation = npt.NDArray[np.float32]


class LiveSwapEnv(gymnasium.Env[Observation, np.int64]):
    """Which scheduler next, measured.

    Args:
        place: Where: a `Place`, its kind (``host``, ``vm``), or the URL of a server that allows commands.
        token_file: For a URL.
        workload: Names of `LOADS`, of which an episode is made; default: all of them.
        schedulers: Those to choose from, as ``--scheduler`` takes them; default: what of `CANDIDATES` and of
            sched_ext schedulers the place can run, behind the default.
        reward: Weights of the terms of L (`schedtuna.features.loss`).
        steps: Of an episode, which is truncated then.
        steps_per_load: After how many the next load begins.
        step_s: Seconds of a step.
        discard_s: How much of its beginning neither counts nor is observed.
        nr_arrivals: How many seeds each load has.
        seed: Of the episodes, until `reset(seed=)` gives another.

    Raises:
        UsageError: A load, scheduler, weight or length is none, or the place runs no commands.
        UnavailableError: The place can't be had.
    """

    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(
        self,
        place: Place | str = "host",
        *,
        token_file: str | Path | None = None,
        workload: str | Sequence[str] = tuple(LOADS),
        schedulers: Sequence[str] | None = None,
        reward: Mapping[str, float] | None = None,
        steps: int = 12,
        steps_per_load: int = 3,
        step_s: float = 5.0,
        discard_s: float = 2.0,
        nr_arrivals: int = 8,
        seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        self.loads = (workload,) if isinstance(workload, str) else tuple(workload)
        for name in self.loads:
            if name not in LOADS:
                raise UsageError(f"there is no load {name!r}", hint=f"known: {', '.join(LOADS)}")
        if min(len(self.loads), steps, steps_per_load, nr_arrivals) < 1:
            raise UsageError("an episode has at least one load, one step of each, and one seed of each")
        if not 0 <= discard_s < step_s:
            raise UsageError(f"of a step of {step_s:g} s, {discard_s:g} s can't be discarded")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UsageError(f"there is no render mode {render_mode!r}", hint="ansi")
        token = None if token_file is None else Path(token_file)
        self.place = place if isinstance(place, Place) else make_place(place, {"token_file": token})
        self.weights = complete_weights(reward)
        if reward is not None and reward.get(SWITCHING.name):
            raise UsageError(f"{SWITCHING.name} is not measured here: each step begins its load anew")
        self._configs = self._found(schedulers)
        self.schedulers = tuple(self._configs)
        if len(self.schedulers) < 2:
            raise UsageError(f"there is nothing to choose on {self.place.label}: name two schedulers or more")
        self.steps, self.steps_per_load, self.nr_arrivals = steps, steps_per_load, nr_arrivals
        self.step_s, self.discard_s = step_s, discard_s
        self.render_mode = render_mode
        self.may_be_on = tuple(dict.fromkeys((DEFAULT, *self.schedulers)))
        self.action_space: spaces.Discrete = spaces.Discrete(len(self.schedulers))
        self.observation_space = spaces.Box(0, 1, (len(LIVE_OBSERVED) + len(self.may_be_on),), np.float32)
        self._defaults: dict[tuple[int, int], dict[str, float]] = {}
        self._open = ExitStack()
        self._backend: Backend | None = None
        self._first_seed: int | None = seed
        self._nth_step = -1
        self._last = ""
        self._seen: Window | None = None  # None: nothing is known of the step before

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: the first load has run for a step under the default.

        Raises:
            StudyError: It could not.
        """
        super().reset(seed=self._first_seed if seed is None else seed, options=options)
        self._first_seed = None
        self._nth_step, self._last, self._current = 0, "", DEFAULT
        self._draw()
        self._seen = self._run_default()
        return self._observation(), self._info()

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Run the load for a step under a scheduler.

        One that fails there scores as badly as L can, and nothing is known of the system; `info` says why.

        Raises:
            UsageError: There is no such action, or the episode has ended.
            StudyError: The load does not run under the default.
        """
        if not 0 <= self._nth_step < self.steps:
            raise UsageError("the episode has ended: reset() begins the next one")
        chosen = self.schedulers[nth_action(action, len(self.schedulers))]
        if self._nth_step and self._nth_step % self.steps_per_load == 0:
            self._draw()
        if self._drawn not in self._defaults:
            self._run_default()
        self._nth_step += 1
        swapped, self._current = chosen != self._current, chosen
        trial = self._trial(self._configs[chosen])
        default, figures = self._defaults[self._drawn], {}
        if trial.validity is Validity.OK:
            figures = {term.name: trial.metrics[term.name] for term in LOSS_TERMS}
            lost = loss(figures, default, self.weights)
            self._seen = self._window(trial)
            if chosen == DEFAULT:
                self._defaults[self._drawn] = figures
        else:
            lost = sum(self.weights[term.name] * MOST for term in LOSS_TERMS)
            self._seen = None
        total = sum(self.weights[term.name] for term in LOSS_TERMS)
        reward = (total - lost) / total
        info = self._info() | {
            "scheduler": chosen,
            "swapped": swapped,
            "loss": lost,
            "figures": figures,
            "default": default,
            "failed": trial.reason,
            "elapsed_ns": round(self.step_s * 1e9),
        }
        told = f"failed: {trial.reason}" if trial.reason else f"L {lost:.3f} of {total:g}"
        self._last = f"{info['load']}: {chosen}, {told}, reward {reward:+.3f}"
        return self._observation(), reward, False, self._nth_step >= self.steps, info

    def render(self) -> str | None:
        """Return the last step in a line."""
        return f"step {self._nth_step} of {self.steps}: {self._last}" if self.render_mode else None

    def close(self) -> None:
        """Leave the place as it was found; `reset` has it again."""
        self._backend = None
        self._open.close()
        super().close()

    def _found(self, asked: Sequence[str] | None) -> dict[str, SchedulerConfig]:
        if asked is not None:
            return {text: self.place.scheduler(text) for text in asked}
        found = {DEFAULT: self.place.scheduler(DEFAULT)}
        from schedtuna.scheduler.registry import names

        for text in (*CANDIDATES, *names()):
            with contextlib.suppress(SchedtunaError):  # it is not there, or can't run there
                if ":" not in text:
                    self.place.tunable(text)
                found[text] = self.place.scheduler(text)
        return found

    def _draw(self) -> None:
        rng = self.np_random
        self._drawn = (int(rng.integers(len(self.loads))), int(rng.integers(self.nr_arrivals)))

    def _run_default(self) -> Window:
        """Run a step under the default, which later ones of this load are held against."""
        trial = self._trial(self.place.scheduler(DEFAULT))
        if trial.validity is not Validity.OK:
            raise StudyError(
                f"the load {self.loads[self._drawn[0]]} does not run on {self.place.label}: {trial.reason}",
                hint=trial.output_tail or "is stress-ng installed there, and python3?",
            )
        self._defaults[self._drawn] = {term.name: trial.metrics[term.name] for term in LOSS_TERMS}
        return self._window(trial)

    def _trial(self, scheduler: SchedulerConfig) -> Trial:
        load, arrival = self._drawn
        workload = live_workload(self.loads[load], self.place, step_s=self.step_s, discard_s=self.discard_s)
        if self._backend is None:
            spec = RunSpec(workload=workload)
            configs = list(self._configs.values())
            self._backend = self._open.enter_context(self.place.open(spec, configs))
        return self._backend.run(workload, scheduler, seed=1 + arrival)

    def _window(self, trial: Trial) -> Window:
        """Return the features of a trial's window, by the samples that its program took."""
        samples = []
        for number in range(_NR_SAMPLES):
            prefix = f"sample{number}."
            row = {
                name.removeprefix(prefix): value
                for name, value in trial.metrics.items()
                if name.startswith(prefix)
            }
            samples.append((round(row.pop("time_s") * 1e9), row))
        (seen,) = windows(
            samples,
            LIVE_FEATURES,
            length_s=(samples[-1][0] - 1) / 1e9,  # the last one ends it, however late it was
            discard_s=self.discard_s,
            begin_ns=0,
        )
        return seen

    def _observation(self) -> Observation:
        values: list[float] = []
        for name in LIVE_FEATURES:
            told = WindowValues() if self._seen is None else self._seen.features[name]
            values += [
                scaled(name, told.average),
                scaled(f"{name}.change", told.change),
                scaled(f"{name}.percent_change", told.percent_change),
            ]
        return np.array([*values, *(float(name == self._current) for name in self.may_be_on)], np.float32)

    def _info(self) -> dict[str, Any]:
        load, arrival = self._drawn
        unknown = [
            name for name in LIVE_FEATURES if self._seen is None or self._seen.features[name].average is None
        ]
        return {"load": self.loads[load], "load_seed": 1 + arrival, "unknown": unknown}


def live_workload(name: str, place: Place, *, step_s: float, discard_s: float) -> Workload:
    """Return a load of `LOADS` as a command that runs for a step at a place, and says what it saw.

    Raises:
        UsageError: The place runs no commands.
    """
    program = resource_path("workload/programs/window.py").read_text()
    nr_cpus = place.nr_cpus()
    stressors = LOADS[name].replace("{2cpus}", str(2 * nr_cpus)).replace("{cpus}", str(nr_cpus))
    command = place.command(
        (
            *("python3", "-I", "-c", program, "--length", str(step_s), "--discard", str(discard_s)),
            *("--samples", str(_NR_SAMPLES), "--", "stress-ng", *stressors.split(), "--seed", "{seed}"),
            *("--quiet", "--timeout", str(round(10 * step_s + _SLACK_S))),
        )
    )
    update = {"parser": "json", "name": f"live {name}", "timeout_s": 3 * step_s + _SLACK_S}
    return command.model_copy(update=update)
