"""Does an environment keep the contract? Checks that every environment here passes, for yours too.

    from schedtuna.env.conformance import check_environment

    check_environment(lambda workload=None: gymnasium.make("schedtuna/PickNext-v0"))

Gymnasium's own checker and stable-baselines3's, where that is installed, look at spaces and types; here are
the promises on which results rest: the same seed is the same episode, masks mean what they say, an
observation doesn't know the future, and batches are what their members are alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from schedtuna.errors import ConformanceError, SchedtunaError

Environment = gymnasium.Env[Any, Any]
STEPS = 60  # of a check, where episodes are that long
SEEDS = (1, 7)


class EnvironmentFactory(Protocol):
    """Makes an environment, of a load if one is given."""

    def __call__(self, *, workload: Mapping[str, Any] | None = None) -> Environment:
        """Return a fresh environment; None: of whatever load it has by itself."""
        ...


def check_environment(
    make: EnvironmentFactory,
    *,
    make_vec: Callable[[int, AutoresetMode], VectorEnv[Any, Any, Any]] | None = None,
    steps: int = STEPS,
    future_ns: int | None = 40_000_000,
) -> None:
    """Run all checks.

    Args:
        make: Makes the environment.
        make_vec: Makes a batch of so many, with that autoreset mode, whose i-th has the seed + i. Default:
            Gymnasium's own around `make`.
        steps: How many steps a check takes, over several episodes if they are shorter.
        future_ns: Loads are made whose tasks do the same until then; None: it takes no loads.

    Raises:
        ConformanceError: The first check that failed, and how.
    """
    batches = make_vec or (lambda n, mode: SyncVectorEnv([make] * n, autoreset_mode=mode))
    checks: list[tuple[str, Callable[[], None]]] = [
        ("checkers_of_others", lambda: checkers_of_others(make)),
        ("equal_seeds_agree", lambda: equal_seeds_agree(make, steps)),
        ("masks_mean_what_they_say", lambda: masks_mean_what_they_say(make, steps)),
        ("an_episode_ends", lambda: an_episode_ends(make)),
        ("batches_are_their_members", lambda: batches_are_their_members(make, batches, steps)),
        ("ends_are_told_in_batches", lambda: ends_are_told_in_batches(make, batches)),
    ]
    if future_ns is not None:
        checks.append(("the_future_is_not_seen", lambda: the_future_is_not_seen(make, future_ns)))
    for name, check in checks:
        try:
            check()
        except (ConformanceError, SchedtunaError, AssertionError) as error:
            raise ConformanceError(f"{name}: {error}") from error


def checkers_of_others(make: EnvironmentFactory) -> None:
    """Gymnasium's checker passes, and stable-baselines3's."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Both say so of environments that were not made by gymnasium.make(), or are wrapped.
        warnings.filterwarnings("ignore", message=".*(not have a spec|different from the unwrapped).*")
        check_env(make().unwrapped, skip_render_check=True)
        try:
            from stable_baselines3.common.env_checker import check_env as check_env_of_sb3
        except ModuleNotFoundError:
            return
        check_env_of_sb3(make().unwrapped)


def equal_seeds_agree(make: EnvironmentFactory, steps: int) -> None:
    """The same seed and actions give the same, in another environment and in a used one; others don't."""
    first, again = make(), make()
    told = {}
    for seed in SEEDS:
        told[seed] = _recorded(first, seed, steps)
        _require(_same(told[seed], _recorded(again, seed, steps)), f"two episodes of seed {seed} differ")
    again_first = _recorded(first, SEEDS[0], steps)
    _require(_same(told[SEEDS[0]], again_first), "an episode depends on those before it")
    _require(not _same(*told.values()), "all seeds give the same episode")


def masks_mean_what_they_say(make: EnvironmentFactory, steps: int) -> None:
    """Some action is always allowed, `info` has the same mask as `action_masks()`, others are survived."""
    env = make()
    if not hasattr(env.unwrapped, "action_masks"):
        return
    rng = np.random.default_rng(1)
    _, info = env.reset(seed=3)
    for _ in range(steps):
        mask = np.asarray(env.unwrapped.action_masks())
        assert isinstance(env.action_space, spaces.Discrete)
        _require(mask.shape == (env.action_space.n,), f"a mask of shape {mask.shape}")
        if "action_mask" in info:
            _require((mask == info["action_mask"]).all(), "info['action_mask'] is another mask")
        *_, terminated, truncated, info = env.step(rng.integers(env.action_space.n))
        if terminated or truncated:
            _, info = env.reset()
        else:
            _require(bool(np.asarray(env.unwrapped.action_masks()).any()), "nothing is allowed")


def an_episode_ends(make: EnvironmentFactory, most: int = 100_000) -> None:
    """It comes to an end, rewards are finite, and a step after it is refused."""
    env = make().unwrapped
    env.reset(seed=5)
    rng = np.random.default_rng(5)
    for _ in range(most):
        _, reward, terminated, truncated, _ = env.step(_random_action(env, rng))
        _require(bool(np.isfinite(float(reward))), f"a reward of {reward}")
        if terminated or truncated:
            break
    else:
        raise ConformanceError(f"an episode is not over after {most} steps")
    try:
        env.step(env.action_space.sample())
    except Exception:  # noqa: BLE001 - of whatever kind
        return
    raise ConformanceError("a step after the end is not refused")


