"""`schedtuna completion`: the script with which a shell completes what is typed behind `schedtuna`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


class Shell(StrEnum):
    """The shells that have one."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.command()
def completion(
    shell: Annotated[Shell, typer.Argument(metavar="|".join(Shell), help="The shell.", show_default=False)],
) -> None:
    """Print a script that completes commands, options and names in a shell.

    To install it: `schedtuna completion bash > ~/.local/share/bash-completion/completions/schedtuna` (with
    the package bash-completion); `schedtuna completion zsh > _schedtuna` in a folder of $fpath; `schedtuna
    completion fish > ~/.config/fish/completions/schedtuna.fish`. Again after an upgrade: the names are in
    it, so that nothing of Schedtuna runs while you type.
    """
    from schedtuna.cli.shells import SCRIPTS
    from schedtuna.cli.tree import known_parameters, known_words, read_tree

    print(SCRIPTS[shell](read_tree(), known_words(), known_parameters()), end="")
