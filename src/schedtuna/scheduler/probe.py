"""What does an installed scheduler's binary really understand? Its own `--help` and `--version` say.

The registry is what is known of releases; the binary is the truth. `join` names the differences.
"""

from __future__ import annotations

import difflib
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.files import require_trusted
from schedtuna.machine.checks.programs import scx_binaries
from schedtuna.machine.probe import Probe
from schedtuna.scheduler.registry import Entry, FlagKind
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec, ParameterType

ANSWER_WITHIN_S = 20.0

# "  -s, --slice-us <SLICE_US>", "      --stats <STATS>", "  -v, --verbose...", "  -C, --masks <MASKS>..."
_CLAP_FLAG = re.compile(
    r"^ {2,8}(?:(?P<short>-\w)(?:, )?)?(?P<long>--[A-Za-z0-9][\w-]*)?"
    r"(?:[ =]\[?<(?P<value>[^>]+)>\]?)?(?P<more>\.\.\.)?(?:\s{2,}(?P<text>\S.*))?$"
)
# "  -s SLICE_US   Override slice duration", "  -f            Use FIFO scheduling"
_GETOPT_FLAG = re.compile(r"^ {2,4}(?P<short>-\w)(?: (?P<value>[A-Z][A-Z0-9_]*))?(?:\s{2,}(?P<text>\S.*))?$")
_DEFAULT = re.compile(r"\[default: ([^\]]{0,200})\]")
_CHOICES = re.compile(r"\[possible values: ([^\]]{0,2000})\]")
# What can be a parameter: the first of a default's digits is no 0.
_LONG_FLAG = re.compile(r"--[A-Za-z_][A-Za-z0-9_-]*")
_COUNT = re.compile(r"[1-9][0-9]{0,17}")
_CHOICE_LINE = re.compile(r"^\s+- ([\w-]+):")
_VERSION = re.compile(r"\b(\d+\.\d+(?:\.\d+)*)\b")
# No settings: what every program has, and options of libbpf's loader that come with its bindings.
COMMON_FLAGS = frozenset(
    {
        "--help",
        "--version",
        "--relaxed-maps",
        "--pin-root-path",
        "--kconfig",
        "--btf-custom-path",
        "--bpf-token-path",
    }
)
# What schedulers print or measure, rather than how they schedule.
NO_SETTINGS = frozenset(
    {"--stats", "--monitor", "--verbose", "--debug", "--help-stats", "--exit-dump-len", "--partial"}
)


@dataclass(frozen=True)
class HelpFlag:
    """One flag, as a help text states it.

    Attributes:
        flag: Its long name, or the short one where there is no long one.
        short: Its short name; may be empty.
        kind: What it takes.
        default: As printed; None where none is.
        choices: The values that it takes, where they are listed.
        text: What it says of itself.
    """

    flag: str
    short: str
    kind: FlagKind
    default: str | None
    choices: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class ProbedProgram:
    """What a binary says of itself."""

    binary: Path
    name: str
    version: str
    flags: dict[str, HelpFlag]


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


def parse_help(text: str) -> dict[str, HelpFlag]:
    """Read the flags of a clap or getopt help text.

    Raises:
        UsageError: There is no flag in it.
    """
    lines = text.replace("\t", "        ").splitlines()
    flags: dict[str, HelpFlag] = {}
    starts = [(at, match) for at, line in enumerate(lines) if (match := _match(line))]
    ends = [*(at for at, _ in starts), len(lines)][1:]
    for (at, match), following in zip(starts, ends, strict=True):
        body = [match["text"] or "", *lines[at + 1 : following]]
        flag = _flag(match.groupdict(), body)
        flags.setdefault(flag.flag, flag)
    if not flags:
        raise UsageError(
            "no flag could be read from its --help",
            hint="describe the scheduler in a file and check it with `schedtuna schedulers check FILE`",
        )
    return flags


