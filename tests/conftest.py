"""What all tests start from: the same examples in every run, and a Ctrl-C that works.

Property tests draw the same examples in every run, unless they are to explore.
"""

import os
import shutil
import signal
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How files begin whose tests leave this machine's settings alone, and measure nothing of it.
OF_GUESTS = ("test_lab", "test_scx_")
OF_FILES = (
    *("test_analyze", "test_compilers", "test_doctor", "test_replay", "test_sampler_tools"),
    *("test_rt_app", "test_schedulers", "test_shared_records", "test_sim", "test_streams", "test_trace.py"),
    "test_trace_readers",
)

# Matrices are small here: OpenBLAS's threads would take three times the CPU time, and more side by side.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

# On a busy machine an example may take any time: that is not a failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("repeatable", PATIENT, derandomize=True)  # a change fails for what it changes
settings.register_profile("explore", PATIENT)  # fresh draws, for `make long`
settings.load_profile("repeatable")

# Programs under test would inherit that a job in the background ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def everybodys_folder():
    """A folder that every user may write; pytest closes its own to others again for each of its sessions."""
    folder = Path(tempfile.mkdtemp(prefix="schedtuna-test-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadscope`, run what changes or measures this machine one by one, the rest beside it."""
    from xdist.scheduler import LoadScopeScheduling

    class Lanes(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0].rpartition("/")[2]
            if file.startswith(OF_FILES):
                return file
            return "guests" if file.startswith(OF_GUESTS) else "machine"

    return Lanes(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    """Say, side by side as one by one, that tests which could not be imported did not run, nor failed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    errors = reporter.stats.get("error", []) if reporter else []
    if any(isinstance(report, pytest.CollectReport) for report in errors):
        session.exitstatus = pytest.ExitCode.INTERRUPTED


def pytest_terminal_summary(terminalreporter):
    """Say where the time went: tests that run side by side count each."""
    spent: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                spent[Path(report.nodeid.partition("::")[0]).parts[1]] += report.duration
    if spent:
        parts = sorted(spent, key=lambda part: -spent[part])
        terminalreporter.write_line("seconds: " + ", ".join(f"{part} {spent[part]:.0f}" for part in parts))
