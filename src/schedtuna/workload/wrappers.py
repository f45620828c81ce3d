"""Which programs does a command line start, one inside the other? As far as its words show it. Pure.

`env A=1 nice -n 5 sh -c 'taskset -c 0 ./bench'` starts env, nice, sh, taskset and ./bench. What a script
file starts can't be seen here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from schedtuna.workload.options import Options

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash", "busybox"})
_OPERATORS = re.compile(r"[;&|()<>\n]+")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
# Words that stand before a command of a shell's.
_KEYWORDS = frozenset({"!", "{", "}", "if", "then", "elif", "else", "while", "until", "do"})
_DEPTH = 10  # of one program inside the other; nobody writes more


@dataclass(frozen=True)
class Wrapper:
    """How a program that runs another one takes its arguments.

    Attributes:
        takes: Its options whose argument is the next word.
        positionals: Words of its own before the command.
        runs_nothing_with: Options with which it changes what runs already, and starts nothing.
    """

    takes: frozenset[str] = frozenset()
    positionals: int = 0
    runs_nothing_with: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Started:
    """A program that a command line starts.

    Attributes:
        name: Its base name.
        arguments: All words after it, a command that it runs included.
        own: Those that are its own; all of them, where it runs no other.
        alone: Whether nothing else that does work is started beside it.
        is_relative: Whether it was named by a path from here, such as ./bench.
    """

    name: str
    arguments: tuple[str, ...]
    own: tuple[str, ...]
    alone: bool = True
    is_relative: bool = False

    def __str__(self) -> str:
        return shlex.join([self.name, *self.own])


def _wrapper(takes: str = "", positionals: int = 0, without: str = "") -> Wrapper:
    return Wrapper(frozenset(takes.split()), positionals, frozenset(without.split()))


WRAPPERS: dict[str, Wrapper] = {
    "catchsegv": _wrapper(),
    "chronic": _wrapper(),
    "chroot": _wrapper("", 1),
    "chrt": _wrapper("-T -P -D --sched-runtime --sched-period --sched-deadline", 1, "-p --pid -m --max"),
    "choom": _wrapper("-n --adjust", 0, "-p --pid"),
    "command": _wrapper(),
    "doas": _wrapper("-u -C"),
    "env": _wrapper("-u --unset -C --chdir -a --argv0"),
    "exec": _wrapper("-a"),
    "faketime": _wrapper("", 1),
    "firejail": _wrapper(),
    "flock": _wrapper("-w --wait --timeout -E --conflict-exit-code -c --command", 1),
    "gosu": _wrapper("", 1),
    "ionice": _wrapper("-c --class -n --classdata", 0, "-p --pid -P --pgid -u --uid"),
    "ip": _wrapper("-n -netns --netns", 3),  # netns exec NAME
    "ltrace": _wrapper("-a -e -F -l -n -o -p -s -u -w -x"),
    "nice": _wrapper("-n --adjustment"),
    "nohup": _wrapper(),
    "nsenter": _wrapper("-t --target -S --setuid -G --setgid"),
    "numactl": _wrapper(
        "-i --interleave -p --preferred -P --preferred-many -w --weighted-interleave -N --cpunodebind "
        "-C --physcpubind -m --membind -b --balancing",
        0,
        "-H --hardware -s --show",
    ),
    "perf": _wrapper(  # stat and record
        "-e --event -o --output -r --repeat -I --interval-print -x --field-separator -C --cpu -G --cgroup "
        "-F --freq -c --count -m --mmap-pages -D --delay -M --metrics --filter --call-graph --timeout",
        1,
        "-p --pid -t --tid",
    ),
    "prlimit": _wrapper("", 0, "-p --pid"),
    "runuser": _wrapper("-u --user -g --group -G --supp-group -c --command -s --shell"),
    "schedtool": _wrapper("-p -s -n -a -S"),
    "setarch": _wrapper(),
    "setpriv": _wrapper("--reuid --regid --groups --inh-caps --bounding-set --ambient-caps"),
    "setsid": _wrapper(),
    "stdbuf": _wrapper("-i --input -o --output -e --error"),
    "strace": _wrapper("-e -o -p -s -u -E -P -I"),
    "sudo": _wrapper("-u --user -g --group -p --prompt -h --host -C -D --chdir -r --role -t --type -T -U"),
    "taskset": _wrapper("", 1, "-p --pid"),
    "time": _wrapper("-f --format -o --output"),
    "timeout": _wrapper("-k --kill-after -s --signal", 1),
    "unbuffer": _wrapper(),
    "uclampset": _wrapper("-m -M", 0, "-p --pid -s --system"),
    "unshare": _wrapper("-S --setuid -G --setgid -R --root -w --wd"),
    "valgrind": _wrapper(),
    "watch": _wrapper("-n --interval"),
    "winpty": _wrapper(),
    "xargs": _wrapper("-n -P -I -L -s -d -a -E --max-args --max-procs --replace --delimiter --arg-file"),
}
# Programs that give a shell the text in one of these options.
_GIVES_TEXT = {
    "flock": ("-c", "--command"),
    "nix-shell": ("--run", "--command"),
    "runuser": ("-c", "--command", "--session-command"),
    "script": ("-c", "--command"),
    "su": ("-c", "--command", "--session-command"),
}
_TEXT_OPTIONS = Options(
    short="c:g:G:s:u:w:E:",
    long="command: session-command: run: group: supp-group: shell: user: wait: timeout:",
)
# hyperfine: each word that is no option is a shell's text; what some options take is none.
_HYPERFINE = (
    "-P::: --parameter-scan::: -L:: --parameter-list:: -w: --warmup: -m: --min-runs: -M: --max-runs: "
    "-r: --runs: -s: --setup: -p: --prepare: -C: --conclude: -c: --cleanup: -D: --parameter-step-size: "
    "-S: --shell: --style: --sort: -u: --time-unit: --export-asciidoc: --export-csv: --export-json: "
    "--export-markdown: "
    "--export-orgmode: --output: --input: -n: --command-name: --reference:"
)
_HYPERFINE_TAKES = {word.rstrip(":"): word.count(":") for word in _HYPERFINE.split()}
_SPLIT_STRING = re.compile(r"(?:-[iv0]*S|--split-string=?)(.*)", re.DOTALL)
# What scripts do beside their work.
_TRIVIAL_WORDS = """
: [ alias awk case cat cd date declare done echo esac exit export false fi for grep hash head local mkdir
printf pwd read return rm sed set shift sleep sort source . sync tail tee test touch tr trap true type
ulimit umask unset wait wc
"""
_TRIVIAL = frozenset(_TRIVIAL_WORDS.split())


def started(argv: Sequence[str], *, shell: bool = False) -> list[Started]:
    """Return the programs that a command line starts, outermost first.

    Args:
        argv: The words.
        shell: Whether they are the text of a shell's, as with `--shell`.
    """
    if shell:
        return list(_of_script(" ".join(argv), _DEPTH))
    return list(_of_words(tuple(argv), _DEPTH))


def _of_words(words: tuple[str, ...], depth: int, *, alone: bool = True) -> Iterator[Started]:
    words = _without_assignments(words)
    if not words or not depth:
        return
    name, arguments = PurePath(words[0]).name, words[1:]
    is_relative = "/" in words[0] and not words[0].startswith("/")
    if name == "env":
        arguments = _with_split_string(arguments)
    # An architecture may come first, and needs not.
    nr_first = int(name == "setarch" and bool(arguments) and not arguments[0].startswith("-"))
    nr_own = len(arguments)
    if name in WRAPPERS:
        nr_own = nr_first + _own(WRAPPERS[name], arguments[nr_first:])
    texts = _texts(name, arguments, arguments[:nr_own])
    if texts:
        yield Started(name, arguments, arguments, alone, is_relative)
        for text in texts:
            yield from _of_script(text, depth - 1)
        return
    yield Started(name, arguments, arguments[:nr_own], alone, is_relative)
    yield from _of_words(arguments[nr_own:], depth - 1, alone=alone)


def _of_script(text: str, depth: int) -> Iterator[Started]:
    commands = [words for words in _simple_commands(text) if words]
    working = [words for words in commands if PurePath(words[0]).name not in _TRIVIAL]
    for words in commands:
        yield from _of_words(words, depth, alone=len(working) <= 1)


def _own(wrapper: Wrapper, arguments: Sequence[str]) -> int:
    """How many of a wrapper's words stand before the command that it runs."""
    at, positionals = 0, wrapper.positionals
    while at < len(arguments):
        word = arguments[at]
        if word == "--":
            at += 1
            break
        if (word.startswith("-") and len(word) > 1) or _ASSIGNMENT.match(word):
            if word.partition("=")[0] in wrapper.runs_nothing_with or _clustered(word, wrapper):
                return len(arguments)
            at += 2 if _takes_next(word, wrapper) else 1
        elif positionals:
            positionals -= 1
            at += 1
        else:
            break
    return min(at, len(arguments))


def _takes_next(word: str, wrapper: Wrapper) -> bool:
    """Whether the next word is an option's argument: -u, -iu, --user, or --us, which stands for it."""
    if word.startswith("--"):
        return any(option.startswith(word) for option in wrapper.takes)
    if word in wrapper.takes:  # -netns, too
        return True
    for at, letter in enumerate(word[1:], 2):
        if f"-{letter}" in wrapper.takes:
            return at == len(word)  # what follows in the same word is its argument
    return False


def _clustered(word: str, wrapper: Wrapper) -> bool:
    """Whether one of several short options in one word, such as -cp, says that no command is run."""
    letters = word[1:] if not word.startswith("--") and word[1:].isalpha() else ""
    return any(f"-{letter}" in wrapper.runs_nothing_with for letter in letters)


def _texts(name: str, arguments: Sequence[str], own: Sequence[str]) -> list[str]:
    """The texts that a program gives to a shell; none where it runs words, or nothing."""
    if name in _SHELLS:
        return _shell_text(arguments)
    if name == "eval":
        return [" ".join(arguments)]
    if name == "hyperfine":
        return list(_hyperfine_commands(arguments))
    as_su = name == "runuser" and not _TEXT_OPTIONS.values(own, ("-u", "--user"))
    return _TEXT_OPTIONS.values(arguments if as_su else own, _GIVES_TEXT.get(name, ()))[-1:]


def _shell_text(arguments: Sequence[str]) -> list[str]:
    for at, word in enumerate(arguments):
        if word.startswith("-") and not word.startswith("--") and "c" in word:
            return [text for text in arguments[at + 1 :] if not text.startswith("-")][:1]
        if not word.startswith(("-", "+")) and word not in _SHELLS:
            return []
    return []


def _hyperfine_commands(arguments: Sequence[str]) -> Iterator[str]:
    rest = iter(arguments)
    for word in rest:
        if word == "--":
            yield from rest
        elif not word.startswith("-"):
            yield word
        else:
            for _ in range(_HYPERFINE_TAKES.get(word, 0)):
                next(rest, None)


def _with_split_string(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The arguments of env after it has split what -S has: ``-S 'nice ./bench' x`` runs nice."""
    for at, word in enumerate(arguments):
        if match := _SPLIT_STRING.fullmatch(word):
            text, rest = (match[1], at + 1) if match[1] else (" ".join(arguments[at + 1 : at + 2]), at + 2)
            try:
                return (*arguments[:at], *shlex.split(text), *arguments[rest:])
            except ValueError:  # a quote that is not closed: env will tell
                return arguments
        if not word.startswith("-") and not _ASSIGNMENT.match(word):
            break
    return arguments


def _without_assignments(words: tuple[str, ...]) -> tuple[str, ...]:
    at = 0
    while at < len(words) and (_ASSIGNMENT.match(words[at]) or words[at] in _KEYWORDS):
        at += 1
    return words[at:]


def _simple_commands(text: str) -> Iterator[tuple[str, ...]]:
    """The commands of a shell's text, as words; quotes are heeded, nothing is expanded."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|()<>\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    redirected = False
    try:
        for word in lexer:
            if not _OPERATORS.fullmatch(word):
                if not redirected:
                    words.append(word)
                redirected = False
            elif {"<", ">"} & set(word):
                redirected = True
            else:
                yield _without_assignments(tuple(words))
                words = []
    except ValueError:  # a quote that is not closed: the shell will tell
        return
    yield _without_assignments(tuple(words))
