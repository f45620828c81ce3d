"""Every help text, as a terminal of 80 columns shows it."""

import click
import pytest

from schedtuna.cli.main import COMMANDS, build, load, main

WIDTH = 78  # what click uses of 80 columns


def texts():
    yield "schedtuna", build()
    for name in COMMANDS:
        command = load(name)
        yield name, command
        for inner, subcommand in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", subcommand


@pytest.mark.parametrize(("name", "command"), [pytest.param(*text, id=text[0]) for text in texts()])
def test_help_is_whole_and_only_about_the_command(name, command):
    with click.Context(command, info_name=name, terminal_width=WIDTH) as context:
        text = command.get_help(context)
    cut = [line for line in text.partition("\nCommands:")[2].splitlines() if line.endswith("...")]
    assert not cut, "the first sentence does not fit into the list of commands"
    assert "--install-completion" not in text  # typer's scripts would start Python at every key press
    undescribed = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert not undescribed


def test_a_mistyped_command_is_answered_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["tun", "--", "true"])
    assert ended.value.code == 2
    assert "there is no command 'tun'" in (told := capsys.readouterr().err)
    assert "did you mean tune" in told


def test_bisect_shows_only_what_it_takes():
    with click.Context(load("bisect"), info_name="bisect", terminal_width=WIDTH) as context:
        text = " ".join(load("bisect").get_help(context).split())
    assert "--require" not in text
    assert "Twice" not in text
