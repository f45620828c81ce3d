"""How does a shell complete `schedtuna`? One script per shell, with every name in it.

Nothing of Schedtuna runs while somebody types: a key press costs the shell's own lookup, also on a
machine that is busy, and disturbs no measurement.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from schedtuna.cli.tree import (
    COMMAND,
    FILES,
    FOLDERS,
    SCHEDULERS,
    STUDIES,
    TEXT,
    ArgumentEntry,
    CommandEntry,
    OptionEntry,
)

Words = Mapping[str, Sequence[str]]
_HELP = OptionEntry(("--help",), "", "Show the help.", "")

# Behind the table `_schedtuna_table`; readline replaces only what stands behind the last `:` or `=`.
_BASH = r"""
_schedtuna() {
    local line=${COMP_LINE:0:COMP_POINT} path="" value="" kind="" last="" current="" word before head
    local -a words found=()
    local -i number=0
    read -ra words <<<"$line"
    if [[ $line != *[[:space:]] ]]; then
        current=${words[-1]}
        unset 'words[-1]'
    fi
    for word in "${words[@]:1}"; do
        last=$word
        if [[ -n $value ]]; then
            value=""
            continue
        fi
        case $word in
            --) kind=command; break ;;
            -*=*) ;;
            -*) value=${_schedtuna_table["value $path $word"]-} ;;
            *)
                if [[ " ${_schedtuna_table["commands $path"]-} " == *" $word "* ]]; then
                    path+=${path:+ }$word
                else
                    number+=1
                fi
                ;;
        esac
    done
    before=""
    if [[ $kind == command ]]; then
        if [[ ${words[-1]} == -- ]]; then
            mapfile -t COMPREPLY < <(compgen -c -- "$current")
        fi
        return
    elif [[ -n $value ]]; then
        kind=$value
    elif [[ $current == --*=* ]]; then
        kind=${_schedtuna_table["value $path ${current%%=*}"]-text}
        before=${current%%=*}=
        current=${current#*=}
    elif [[ $current == -* ]]; then
        kind="options $path"
    elif [[ -n ${_schedtuna_table["commands $path"]-} ]]; then
        kind="commands $path"
    else
        kind=${_schedtuna_table["argument $path $number"]-${_schedtuna_table["argument $path *"]-text}}
    fi
    head=""
    case $kind in
        files) return ;;
        text) compopt +o default; return ;;
        folders | studies)
            compopt -o filenames
            mapfile -t found < <(compgen -d -- "$current")
            if [[ $kind == studies && -z $current ]]; then
                mapfile -t -O "${#found[@]}" found < <(compgen -d -- results/)
            fi
            ;;
        schedulers)
            if [[ $current == *:* ]]; then
                head=${current%"${current##*[:,]}"}
                kind="parameters ${current%%:*}"
                compopt -o nospace
            fi
            mapfile -t found < <(compgen -W "${_schedtuna_table[$kind]-}" -P "$head" -- "${current#"$head"}")
            ;;
        *) mapfile -t found < <(compgen -W "${_schedtuna_table[$kind]-$kind}" -- "$current") ;;
    esac
    before+=$current
    if [[ $before == *[:=]* ]]; then
        head=${current%"${current##*[:=]}"}
        found=("${found[@]#"$head"}")
    fi
    COMPREPLY=("${found[@]}")
}
complete -o default -F _schedtuna schedtuna
"""

_FISH = r"""
function __schedtuna_at
    set -l path ''
    for word in (commandline -opc)[2..]
        test "$word" = --; and return 1
        set -l longer (string trim -- "$path $word")
        contains -- "$longer" $__schedtuna_paths; and set path "$longer"
    end
    test "$path" = "$argv[1]"
end
function __schedtuna_has_command
    contains -- -- (commandline -opc)
end
function __schedtuna_command
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words)
    complete -C (string join ' ' -- $words[(math $at + 1)..] (commandline -ct))
