"""What every command answers to a command line that is wrong, and what options are called."""

import pytest

from schedtuna.cli.main import COMMANDS, load, main


def leaves(command, path):
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, child in inner.items():
        yield from leaves(child, (*path, name))


LEAVES = {" ".join(path): command for name in COMMANDS for path, command in leaves(load(name), (name,))}
GROUPS = [name for name in COMMANDS if hasattr(load(name), "commands")]


def mistake(capsys, *argv):
    """What a command line is answered: one line that says what is wrong, and a hint."""
    with pytest.raises(SystemExit) as ended:
        main(list(argv))
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert not out
    error, hint = err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    return error.removeprefix("error: "), hint.removeprefix("hint: ")


@pytest.mark.parametrize("name", LEAVES)
def test_an_unknown_option_leads_to_the_help(capsys, name):
    error, hint = mistake(capsys, *name.split(), "--no-such-thing")
    assert error == "there is no option --no-such-thing"
    assert f"`schedtuna {name} --help`" in hint


@pytest.mark.parametrize("name", LEAVES)
def test_what_is_missing_or_too_much_is_named(capsys, name):
    arguments = [p for p in LEAVES[name].params if p.param_type_name == "argument"]
    if required := [p for p in arguments if p.required]:
        error, _ = mistake(capsys, *name.split())
        assert error.startswith(required[0].metavar.strip("[].") + " is missing: schedtuna " + name)
    elif not arguments and not any(getattr(p, "required", False) for p in LEAVES[name].params):
        error, _ = mistake(capsys, *name.split(), "too-much")
        assert error.startswith(f"nothing is expected where 'too-much' stands: schedtuna {name}")


@pytest.mark.parametrize("name", GROUPS)
def test_an_unknown_command_of_a_group_is_answered_with_the_nearest(capsys, name):
    inner = next(iter(load(name).commands))
    error, hint = mistake(capsys, name, inner + "x")
    assert error == f"`schedtuna {name}` has no command '{inner}x'"
    assert f"did you mean {inner}" in hint


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tune --budget x -- true", "--budget: expected a whole number, not 'x'"),
        ("tune --budget 0 -- true", "--budget: expected 1 or more, not 0"),
        ("tune --budget 99999999 -- true", "--budget: expected 1000000 or less, not 99999999"),
        ("tune --backend moon -- true", "unknown place 'moon': known: host, http, sim, vm"),
        ("compare --fail-on x a b -- true", "--fail-on: 'x' is not one of 'worse', 'not-improved'"),
        ("variability --max-steal 2 -- true", "--max-steal: expected 1.0 or less, not 2"),
        ("variability --runs 1.5 -- true", "--runs: expected a whole number, not '1.5'"),
        (
            "tune --pid -m x -- true",
            "--pid: its value is missing before -m; a $(...) that prints nothing leaves none",
        ),
        ("tune --pid -1 -- true", "--pid: expected 1 or more, not -1"),
        ("doctor --diff a", "option '--diff' requires 2 arguments"),
        ("tune --seed", "option '--seed' requires an argument"),
        ("undo --force=3", "option '--force' does not take a value"),
    ],
)
def test_values_are_refused_in_our_own_words(capsys, line, told):
    assert mistake(capsys, *line.split())[0] == told


@pytest.mark.parametrize("name", LEAVES)
def test_an_option_without_its_value_leads_to_the_command_s_help(capsys, name):
    takes = [p for p in LEAVES[name].params if p.param_type_name == "option" and not p.is_flag]
    for option in (max(p.opts, key=len) for p in takes):
        error, hint = mistake(capsys, *name.split(), option)
        assert error.startswith(f"option '{option}' requires ")
        assert hint == f"`schedtuna {name} --help` explains it"


def test_the_nearest_option_is_proposed(capsys):
    assert mistake(capsys, "tune", "--budgt", "3")[1].startswith("did you mean --budget")


def test_a_group_alone_shows_its_help_and_fails(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["lab"])
    assert ended.value.code == 2
    assert "setup" in capsys.readouterr().err


# One name, one meaning. What takes a duration, and what a short flag stands for.
DURATIONS = {"--for", "--time", "--timeout", "--interval", "--washout", "--within", "--windows", "--discard"}
SHORT = {
    "-n": {"--budget", "--runs"},
    "-m": {"--metric"},
    "-o": {"--output"},
    "-S": {"--scheduler"},
    "-v": {"--verbose"},
}
# Where the same name means something else elsewhere, it says so by what it takes.
TAKES = {"--force": {None}, "--plot": {"FILE.png"}, "--cgroup": {"DIR", "PATH"}, "--csv": {"FILE", None}}


def options():
    for name, command in LEAVES.items():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                yield name, parameter


@pytest.mark.parametrize("short", SHORT)
def test_a_short_option_stands_for_one_thing(short):
    stands_for = {frozenset(SHORT[short]) & set(p.opts) for _, p in options() if short in p.opts}
    assert frozenset() not in stands_for


def test_no_other_short_options():
    found = {name for _, p in options() for name in p.opts if len(name) == 2}
    assert found == set(SHORT)


def test_options_of_one_name_take_one_kind_of_value():
    takes = {}
    for _, parameter in options():
        for name in parameter.opts:
            takes.setdefault(name, set()).add((parameter.nargs, getattr(parameter, "is_flag", False)))
    assert {name: kinds for name, kinds in takes.items() if len(kinds) > 1 and name not in TAKES} == {}
