"""Which trained policies come with the package, and how is one named: by its name here, or by its file?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from schedtuna.resources import resource_path
from schedtuna.rl.policy import FILE_NAME, TrainedPolicy, load_policy

# Name -> what it decides; benchmarks/pretrained_policy.py makes it, and says what it is worth.
PRETRAINED: Mapping[str, str] = {
    "pretrained": "which task runs next, in schedtuna/PickNext-v0: PPO after LAS",
}


def pretrained_path(name: str) -> Path:
    """Return the file of a policy that comes along.

    Raises:
        UnavailableError: The installation lacks it.
    """
    return resource_path("rl/pretrained_policies") / f"{name}.safetensors"


def find_policy(name: str | Path) -> TrainedPolicy:
    """Return a policy that comes with the package, or that of a file or a training's folder.

    Args:
        name: One of `PRETRAINED`, or a path; ``./pretrained`` is never taken for a name.

    Raises:
        PolicyError: There is none, or it is damaged.
    """
    return load_policy(pretrained_path(str(name)) if str(name) in PRETRAINED else Path(name))


def is_policy(name: str) -> bool:
    """Return whether that is the name of a policy, or the path of what may hold one."""
    path = Path(name)
    return name in PRETRAINED or path.suffix == Path(FILE_NAME).suffix or (path / FILE_NAME).is_file()
