#!/bin/sh
# Ray RLlib 2.60.0: training iterations in which nothing was sampled count as iterations, and look like others.
#
# When a runner dies (here by SIGKILL, as from the out-of-memory killer), train() returns as always until another one
# has taken its place: training_iteration goes up, no error is raised, and the number of steps sampled in the iteration
# is NaN, not 0. So int() of it raises, `or 0` does not help as NaN is true, and a sum over iterations is NaN from then
# on; a training that ends after so many iterations has learnt from fewer samples than its log says. What tells is the
# lifetime count, which stands still, and the number of healthy runners.
#
# Needs python3.11 or newer with venv, 1.7 GB of disk, and a minute.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q --disable-pip-version-check 'ray[rllib]==2.60.0' torch==2.13.0 2> pip.log || { cat pip.log >&2; exit 1; }
cat > kill.py <<'END'
import math
import os
import signal

import ray
from ray.rllib.algorithms.ppo import PPOConfig

ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=1, rollout_fragment_length=64)
config.training(train_batch_size_per_learner=128, minibatch_size=64, num_epochs=1)
algorithm = config.build_algo()


def train():
    result = algorithm.train()
    now = result["env_runners"].get("num_env_steps_sampled")
    ever = result["num_env_steps_sampled_lifetime"]
    healthy = algorithm.env_runner_group.num_healthy_remote_workers()
    print(f"iteration {result['training_iteration']}: sampled {now}, ever {ever:.0f}, healthy runners {healthy}")
    return now, ever


_, before = train()
(pid,) = algorithm.env_runner_group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
os.kill(pid, signal.SIGKILL)
now, ever = train()
algorithm.stop()
ray.shutdown()
if not (now is not None and math.isnan(now) and ever == before):
    raise SystemExit("changed: an iteration without a runner is not told as NaN steps")
print("as described: an iteration without any sample was counted, and its steps are NaN")
END
RAY_USAGE_STATS_ENABLED=0 env/bin/python kill.py 2> ray.log || { tail -n 5 ray.log >&2; exit 1; }
