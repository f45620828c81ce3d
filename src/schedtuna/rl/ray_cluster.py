"""Where does Ray run? A cluster that is there, or one on this machine that ends with the training."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from schedtuna.errors import MissingExtraError, UnavailableError

LOCAL = "local"
LEAST_CPUS = 2  # of a cluster here: two runners, which share what there is
_STORE_BYTES = 256 << 20  # rollouts and weights; Ray would take a third of the memory


def require_ray() -> None:
    """Refuse to go on without Ray.

    Raises:
        MissingExtraError: The extra is not installed.
    """
    if find_spec("ray") is None:
        raise MissingExtraError("training with Ray's RLlib", "ray")


@contextmanager
def connected(address: str = LOCAL) -> Iterator[None]:
    """Be connected to a cluster; one that is connected already is taken as it is.

    Args:
        address: HOST:PORT of its head, `auto` for the one that runs here, or `local`: one of its own, which
            ends with this.

    Raises:
        MissingExtraError: The extra is not installed.
        UnavailableError: No cluster can be had there.
    """
    require_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it reports what it is used for
    import ray

    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray").setLevel(logging.ERROR)  # deprecations, and what else it warns of by habit
    said: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": "ERROR"}
    if address == LOCAL:
        said |= {
            "num_cpus": max(LEAST_CPUS, os.cpu_count() or 1),
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
        }
    else:
        said["address"] = address
    try:
        ray.init(**said)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise UnavailableError(
            f"there is no Ray cluster at {address}: {str(error).splitlines()[0]}",
            hint="`ray start --head` begins one; `--ray local` has one here for the training alone",
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def nr_cpus() -> int:
    """Return how many CPUs the cluster lends, at least 1."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))