end
function __schedtuna_studies
    __fish_complete_directories (commandline -ct)
    test -z (commandline -ct); and string match -r '.*/$' -- results/*/
end
function __schedtuna_schedulers
    set -l typed (string split -m 1 : -- (commandline -ct))
    if test (count $typed) = 1
        string split ' ' -- $__schedtuna_schedulers
    else
        set -l head (string replace -r '[^:,]*$' '' -- (commandline -ct))
        set -l known __schedtuna_parameters_(string replace -ra '\W' _ -- $typed[1])
        for name in (string split ' ' -- $$known)
            echo $head$name=
        end
    end
end
complete -c schedtuna -f
complete -c schedtuna -n __schedtuna_has_command -f -a '(__schedtuna_command)'
"""

_ZSH = r"""
_schedtuna_studies() {
    _alternative 'studies:study:_path_files -/ -W results -P results/' 'folders:folder:_files -/'
}
_schedtuna_schedulers() {
    if compset -P 1 '*:'; then
        local name=${IPREFIX##* }
        name=${name%:*}
        name=${name//[^a-zA-Z0-9_]/_}
        compset -P '*,'
        compadd -q -S = -- ${(P)${:-_schedtuna_parameters_$name}}
    else
        compadd -- $_schedtuna_schedulers
    fi
}
"""


def bash(tree: CommandEntry, words: Words, parameters: Words) -> str:
    """Return the script for bash 4.4 and newer, which needs no package."""
    table = {kind: " ".join(names) for kind, names in words.items()}
    table |= {f"parameters {name}": " ".join(f"{one}=" for one in own) for name, own in parameters.items()}
    for command in tree.walk():
        options = (*command.options, _HELP)
        table[f"options {command.path}"] = " ".join(name for option in options for name in option.names)
        table |= {
            f"value {command.path} {name}": option.values
            for option in command.options
            for name in option.names
            if option.values
        }
        if command.commands:
            table[f"commands {command.path}"] = " ".join(one.name for one in command.commands)
        for number, argument in enumerate(command.arguments):
            place = "*" if argument.many else number
            table[f"argument {command.path} {place}"] = argument.values
    rows = "\n".join(f"    [{shlex.quote(key)}]={shlex.quote(value)}" for key, value in table.items())
    return f"# bash completion for schedtuna\ndeclare -gA _schedtuna_table=(\n{rows}\n)\n{_BASH.lstrip()}"


def fish(tree: CommandEntry, words: Words, parameters: Words) -> str:
    """Return the script for fish 3."""
    paths = [command.path for command in tree.walk() if command.path]
    lines = ["# fish completion for schedtuna", _fish_list("paths", paths)]
    lines += [_fish_list(kind, [" ".join(names)]) for kind, names in words.items()]
    lines += [_fish_list(f"parameters_{_plain(name)}", [" ".join(own)]) for name, own in parameters.items()]
    lines.append(_FISH.strip())
    for command in tree.walk():
        at = f"complete -c schedtuna -n {_fish_quote(f'__schedtuna_at {_fish_quote(command.path)}')}"
        for one in command.commands:
            lines.append(f"{at} -a {one.name} -d {_fish_quote(one.summary)}")
        for option in (*command.options, _HELP):
            names = " ".join(
                f"-l {name[2:]}" if name[:2] == "--" else f"-s {name[1:]}" for name in option.names
            )
            lines.append(f"{at} {names}{_fish_value(option.values)} -d {_fish_quote(_first(option.help))}")
        for values in dict.fromkeys(argument.values for argument in command.arguments):
            if values not in (TEXT, COMMAND):
                lines.append(f"{at}{_fish_value(values, option=False)}")
    return "\n".join(lines) + "\n"


def _fish_list(name: str, words: Sequence[str]) -> str:
    return " ".join([f"set -g __schedtuna_{name}", *map(_fish_quote, words)])


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_value(values: str, *, option: bool = True) -> str:
    """How what can stand for a value is said of a completion; empty: there is no value."""
    if not values:
        return ""
    source = {
        TEXT: "",
        FILES: "",
        FOLDERS: "(__fish_complete_directories (commandline -ct))",
        STUDIES: "(__schedtuna_studies)",
        SCHEDULERS: "(__schedtuna_schedulers)",
    }.get(values, values if " " in values else f'(string split " " -- $__schedtuna_{values})')
    how = " -r -F" if values == FILES else " -x" if option else ""
    return how + (f" -a {_fish_quote(source)}" if source else "")


def zsh(tree: CommandEntry, words: Words, parameters: Words) -> str:
    """Return the script for zsh 5."""
    lines = ["#compdef schedtuna"]
    lines += [f"_schedtuna_{kind}=({' '.join(names)})" for kind, names in words.items()]
    lines += [f"_schedtuna_parameters_{_plain(name)}=({' '.join(own)})" for name, own in parameters.items()]
    lines.append(_ZSH.strip())
    for command in tree.walk():
        lines += [f"{_zsh_function(command)}() {{", *_zsh_body(command), "}"]
    lines.append(
        'if [[ $funcstack[1] == _schedtuna ]]; then _schedtuna "$@"; else compdef _schedtuna schedtuna; fi'
    )
    return "\n".join(lines) + "\n"


def _zsh_function(command: CommandEntry) -> str:
    return "_".join(["_schedtuna", *(["", _plain(command.path)] if command.path else [])])


def _zsh_body(command: CommandEntry) -> Iterator[str]:
    specs = [spec for option in (*command.options, _HELP) for spec in _zsh_option(option)]
    if command.commands:
        names = " ".join(f"{one.name}\\:{_zsh_text(one.summary, quoted=True)}" for one in command.commands)
        specs += [shlex.quote(f"1:command:(({names}))"), "'*::argument:->rest'"]
        yield "    local context state line"
        yield "    typeset -A opt_args"
        yield f"    _arguments -C {' '.join(specs)} && return"
        yield "    case $state:$line[1] in"
        yield from (f"        rest:{one.name}) {_zsh_function(one)} ;;" for one in command.commands)
        yield "    esac"
    else:
        specs += [_zsh_argument(number, one) for number, one in enumerate(command.arguments, 1)]
        yield f"    _arguments {' '.join(specs)}"


def _zsh_option(option: OptionEntry) -> Iterator[str]:
    value = f":{_zsh_text(option.placeholder)}:{_zsh_action(option.values)}" if option.values else ""
    for name in option.names:
        yield shlex.quote(f"*{name}[{_zsh_text(_first(option.help))}]{value}")


def _zsh_argument(number: int, argument: ArgumentEntry) -> str:
    place = "*::" if argument.values == COMMAND else "*:" if argument.many else f"{number}:"
    return shlex.quote(f"{place}{_zsh_text(argument.placeholder)}:{_zsh_action(argument.values)}")


def _zsh_action(values: str) -> str:
    own = {
        TEXT: " ",
        FILES: "_files",
        FOLDERS: "_files -/",
        STUDIES: "_schedtuna_studies",
        SCHEDULERS: "_schedtuna_schedulers",
        COMMAND: "_normal",
    }
    return own.get(values) or (f"({values})" if " " in values else f"compadd -a _schedtuna_{values}")


def _zsh_text(text: str, *, quoted: bool = False) -> str:
    """A text within a specification: without what would end it."""
    plain = re.sub(r"([\[\]:])", r"\\\1", text.replace("\\", "").replace("`", ""))
    return re.sub(r"(['\" ();&|<>*?$#~])", r"\\\1", plain) if quoted else plain


def _first(text: str) -> str:
    """The first sentence."""
    return text.partition(". ")[0].removesuffix(".")


def _plain(text: str) -> str:
    return re.sub(r"\W", "_", text)


SCRIPTS: dict[str, Callable[[CommandEntry, Words, Words], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
