"""How many steps does PickNext take in a second, from C++, through Gymnasium, in batches, under PPO?

The load is 16 tasks on 4 CPUs that compute for 0.2 to 4.2 ms and sleep for 0.2 to 6.2 ms; how many events
of the simulated machine a step has is stated. Rates from C++ stand by wall time, and by CPU time of all
threads; the other ones by CPU time, but for make_vec. Medians of the repeats. PPO's rate stands beside that
of the same PPO on an environment that does nothing.

    python benchmarks/env_speed.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import schedtuna.env
from schedtuna.env.setting import machine_features, task_features

ROOT = Path(__file__).parents[1]
CPUS = 4
LOAD = {
    "tasks": {
        "task": {
            "instance": 16,
            "run": {"uniform": {"from": 200, "to": 4200}},
            "sleep": {"uniform": {"from": 200, "to": 6200}},
        }
    }
}
SIZES = (1, 16, 64, 256, 1024, 4096)
AIMS = {"cpp_single": 4.0, "gymnasium_make": 0.7, "cpp_batch_2_threads": 8.0, "ppo_ratio": 0.9}


def build(folder: Path) -> Path:
    """The simulator and the environments as the package builds them, and the program that times them."""
    program = folder / "env_speed"
    sources = [*sorted((ROOT / "native/sim").glob("*.cpp")), *sorted((ROOT / "native/env").glob("*.cpp"))]
    includes = [f"-I{ROOT / path}" for path in ("include", "native")]
    own = ROOT / "benchmarks/env_speed.cpp"
    subprocess.run(
        [
            "g++",
            "-std=c++20",
            "-O2",
            "-ffp-contract=off",
            *includes,
            own,
            *sources,
            "-pthread",
            "-o",
            program,
        ],
        check=True,
    )
    (folder / "load.json").write_text(json.dumps(LOAD))
    return program


def from_cpp(program: Path, n: int, threads: int, nr_steps: int, repeats: int) -> dict[str, Any]:
    """One row: so many environments on so many threads."""
    rows = (row.bins.edges()[1:] for row in (*task_features(), *machine_features()))
    edges = "".join(" ".join(map(str, row.tolist())) + "\n" for row in rows)
    numbers = (CPUS, n, threads, max(1, nr_steps // n), repeats)
    command: list[str | Path] = [program, program.with_name("load.json"), *map(str, numbers)]
    output = subprocess.run(command, input=edges, capture_output=True, text=True, check=True).stdout
    runs = [tuple(map(int, line.split())) for line in output.splitlines()]
    steps = n * numbers[3]
    return {
        "envs": n,
        "threads": threads,
        "million_steps_per_s": round(statistics.median(steps / wall for wall, _, _ in runs) * 1e3, 3),
        "per_cpu_second": round(statistics.median(steps / cpu for _, cpu, _ in runs) * 1e3, 3),
        "events_per_step": round(statistics.median(events / steps for _, _, events in runs), 2),
    }


def through_make(nr_steps: int, repeats: int) -> float:
    """Million steps a second of CPU time of what `gymnasium.make` returns, its wrappers included."""
    env = gymnasium.make("schedtuna/PickNext-v0", workload=LOAD, cpus=CPUS, arrivals=range(4), seed=1)
    env.reset()
    rates = []
    for _ in range(repeats + 1):  # the first one simulates what the default scheduler does
        began = time.thread_time()
        for _ in range(nr_steps):
            *_, terminated, truncated, _ = env.step(0)  # masked or not: then who came first runs
            if terminated or truncated:
                env.reset()
        rates.append(nr_steps / (time.thread_time() - began) / 1e6)
    return round(statistics.median(rates[1:]), 3)


def batch_of_gymnasium(n: int, nr_steps: int) -> float:
    """Million steps a second of wall time of `make_vec`, copies included."""
    env = gymnasium.make_vec(
        "schedtuna/PickNext-v0", num_envs=n, workload=LOAD, cpus=CPUS, arrivals=range(4), seed=1
    )
    _, info = env.reset()
    rounds = max(1, nr_steps // n)
    began = time.perf_counter()
    for _ in range(rounds):
        *_, info = env.step(info["action_mask"].argmax(axis=1))
    return round(rounds * n / (time.perf_counter() - began) / 1e6, 3)


def ppo(nr_steps: int) -> dict[str, Any]:
    """Thousand steps a second of CPU time of PPO, on ours and on an environment that does nothing."""
    import torch
    from stable_baselines3 import PPO

    torch.set_num_threads(1)
    n, length, batch = 256, 32, 4096

    class Nothing(schedtuna.env.CPUSchedulerVecEnv):
        def step_wait(self) -> Any:
            zeros = np.zeros(self.num_envs, np.float32)
            return self._first.copy(), zeros, zeros.astype(bool), [{} for _ in range(self.num_envs)]

        def reset(self) -> Any:
            self._first = super().reset()
            return self._first.copy()

    found: dict[str, Any] = {}
    for name, kind in (("nothing", Nothing), ("ours", schedtuna.env.CPUSchedulerVecEnv)):
        env = kind(n, workload=LOAD, cpus=CPUS, arrivals=range(4), seed=1)
        model = PPO(
            "MlpPolicy", env, n_steps=length, batch_size=batch, n_epochs=4, device="cpu",
            policy_kwargs={"net_arch": [64, 64]}, seed=1,
        )  # fmt: skip
        model.learn(n * length)
        began = time.process_time()
        model.learn(nr_steps)
        done = -(-nr_steps // (n * length)) * n * length
        found[name] = round(done / (time.process_time() - began) / 1e3, 1)
    return {"thousand_steps_per_cpu_s": found, "ratio": round(found["ours"] / found["nothing"], 3)}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer steps and runs")
    options = parser.parse_args()
    repeats, nr_steps = (3, 40_000) if options.quick else (5, 400_000)
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        single = from_cpp(program, 1, 1, nr_steps, repeats)
        curve = [
            from_cpp(program, n, threads, nr_steps, repeats)
            for n in SIZES
            for threads in (1, 2)
            if (n, threads) != (1, 2)
        ]
    result = {
        "aims": AIMS,
        "cpp_single": single,
        "scaling": curve,
        "gymnasium_make": through_make(nr_steps // 4, repeats),
        "make_vec_1024": batch_of_gymnasium(1024, nr_steps),
        "ppo": ppo(nr_steps // 4),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
