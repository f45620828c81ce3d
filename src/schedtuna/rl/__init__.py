"""Learners: what of reinforcement learning needs torch, and how it is trained, saved and warmed up."""

from importlib.util import find_spec

from schedtuna.errors import MissingExtraError

MODULES = ("gymnasium", "safetensors", "sb3_contrib", "stable_baselines3", "torch")


def require_extra() -> None:
    """Refuse to go on without what training needs.

    Raises:
        MissingExtraError: The extra is not installed, or only a part of it.
    """
    if any(find_spec(module) is None for module in MODULES):
        raise MissingExtraError("training and judging policies", "rl")
