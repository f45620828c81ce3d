"""Where does Ray run? A cluster that is there, or one on this machine that ends with the training."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from schedtuna.errors import MissingExtraError, UnavailableError, UsageError

LOCAL = "local"
LEAST_CPUS = 2  # of a cluster here: two runners, which share what there is
_FEATURE = "training with Ray's RLlib"
_REACH_S = 5.0
_STORE_BYTES = 256 << 20  # rollouts and weights; Ray would take a third of the memory


def require_ray(feature: str = _FEATURE, extra: str = "ray") -> None:
    """Refuse to go on without Ray.

    Args:
        feature: What needs it.
        extra: The optional dependency group that has it.

    Raises:
        MissingExtraError: The extra is not installed.
    """
    if find_spec("ray") is None:
        raise MissingExtraError(feature, extra)


@contextmanager
def connected(address: str = LOCAL, feature: str = _FEATURE, extra: str = "ray") -> Iterator[None]:
    """Be connected to a cluster; one that is connected already is taken as it is.

    Args:
        address: HOST:PORT of its head, `auto` for the one that runs here, or `local`: one of its own, which
            ends with this.
        feature: What needs it.
        extra: The optional dependency group that has it.

    Raises:
        MissingExtraError: The extra is not installed.
        UsageError: That is no address.
        UnavailableError: No cluster can be had there.
    """
    require_ray(feature, extra)
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
        _require_reachable(address)
    try:
        with _own_signals():
            ray.init(**said)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise _none_at(address, " ".join(str(error).split())) from None
    try:
        yield
    finally:
        ray.shutdown()


def _require_reachable(address: str) -> None:
    """Refuse an address where nothing listens: Ray would try for minutes, and not be interrupted."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(
            f"{address!r} is no address of a Ray cluster", hint="local, auto, or HOST:PORT, such as head:6379"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except OSError as error:
        raise _none_at(address, error.strerror or str(error)) from None


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what SIGTERM does here: Ray makes it end the process at once, with nothing put back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _none_at(address: str, reason: str) -> UnavailableError:
    return UnavailableError(
        f"there is no Ray cluster at {address}: {reason}",
        hint="`ray start --head` begins one; `--ray local` has one here, as long as the command lasts",
    )


def nr_cpus() -> int:
    """Return how many CPUs the cluster lends, at least 1."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))