def _match(line: str) -> re.Match[str] | None:
    match = _CLAP_FLAG.match(line)
    if match and match["long"]:
        return match
    return _GETOPT_FLAG.match(line)


def _flag(found: dict[str, str | None], body: Sequence[str]) -> HelpFlag:
    text = " ".join(line.strip() for line in body if line.strip())
    default, choices = _DEFAULT.search(text), _CHOICES.search(text)
    listed = tuple(choices[1].split(", ")) if choices else ()
    listed = listed or tuple(match[1] for line in body if (match := _CHOICE_LINE.match(line)))
    kind: FlagKind = "value"
    if found["value"] is None:
        kind = "count" if found.get("more") else "switch"
    elif set(listed) == {"true", "false"}:
        kind = "boolean"
    return HelpFlag(
        flag=found.get("long") or found["short"] or "",
        short=found["short"] or "",
        kind=kind,
        default=default[1] if default else None,
        choices=listed,
        text=_CHOICES.sub("", _DEFAULT.sub("", text)).strip(),
    )


def probe(binary: str | Path) -> ProbedProgram:
    """Ask a binary what it understands. It is run with `--help` and `--version` only.

    Raises:
        UnavailableError: It is not there, can't be run, or would run with privilege and others can change it.
        UsageError: Nobody can read its help.
    """
    found = shutil.which(str(binary))
    if found is None:
        raise UnavailableError(
            f"no such program: {binary}", hint="give its path, or put its folder into SCHEDTUNA_SCX_PATH"
        )
    path = Path(found)
    require_trusted(
        path, "for its --help", hint="install it where only root can write, or ask it as another user"
    )
    try:
        flags = parse_help(_ask(path, "--help"))
    except UsageError as error:
        raise UsageError(f"{path}: {error}", hint=error.hint) from None
    version = _VERSION.search(_ask(path, "--version")) if "--version" in flags else None
    return ProbedProgram(path, path.name, version[1] if version else "", flags)


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
        raise UnavailableError(f"{path} can't be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{path} {argument} gave no answer within {ANSWER_WITHIN_S:g} s") from None
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
        specs = [spec for flag in probed.flags.values() if (spec := _guessed(flag)) is not None]
        return SchedulerConfig(
            name=probed.name, binary_path=probed.binary, parameters={spec.name: spec for spec in specs}
        )
    printed = {name: flag.default for name, flag in probed.flags.items()}
    return entry.config(probed.version or None, binary=probed.binary, printed=printed)


def _guessed(flag: HelpFlag) -> ParameterSpec | None:
    name = flag.flag.lstrip("-").replace("-", "_")
    if flag.flag in COMMON_FLAGS | NO_SETTINGS or not _LONG_FLAG.fullmatch(flag.flag):
        return None
    common: dict[str, Any] = {"name": name, "description": flag.text[:200], "command_arg": flag.flag}
    if flag.kind == "switch":
        return ParameterSpec(type=ParameterType.BOOLEAN, default=False, **common)
    if flag.choices and flag.default in flag.choices and flag.kind == "value":
        return ParameterSpec(
            type=ParameterType.CATEGORICAL, default=flag.default, choices=flag.choices, **common
        )
    if flag.default is not None and _COUNT.fullmatch(flag.default):
        default = int(flag.default)
        low, high = max(1, default // 10), default * 10
        return ParameterSpec(
            type=ParameterType.INTEGER, default=default, min_value=low, max_value=high, log=True, **common
        )
    return None


def _same(registered: str, printed: str) -> bool:
    def plain(text: str) -> list[str]:
        return [part.lstrip("0") or "0" for part in re.findall(r"[\w.-]+", text.replace('"', ""))]

    try:
        return float(registered) == float(printed)
    except ValueError:
        return plain(registered) == plain(printed)


def installed() -> dict[str, Path]:
    """Return the scx_* programs of SCHEDTUNA_SCX_PATH and PATH, by name; earlier folders win."""
    return {name: Path(path) for name, path in scx_binaries(Probe()).items()}
