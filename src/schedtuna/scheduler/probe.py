"""What does an installed scheduler's binary really understand? Its own `--help` and `--version` say.

The registry is what is known of releases; the binary is the truth. `join` names the differences.
"""

from __future__ import annotations

import difflib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.files import require_trusted
from schedtuna.machine.checks.programs import scx_binaries
from schedtuna.machine.probe import Probe
from schedtuna.scheduler.entry import Entry
from schedtuna.scheduler.guess import COMMON_FLAGS, guess
from schedtuna.scheduler.help_text import HelpFlag, about, parse_help
from schedtuna.scheduler.objects import is_object, object_flags, own_objects
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec

ANSWER_WITHIN_S = 20.0

_VERSION = re.compile(r"\b(\d+\.\d+(?:\.\d+)*)\b")


@dataclass(frozen=True)
class ProbedProgram:
    """What a binary says of itself; `about` is the first line of its `--help`."""

    binary: Path
    name: str
    version: str
    flags: dict[str, HelpFlag]
    about: str = ""


@dataclass(frozen=True)
class Joined:
    """A binary beside the registry.

    Attributes:
        release: The registered release that it was compared with; empty: the scheduler is unknown.
        known: Flags that both have.
        unknown: Flags that only the binary has.
        missing: Flags that only the registry has.
        renamed: Missing flags and the unknown ones that they probably became.
        defaults: Flags whose default differs: (flag, registered, printed).
    """

    release: str
    known: tuple[str, ...]
    unknown: tuple[str, ...]
    missing: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    defaults: tuple[tuple[str, str, str], ...]


def probe(binary: str | Path) -> ProbedProgram:
    """Ask a binary what it understands. It is run with `--help` and `--version` only; an object is read.

    Raises:
        UnavailableError: It is not there, can't be run, or would run with privilege and others can change it.
        UsageError: Nobody can read its help.
    """
    if is_object(binary):
        name, flags = object_flags(Path(binary).absolute())
        return ProbedProgram(Path(binary).absolute(), name, "", flags, "a BPF object")
    found = shutil.which(str(binary))
    if found is None:
        raise UnavailableError(
            f"no such program: {binary}", hint="give its path, or put its folder into SCHEDTUNA_SCX_PATH"
        )
    path = Path(found)
    require_trusted(
        path, "for its --help", hint="install it where only root can write, or ask it as another user"
    )
    text = _ask(path, "--help")
    try:
        flags = parse_help(text)
    except UsageError as error:
        raise UsageError(f"{path}: {error}", hint=error.hint) from None
    version = _VERSION.search(_ask(path, "--version")) if "--version" in flags else None
    return ProbedProgram(path, path.name, version[1] if version else "", flags, about(text))


def _ask(path: Path, argument: str) -> str:
    try:
        done = subprocess.run(
            [path, argument],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_WITHIN_S,
            check=False,
        )
    except OSError as error:
        raise UnavailableError(
            f"{path} can't be run: {error.strerror}", hint="is it executable, and for this machine?"
        ) from None
    except subprocess.TimeoutExpired:
        raise UnavailableError(
            f"{path} {argument} gave no answer within {ANSWER_WITHIN_S:g} s",
            hint="describe it in a file: docs/sched-ext.md, section A scheduler of your own",
        ) from None
    return (done.stdout + b"\n" + done.stderr).decode(errors="replace")


def join(probed: ProbedProgram, entry: Entry | None) -> Joined:
    """Compare a binary with what is registered for its release."""
    there = {name: flag for name, flag in probed.flags.items() if name not in COMMON_FLAGS}
    if entry is None:
        return Joined("", (), tuple(there), (), (), ())
    release = entry.release(probed.version or None)
    # A build from a repository has flags of the release after the one that it is called.
    here = {flag.flag: flag for flag in entry.flags if flag.flag in there} | entry.flags_of(release)
    here = {name: flag for name, flag in here.items() if name not in COMMON_FLAGS}
    missing = [name for name in here if name not in there]
    unknown = [name for name in there if name not in here]
    renames = {row.old: row.new for row in entry.renames}
    renamed = []
    for name in missing:
        close = (
            [renames[name]] if renames.get(name) in unknown else difflib.get_close_matches(name, unknown, n=1)
        )
        renamed += [(name, close[0])] if close else []
    defaults = []
    for name in here.keys() & there.keys():
        registered, printed = entry.default_of(here[name], release), there[name].default
        if registered is not None and printed is not None and not _same(registered, printed):
            defaults.append((name, registered, printed))
    return Joined(
        release=release,
        known=tuple(name for name in here if name in there),
        unknown=tuple(unknown),
        missing=tuple(missing),
        renamed=tuple(renamed),
        defaults=tuple(sorted(defaults)),
    )


def configured(probed: ProbedProgram, entry: Entry | None) -> SchedulerConfig:
    """Return the scheduler with the parameters that this very binary has.

    Of a scheduler that nobody registered, its switches, and its numbers around their defaults.
    """
    if entry is None:
        guesses = [guess(flag) for flag in probed.flags.values()]
        return SchedulerConfig(
            name=probed.name,
            binary_path=probed.binary,
            parameters={spec.name: spec for spec in guesses if isinstance(spec, ParameterSpec)},
            description=probed.about.removeprefix(f"{probed.name}: "),
        )
    printed = {name: flag.default for name, flag in probed.flags.items()}
    return entry.config(probed.version or None, binary=probed.binary, printed=printed)


def _same(registered: str, printed: str) -> bool:
    def plain(text: str) -> list[str]:
        return [part.lstrip("0") or "0" for part in re.findall(r"[\w.-]+", text.replace('"', ""))]

    try:
        return float(registered) == float(printed)
    except ValueError:
        return plain(registered) == plain(printed)


def installed() -> dict[str, Path]:
    """Return the scx_* programs of SCHEDTUNA_SCX_PATH and PATH, by name; earlier folders win.

    Then those that ship with this package.
    """
    return own_objects() | {name: Path(path) for name, path in scx_binaries(Probe()).items()}
