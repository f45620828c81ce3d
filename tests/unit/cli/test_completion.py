"""Do the shells themselves complete what there is, with nothing of Schedtuna running?"""

import os
import pty
import select
import shutil
import subprocess
import time
from functools import cache

import pytest

from schedtuna.cli.shells import SCRIPTS
from schedtuna.cli.tree import COMMAND, TEXT, known_parameters, known_words, read_tree

needs_fish = pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
SEPARATOR = "--- next"
ALONE = {"PATH": "/nowhere", "LC_ALL": "C.UTF-8"}  # where no schedtuna could be started


@cache
def tree():
    return read_tree()


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    paths = {}
    for shell, text_of in SCRIPTS.items():
        paths[shell] = folder / shell / "_schedtuna"
        paths[shell].parent.mkdir()
        paths[shell].write_text(text_of(tree(), known_words(), known_parameters()))
    return paths


def completed_by_bash(script, lines, cwd="/"):
    """What bash offers for each line, by the function that it would call."""
    asked = "".join(
        f"COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMPREPLY=(); _schedtuna; "
        f"printf '%s\\n' \"${{COMPREPLY[@]}}\" '{SEPARATOR}'\n"
        for line in lines
    )
    done = subprocess.run(
        ["/bin/bash", "--norc", "--noprofile"],
        input=f"source {script}; compopt() {{ :; }}\n{asked}",
        capture_output=True,
        text=True,
        check=True,
        env=ALONE,
        cwd=cwd,
    )
    assert not done.stderr
    return [part.split("\n") for part in done.stdout.split(f"{SEPARATOR}\n")[:-1]]


def completed_by_fish(script, lines, cwd="/"):
    asked = "".join(f"complete -C '{line}'; echo '{SEPARATOR}'\n" for line in lines)
    done = subprocess.run(
        [str(shutil.which("fish")), "--no-config"],
        input=f"source {script}\n{asked}",
        capture_output=True,
        text=True,
        check=True,
        env={**ALONE, "HOME": str(script.parent)},
        cwd=cwd,
    )
    parts = done.stdout.split(f"{SEPARATOR}\n")[:-1]
    return [[line.split("\t")[0] for line in part.splitlines()] for part in parts]


COMPLETED = {"bash": completed_by_bash, "fish": completed_by_fish}
SHELLS = ["bash", pytest.param("fish", marks=needs_fish)]


def words_of(values):
    return known_words().get(values, values.split() if " " in values else ())


def every_case():
    """(what is typed, what must be offered): all commands, options, and words that options have."""
    for command in tree().walk():
        start = f"schedtuna {command.path}".strip()
        for one in command.commands:
            yield f"{start} {one.name[:-1]}", one.name
        for option in command.options:
            name = option.names[0]
            yield f"{start} {name[:-1]}", name
            yield from ((f"{start} {name} {word[:-1]}", word) for word in words_of(option.values))
        for argument in command.arguments[:1]:
            yield from ((f"{start} {word[:-1]}", word) for word in words_of(argument.values))


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_option_and_name_is_offered(shell, script):
    cases = list(every_case())
    assert len(cases) >= 300
    found = COMPLETED[shell](script[shell], [line for line, _ in cases])
    missed = [case for case, offered in zip(cases, found, strict=True) if case[1] not in offered]
    assert not missed


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_of_another_place_is_not_offered(shell, script):
    lines = ["schedtuna undo --bud", "schedtuna tune --budget ", "schedtuna tune --scheduler doct"]
    lines += ["schedtuna replay --algorithm quasi", "schedtuna replay --sampler quasi"]
    assert all(not any(part) for part in COMPLETED[shell](script[shell], lines))


def test_parameters_follow_a_schedulers_name(script):
    lines = [
        "schedtuna compare default fair:slice_u",
        "schedtuna compare default fair:slice_us=500,nic",
        "schedtuna tune --workload=inter",
    ]
    # Readline replaces what stands behind the last `:` or `=` only.
    assert completed_by_bash(script["bash"], lines) == [
        ["slice_us=", ""],
        ["500,nice=", ""],
        ["interactive-mix", ""],
    ]


@needs_fish
def test_fish_completes_parameters_and_the_command_itself(script):
    first, second = completed_by_fish(
        script["fish"],
        ["schedtuna compare default fair:slice_us=500,nic", "schedtuna tune -- schedtuna lab statu"],
    )
    assert first == ["fair:slice_us=500,nice="]
    assert second == ["status"]


@pytest.mark.parametrize("shell", SHELLS)
def test_results_folders_are_offered_where_a_study_is_named(shell, script, tmp_path):
    (tmp_path / "results/fair_gp_1").mkdir(parents=True)
    (offered,) = COMPLETED[shell](script[shell], ["schedtuna apply "], cwd=tmp_path)
    assert "results/fair_gp_1" in [path.rstrip("/") for path in offered]


def test_each_kind_is_of_words_or_one_that_shells_know():
    known = {*known_words(), "files", "folders", "studies", TEXT, COMMAND}
    kinds = {row.values for command in tree().walk() for row in (*command.options, *command.arguments)}
    assert {kind for kind in kinds if kind and " " not in kind} <= known


def typed(argv, prepared, keys, awaited):
    """What a shell on a terminal shows after some keys, once `awaited` is there; all of it after a minute."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, {**os.environ, "PS1": "ready> ", "TERM": "dumb", "HOME": "/nonexistent"})
    shown, deadline = b"", time.monotonic() + 60
    steps = [(b"ready> ", f"{prepared}; echo pre''pared\n"), (b"prepared\r\n", keys), (awaited.encode(), "")]
    try:
        for mark, answer in steps:
            while mark not in shown and time.monotonic() < deadline:
                if select.select([terminal], [], [], 1)[0]:
                    shown += os.read(terminal, 4096)
            os.write(terminal, answer.encode())
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    return shown.decode(errors="replace")


def test_bash_on_a_terminal_completes_at_the_tab_key(script):
    argv = ["bash", "--norc", "--noprofile", "-i"]
    keys = "schedtuna tune --workload interac\t"
    assert "interactive-mix" in typed(argv, f"source {script['bash']}", keys, "interactive-mix")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize(
    ("keys", "awaited"),
    [
        ("schedtuna tun\t--budg\t", " --budget"),
        ("schedtuna lab statu\t", "lab status"),
        ("schedtuna suite run pip\t", "pipes"),
        ("schedtuna compare default fair:slice_u\t", "fair:slice_us="),
        ("schedtuna tune --workload interac\t", "interactive-mix"),
    ],
)
def test_zsh_on_a_terminal_completes_at_the_tab_key(keys, awaited, script):
    prepared = f"fpath=({script['zsh'].parent} $fpath); autoload -U compinit; compinit -u -D"
    assert awaited in typed(["zsh", "-f", "-i"], prepared, keys, awaited)
