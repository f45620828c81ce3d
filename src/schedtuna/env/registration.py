"""Which environments does Gymnasium know by name? Importing this imports no more than Gymnasium."""

from __future__ import annotations

from gymnasium.envs.registration import register, registry

# id -> class, vector class; None: Gymnasium's own, around the class.
ENVIRONMENTS: dict[str, tuple[str, str | None]] = {
    "schedtuna/PickNext-v0": (
        "schedtuna.env.pick_next:CPUSchedulerEnv",
        "schedtuna.env.vector:CPUSchedulerVectorEnv",
    ),
    "schedtuna/Migrate-v0": ("schedtuna.env.migrate:MigrateEnv", "schedtuna.env.vector:MigrateVectorEnv"),
    "schedtuna/Swap-v0": ("schedtuna.env.swap:SwapEnv", "schedtuna.env.course_vector:SwapVectorEnv"),
    "schedtuna/Slice-v0": ("schedtuna.env.slices:SliceEnv", "schedtuna.env.course_vector:SliceVectorEnv"),
    "schedtuna/Params-v0": ("schedtuna.env.params:ParamsEnv", "schedtuna.env.course_vector:ParamsVectorEnv"),
}
# Those whose steps are measured: equal seeds give equal loads, and not equal rewards.
LIVE: dict[str, tuple[str, str | None]] = {"schedtuna/LiveSwap-v0": ("schedtuna.env.live:LiveSwapEnv", None)}


def register_environments() -> None:
    """Register what is not yet."""
    for name, (single, vector) in {**ENVIRONMENTS, **LIVE}.items():
        if name not in registry:
            register(id=name, entry_point=single, vector_entry_point=vector)
