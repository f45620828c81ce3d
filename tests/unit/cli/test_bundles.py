from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from schedtuna.cli.bundles import bundled


@dataclass(frozen=True)
class Shared:
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0
    as_json: Annotated[bool, typer.Option("--json")] = False


@pytest.fixture
def run():
    got = []
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    @bundled
    def multiply(
        words: Annotated[list[str], typer.Argument(metavar="WORD...")],
        shared: Shared,
        factor: Annotated[float | None, typer.Option("--factor", "-f")] = None,
    ) -> None:
        """Multiply words."""
        got.append((words, shared, factor))

    def run(*arguments):
        got.clear()
        return CliRunner().invoke(app, list(arguments)), got

    return run


def test_a_command_gets_its_bundle_as_one_value(run):
    done, got = run("a", "b", "--seed", "3", "-f", "0.5", "--json")
    assert done.exit_code == 0
    assert got == [(["a", "b"], Shared(seed=3, as_json=True), 0.5)]


def test_what_is_not_given_has_its_default(run):
    _, got = run("a")
    assert got == [(["a"], Shared(), None)]


@pytest.mark.parametrize("arguments", [[], ["a", "--seed", "-1"], ["a", "--other"]])
def test_typer_checks_what_is_given(run, arguments):
    done, got = run(*arguments)
    assert (done.exit_code, got) == (2, [])


def test_help_is_the_commands_own(run):
    text = run("--help")[0].output
    assert "Multiply words." in text
    assert [option in text for option in ("WORD...", "--seed", "--json", "--factor")] == [True] * 4
