"""What can this machine do for clients?"""

from __future__ import annotations

import platform

from schedtuna import __version__
from schedtuna.backend.places.host import Host
from schedtuna.machine.manifest import machine_identity
from schedtuna.scheduler.probe import installed
from schedtuna.server.allowed import Allowed
from schedtuna.wire import VERSIONS, Capabilities, NamedWorkload
from schedtuna.workload.metrics import format_metric
from schedtuna.workload.suite import SuiteWorkload, suite


def capabilities(allowed: Allowed) -> Capabilities:
    """Return what clients are told; `now` is theirs to replace."""
    place = Host()
    there = suite(place.nr_cpus())
    return Capabilities(
        versions=VERSIONS,
        schedtuna_version=__version__,
        host=platform.node(),
        machine=machine_identity(),
        nr_cpus=place.nr_cpus(),
        online_cpus=place.online_cpus(),
        workloads=tuple(_named(there[name]) for name in allowed.workloads),
        allows_commands=allowed.commands,
        user=allowed.user or "",
        schedulers=tuple(sorted(installed())),
        longest_s=allowed.longest_s,
        most_waiting=allowed.most_waiting,
        now=0,
    )


def _named(row: SuiteWorkload) -> NamedWorkload:
    return NamedWorkload(
        name=row.name,
        argv=row.workload.argv,
        shell=row.workload.shell,
        parser=row.workload.parser,
        timeout_s=row.workload.timeout_s,
        metric=format_metric(row.metric),
        missing=row.missing,
    )
