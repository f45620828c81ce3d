"""A server answers as its own OpenAPI document says, whatever is asked: schemathesis asks."""

import pytest
from tests.servers import serving

pytest.importorskip("fastapi")
schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = 15  # of each operation
FEW = 3  # of one that starts a process


def asker(server, operation, statuses):
    """A test of one operation, which keeps the statuses that it saw."""
    import hypothesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    headers = {"Authorization": f"Bearer {server.token}"}

    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=FEW if "/schedulers/" in operation.label else EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def ask(case):
        response = case.call(headers=headers, timeout=60)
        statuses.add((operation.label, response.status_code))
        # That there is either a workload or a command is between fields: the schema does not say it.
        case.validate_response(response, excluded_checks=[positive_data_acceptance])

    return ask


@pytest.mark.filterwarnings("default")  # of libraries that it imports
def test_a_server_answers_as_its_openapi_document_says(tmp_path):
    with serving(tmp_path, "--suite", "short-bursts", "--time-limit", "1s", commands=False) as server:
        headers = {"Authorization": f"Bearer {server.token}"}
        schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json", headers=headers)
        statuses = set()
        for found in schema.get_all_operations():
            operation = found.ok()
            asker(server, operation, statuses)()
        assert len({label for label, _ in statuses}) == 9
        assert not {status for _, status in statuses if status >= 500} - {503, 507}
        assert server.ask("GET", "/health")[0] == 200
