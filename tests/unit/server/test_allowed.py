"""What clients may have run, and what a submission becomes."""

import pytest

from schedtuna.errors import UsageError
from schedtuna.server.allowed import Allowed, run_spec
from schedtuna.server.refusal import RefusedError
from schedtuna.wire import RemoteCommand, Submission

NAMED = Submission(submit_id="0" * 32, workload="short-bursts")
COMMAND = Submission(submit_id="0" * 32, command=RemoteCommand(argv=("true", "{seed}")))


@pytest.mark.parametrize(
    ("allowed", "asked", "status"),
    [
        (Allowed(("short-bursts",)), NAMED, None),
        (Allowed(("pipes",)), NAMED, 403),
        (Allowed(("pipes",)), COMMAND, 403),
        (Allowed((), commands=True), COMMAND, None),
        (Allowed((), commands=True, longest_s=299), COMMAND, 403),
        (Allowed((), commands=True), COMMAND.model_copy(update={"warmup_runs": 11}), None),
        (Allowed((), commands=True), COMMAND.model_copy(update={"warmup_runs": 12}), 403),
        (Allowed((), commands=True), COMMAND.model_copy(update={"parser": "os:system"}), 403),
        (Allowed((), commands=True), COMMAND.model_copy(update={"version": 2}), 409),
    ],
)
def test_what_may_not_run_is_refused(allowed, asked, status):
    if status is None:
        allowed.require(asked)
        return
    with pytest.raises(RefusedError) as refused:
        allowed.require(asked)
    assert refused.value.status == status


def test_the_server_says_as_whom_and_the_client_how_long():
    spec = run_spec(COMMAND.model_copy(update={"timeout_s": 7.0}), Allowed((), commands=True, user="daemon"))
    assert (spec.workload.user, spec.workload.timeout_s) == ("daemon", 7.0)
    assert spec.workload.argv == ("true", "{seed}")


def test_no_file_is_read_for_a_metric_unless_commands_are_allowed():
    asked = NAMED.model_copy(update={"metrics": ("x:min=regex@/etc/shadow:root:(.*)",)})
    with pytest.raises(UsageError, match="from a file"):
        run_spec(asked, Allowed(("short-bursts",)), nr_cpus=2)
