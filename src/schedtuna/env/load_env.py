"""Environments whose episodes are loads on a simulated machine: how an episode is drawn, or named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gymnasium
import numpy as np
import numpy.typing as npt

from schedtuna.env.gantt import Picture, strip
from schedtuna.env.setting import LoadSetting
from schedtuna.errors import UsageError
from schedtuna.sim.native import BadInputError
from schedtuna.trace.schema import EVENT_DTYPE

SHOWN_NS = 100_000_000  # of a picture
RGB = "rgb_array"
RENDER_MODES = ("ansi", RGB)
Observation = npt.NDArray[np.float32]


class Episodes(Protocol):
    """What draws episodes natively; of a batch the first argument of each is which one of it."""

    @property
    def seed(self) -> Callable[..., None]:
        """Seeds all episodes from now on."""

    @property
    def reset(self) -> Callable[..., None]:
        """Begins the next one."""

    @property
    def reset_to(self) -> Callable[..., None]:
        """Begins this one."""


class Pictured(Protocol):
    """What keeps the events of an episode."""

    def events(self, i: int, /) -> npt.NDArray[np.uint8]:
        """Return the records since the episode began."""
        ...


class LoadEnv(gymnasium.Env[Any, Any]):
    """What is common to them.

    Args:
        setting: Their keywords.
        seed: Of the episodes until `reset(seed=)` sets another; None: drawn.
        render_mode: ``ansi``; ``rgb_array``: who ran on which CPU lately; None.

    Raises:
        UsageError: One of them is none.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 10}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(self, setting: LoadSetting, *, seed: int | None, render_mode: str | None) -> None:
        if render_mode not in (None, *RENDER_MODES):
            raise UsageError(f"render_mode={render_mode!r}: expected 'ansi', 'rgb_array' or None")
        self.setting = setting
        self.render_mode = render_mode
        self._seed = seed

    def begin(
        self, episodes: Episodes, at: tuple[int, ...], *, seed: int | None, options: Mapping[str, Any] | None
    ) -> None:
        """Begin an episode: the one that the options name, or the next one.

        Args:
            episodes: What draws them.
            at: Which one of a batch; empty: it is none.
            seed: Of this episode and those after it; None: what the environment was made with, or, where
                nothing was ever said, one that is drawn.
            options: See `episode`.

        Raises:
            UsageError: The options name none.
        """
        if seed is None and self._seed is not None:
            seed = self._seed
        if seed is None and self._np_random is None:
            seed = int(self.np_random.integers(2**32))
        self._seed = None
        if seed is not None:
            super().reset(seed=seed)
            episodes.seed(*at, seed)
        try:
            if options:
                episodes.reset_to(*at, *self.episode(options))
            else:
                episodes.reset(*at)
        except BadInputError as error:
            raise UsageError(str(error)) from error

    def picture(self, episodes: Pictured, now_ns: int) -> Picture:
        """Return who ran on which CPU in the last `SHOWN_NS`, (height, width, 3).

        Args:
            episodes: What happens in, the first of it traced.
            now_ns: The simulated time.
        """
        return strip(
            episodes.events(0).view(EVENT_DTYPE),
            nr_cpus=self.setting.shape.nr_cpus,
            begin_ns=now_ns - SHOWN_NS,
            end_ns=now_ns,
        )

    def episode(self, options: Mapping[str, Any]) -> tuple[int, ...]:
        """Return which load and which arrivals ``workload`` and ``arrivals`` of a reset's options mean.

        Raises:
            UsageError: There are none such.
        """
        arrivals, nr_loads = list(self.setting.arrivals), len(self.setting.loads)
        seed, load = options.get("arrivals", arrivals[0]), options.get("workload", 0)
        if set(options) - {"workload", "arrivals"} or seed not in arrivals or load not in range(nr_loads):
            raise UsageError(
                f"options {dict(options)}: expected workload, the index of one of {nr_loads}, "
                "and arrivals, one of the environment's"
            )
        return load, arrivals.index(seed)