def batches_are_their_members(
    make: EnvironmentFactory,
    make_vec: Callable[[int, AutoresetMode], VectorEnv[Any, Any, Any]],
    steps: int,
) -> None:
    """A batch gives what its members give alone, and says in its metadata how it resets."""
    n, seed = 3, 11
    batch = make_vec(n, AutoresetMode.SAME_STEP)
    _require(
        batch.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP, "metadata has no autoreset_mode"
    )
    alone = [make() for _ in range(n)]
    singles = [env.reset(seed=seed + i)[0] for i, env in enumerate(alone)]
    observations, _ = batch.reset(seed=seed)
    rng = np.random.default_rng(2)
    for _ in range(steps):
        _require(np.array_equal(observations, np.stack(singles)), "its observations are others")
        actions = np.array([_random_action(env, rng) for env in alone])
        observations, rewards, terminated, truncated, info = batch.step(actions)
        for i, env in enumerate(alone):
            singles[i], reward, ended, cut, _ = env.step(actions[i])
            _require(
                (float(rewards[i]), bool(terminated[i]), bool(truncated[i])) == (float(reward), ended, cut),
                "its rewards or ends are others",
            )
            if ended or cut:
                _require(np.array_equal(info["final_obs"][i], singles[i]), "final_obs is no last observation")
                singles[i], _ = env.reset()
    batch.close()


def ends_are_told_in_batches(
    make: EnvironmentFactory, make_vec: Callable[[int, AutoresetMode], VectorEnv[Any, Any, Any]]
) -> None:
    """NEXT_STEP: the step after an end has no reward, and returns the next episode's first observation."""
    env, batch = make(), make_vec(1, AutoresetMode.NEXT_STEP)
    _require(
        batch.metadata.get("autoreset_mode") == AutoresetMode.NEXT_STEP, "metadata has no autoreset_mode"
    )
    rng = np.random.default_rng(4)
    env.reset(seed=8)
    batch.reset(seed=8)
    ended = False
    while not ended:
        action = _random_action(env, rng)
        last, _, terminated, truncated, _ = env.step(action)
        told = batch.step(np.array([action]))
        ended = terminated or truncated
        _require(bool(told[2][0] or told[3][0]) == ended, "an end is not told when it comes")
    _require(np.array_equal(told[0][0], last), "the step that ends it does not return its last observation")
    observations, rewards, terminations, truncations, _ = batch.step(np.array([action]))
    _require(np.array_equal(observations[0], env.reset()[0]), "the next step returns no first observation")
    _require(
        not (rewards[0] or terminations[0] or truncations[0]), "a step that resets has a reward, or an end"
    )
    batch.close()


def the_future_is_not_seen(make: EnvironmentFactory, future_ns: int) -> None:
    """Of two loads that are the same until some time, observations are the same until then."""
    one, other = (make(workload=load) for load in futures(future_ns))
    rng = np.random.default_rng(6)
    (seen, _), (seen_too, _) = one.reset(seed=9), other.reset(seed=9)
    passed_ns = nr_steps = 0
    while passed_ns < future_ns:
        _require(np.array_equal(seen, seen_too), f"observations know at {passed_ns} ns what comes later")
        _require(np.array_equal(_mask(one), _mask(other)), "masks know what comes later")
        action = _random_action(one, rng)
        seen, _, terminated, truncated, info = one.step(action)
        seen_too, _, terminated_too, truncated_too, info_too = other.step(action)
        passed_ns += min(info["elapsed_ns"], info_too["elapsed_ns"])
        nr_steps += 1
        if passed_ns < future_ns and (terminated or truncated or terminated_too or truncated_too):
            raise ConformanceError(f"an episode is over after {passed_ns} ns: make `future_ns` shorter")
    _require(nr_steps > 1, f"it takes no decision within {future_ns} ns")


def futures(until_ns: int) -> Iterator[dict[str, Any]]:
    """Yield two loads whose tasks do the same until some time, amid bursts that differ in length."""
    lap_us = until_ns // 1000 // 10
    for last in (2, 40):  # of such laps: it begins after four of them at the earliest, and lasts two at least
        tasks = {
            f"task{i}": {
                "loop": 1,
                "phases": {
                    "known": {"loop": 4, "run": lap_us // 2 + 37 * i, "sleep": lap_us // 2 + 11 * i},
                    "unknown": {"loop": 1, "run": 6 * lap_us * last // 2},
                },
            }
            for i in range(7)
        }
        yield {"tasks": tasks, "global": {"duration": -(-100 * until_ns // 10**9)}}


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ConformanceError(what)


def _mask(env: Environment) -> Any:
    masks = getattr(env.unwrapped, "action_masks", None)
    return masks() if masks else np.ones(1)


def _random_action(env: Environment, rng: np.random.Generator) -> Any:
    """Draw an action that is allowed."""
    if isinstance(env.action_space, spaces.Discrete):
        mask = np.asarray(_mask(env), np.bool_)
        allowed = np.flatnonzero(mask) if len(mask) == env.action_space.n else np.arange(env.action_space.n)
        return rng.choice(allowed)
    env.action_space.seed(int(rng.integers(2**31)))
    return env.action_space.sample()


def _recorded(env: Environment, seed: int, steps: int) -> list[tuple[Any, float, bool, bool]]:
    """Return what the steps of some episodes give, under actions drawn with the seed."""
    rng = np.random.default_rng(seed)
    found = [(env.reset(seed=seed)[0], 0.0, False, False)]
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(_random_action(env, rng))
        _require(env.observation_space.contains(observation), "an observation is none of its space")
        found.append((observation, float(reward), terminated, truncated))
        if terminated or truncated:
            found.append((env.reset()[0], 0.0, False, False))
    return found


def _same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(one, other, strict=True)
    )
