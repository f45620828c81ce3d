"""Train an agent of your own, in torch, on the environments: any class that collects, learns and is stored.

python examples/own_agent.py [STEPS [ENVIRONMENT]]
PYTHONPATH=examples schedtuna rl train schedtuna/PickNext-v0 --algorithm own_agent:CrossEntropy -o trained
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

from schedtuna.rl.gradient import perceptron
from schedtuna.rl.learners import Learner
from schedtuna.rl.loads import splits_for
from schedtuna.rl.policy import Network
from schedtuna.rl.tensors import as_tensors
from schedtuna.rl.training import make_plan, train
from schedtuna.rl.world import action_masks

ROLLOUT = 64  # steps of each environment
ELITE = 0.25  # of the environments: what they did is imitated


class CrossEntropy(Learner):
    """Do as the environments did that fared best: the cross-entropy method, with a network."""

    def __init__(self, vector: VecEnv, *, nr_steps: int, seed: int) -> None:
        super().__init__(vector, nr_steps=nr_steps, seed=seed)
        self.nr_observed = int(np.prod(vector.observation_space.shape or ()))
        self.net = perceptron(self.nr_observed, [32], int(vector.action_space.n))  # type: ignore[attr-defined]
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=3e-3)

    def advance(self, nr_steps: int, seed: int, tell: Callable[[int], None]) -> dict[str, float]:
        """Collect from new episodes and learn, until so many decisions were made."""
        self.vector.seed(seed)
        rng = np.random.default_rng(seed)
        observed, loss = np.asarray(self.vector.reset()), 0.0
        end = self.nr_done + nr_steps
        while self.nr_done < end:
            seen, done, total = [], [], np.zeros(self.vector.num_envs)
            for _ in range(ROLLOUT):
                actions = self.draw(observed, action_masks(self.vector), rng)
                seen.append(observed)
                done.append(actions)
                following, rewards, _, _ = self.vector.step(actions)
                observed, total = np.asarray(following), total + rewards
                self.nr_done += self.vector.num_envs
                tell(self.nr_done)
            best = np.argsort(-total)[: max(1, round(ELITE * len(total)))]
            inputs = torch.as_tensor(np.stack(seen)[:, best].reshape(-1, self.nr_observed))
            labels = torch.as_tensor(np.stack(done)[:, best].reshape(-1))
            entropy = torch.nn.functional.cross_entropy(self.net(inputs), labels)
            self.optimizer.zero_grad()
            entropy.backward()  # type: ignore[no-untyped-call] # torch lacks the type
            self.optimizer.step()
            loss = float(entropy.detach())
        return {"cross_entropy": loss}

    def draw(self, observed: np.ndarray, masks: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        """Draw an allowed action for each environment."""
        with torch.no_grad():
            scores = self.net(torch.as_tensor(observed)).numpy()
        noisy = scores + rng.gumbel(size=scores.shape)
        allowed = noisy if masks is None else np.where(masks, noisy, -np.inf)
        actions: np.ndarray = allowed.argmax(axis=1)
        return actions

    def network(self) -> Network:
        """What is stored, evaluated and deployed: linear layers, with tanh between them."""
        layers = [layer for layer in self.net if isinstance(layer, torch.nn.Linear)]
        arrays = tuple((x.weight.detach().numpy().copy(), x.bias.detach().numpy().copy()) for x in layers)
        plain = np.zeros(self.nr_observed, np.float32), np.ones(self.nr_observed, np.float32)
        return Network(arrays, "tanh", *plain)

    def state(self) -> Any:
        """What a checkpoint has to have."""
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "done": self.nr_done}

    def restore(self, state: Any) -> None:
        """Go on from it."""
        self.net.load_state_dict(as_tensors(state["net"]))
        self.optimizer.load_state_dict(as_tensors(state["optimizer"]))
        self.nr_done = state["done"]


def main(steps: int, environment: str) -> None:
    """Train it, and say how it fared."""
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(
            environment=environment,
            algorithm="own_agent:CrossEntropy",
            steps=steps,
            splits=splits_for(environment, [], [], []),
        )
        for point in train(plan, Path(folder) / "trained").curve:
            print(f"{point.nr_steps:8,} decisions  score {point.score:8.2f}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    words = sys.argv[1:]
    main(int(words[0]) if words else 100_000, words[1] if len(words) > 1 else "schedtuna/PickNext-v0")
