"""Who is turning knobs on what, right now?

Two runs on one target can't both be right: each would take the other's settings for the default.
So whoever starts a series of runs claims its target, in a file beside the journal, and is refused
what a living process has claimed.

**Why not a lock.** A lock is held by a file descriptor, which children inherit: a service that a run has
started would go on holding it. And targets overlap: a control group contradicts those below and above it,
a setting of the whole machine contradicts everything, and two commands' trees contradict nothing. So a
claim is a line of the file that says what is claimed and by whom, and only reading and writing the file
is locked, for as long as that takes.

**States.** A claim is *written* (the line is on disk, its process lives), then *removed*, or *dead*: the
line is there and its process is not. A dead claim binds nobody and needs no cleaning: whoever reads drops
it, and whoever finds no living claim empties the file. What names a process is its number with its start
time and the boot, as numbers are given out again.

**What may go wrong, and when.**

- Killed before the line is whole on disk: `PrivateFolder` shows no line without its end, and cuts it off
  before the next one is added. Nothing was changed yet.
- Killed at any time afterwards, or the machine reboots: the claim is dead. What the run had changed is
  another matter, the journal's: `put_back_stale` reverts it before the next run reads a default.
- Two runs begin at once: reading the others' claims and adding one's own is one step under the lock, so
  the second one sees the first one's.
- `require_free` looks without the lock and claims nothing. It is there to refuse early, before settings
  are read as the default's; that the answer may be old by the time of `claimed` does no harm, as that
  looks again.
- The file can't be written (a full disk, a folder of somebody else): a run that would change things that
  exist is refused. One that starts its own command goes on unclaimed: where the claim can't be written,
  neither can the journal, so it can only measure.
- The claim can't be removed at the end: it is dead as soon as the process has ended.

**Limits.** Claims are one user's: root and another user, or two containers with folders of their own,
don't see each other. Of containers that share the folder but not the processes, a claim holds until all
processes of its namespace have ended, or as long as that can't be seen from here.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from schedtuna.errors import JournalError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.journal import TargetBusyError
from schedtuna.knobs.private_file import PrivateFolder
from schedtuna.knobs.records import Owner, this_process
from schedtuna.knobs.registry import knob_named
from schedtuna.knobs.state import state_directory
from schedtuna.machine.tasks import boot_id

CLAIMS_NAME = "claims.jsonl"


class _Claim(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    boot_id: str
    owner: Owner
    scope: Scope
    subject: str
    wide: bool  # whether settings of the whole machine are turned, in whichever scope

    @property
    def holds(self) -> bool:
        """Whether its process is alive, or may be, where it can't be seen."""
        return self.boot_id == boot_id() and not self.owner.is_dead

    def contradicts(self, other: _Claim) -> bool:
        """Whether the two would see each other's settings. Two commands' trees never do."""
        if self.wide or other.wide:
            return True
        if self.scope is not other.scope or self.scope is Scope.TREE:
            return False
        mine, others = Path(self.subject), Path(other.subject)
        return mine.is_relative_to(others) or others.is_relative_to(mine)


@contextlib.contextmanager
def claimed(target: Target, directory: Path | None = None, *, turned: Iterable[str] = ()) -> Iterator[None]:
    """Claim a target until the end of the block.

    Args:
        target: What will be changed, or, in scope tree, measured.
        directory: Where claims are kept; default `state_directory()`.
        turned: Names of the knobs that will be turned; some are the whole machine's in every scope.

    Raises:
        TargetBusyError: A process that is alive has claimed it.
        JournalError: The claim can't be written down.
    """
    directory = directory or state_directory()
    claim = _claim_of(target, turned)
    try:
        _add(directory, claim)
    except TargetBusyError:
        raise
    except (JournalError, OSError):
        if target.scope is not Scope.TREE:
            raise
        yield  # a command alone may be measured where nothing can be written, and so nothing be changed
        return
    try:
        yield
    finally:
        with contextlib.suppress(JournalError, OSError):  # it ends with this process all the same
            _remove(directory, claim)


def require_free(target: Target, directory: Path | None = None) -> None:
    """Raise where a target is claimed; before its settings are read as the default's.

    Raises:
        TargetBusyError: A process that is alive has claimed it.
        JournalError: The claims can't be read.
    """
    directory = directory or state_directory()
    with contextlib.suppress(FileNotFoundError), PrivateFolder(directory, create=False) as folder:
        _refuse(_claim_of(target), _read(folder), directory)


def _claim_of(target: Target, turned: Iterable[str] = ()) -> _Claim:
    wide = target.scope is Scope.MACHINE or any(Scope.MACHINE in knob_named(name).scopes for name in turned)
    subject = ""
    if target.scope is Scope.PID:
        subject = str(target.pid)
    elif target.scope is Scope.CGROUP and target.cgroup is not None:
        subject = str(target.cgroup.resolve())
    return _Claim(
        id=secrets.token_hex(8),
        boot_id=boot_id(),
        owner=this_process(),
        scope=target.scope,
        subject=subject,
        wide=wide,
    )


def _add(directory: Path, claim: _Claim) -> None:
    with PrivateFolder(directory, create=True) as folder:
        folder.lock()
        others = _read(folder)
        _refuse(claim, others, directory)
        if not others:
            with contextlib.suppress(FileNotFoundError):
                folder.empty(CLAIMS_NAME)
        folder.append(CLAIMS_NAME, _lines([claim]))


def _remove(directory: Path, claim: _Claim) -> None:
    with PrivateFolder(directory, create=False) as folder:
        folder.lock()
        others = [other for other in _read(folder) if other.id != claim.id]
        if others:
            folder.replace(CLAIMS_NAME, _lines(others))
        else:
            folder.empty(CLAIMS_NAME)


def _read(folder: PrivateFolder) -> list[_Claim]:
    """The claims that hold; what another version wrote is let go."""
    claims = []
    for line in folder.read(CLAIMS_NAME).splitlines():
        with contextlib.suppress(ValidationError):
            claims.append(_Claim.model_validate_json(line))
    return [claim for claim in claims if claim.holds]


def _refuse(claim: _Claim, others: Sequence[_Claim], directory: Path) -> None:
    for other in others:
        if claim.contradicts(other):
            unseen = other.owner.is_stranger
            raise TargetBusyError(
                f"process {other.owner.pid}{' of another namespace' if unseen else ''} is"
                f"{', or may be,' if unseen else ''} at work on {_spelled(other)}: two runs at once would "
                "take each other's settings for the default",
                hint="wait until it has ended, or end it"
                + (f"; where you know that it has, remove {directory / CLAIMS_NAME}" if unseen else ""),
            )


def _spelled(claim: _Claim) -> str:
    if claim.wide:
        return "settings of the whole machine"
    names = {
        Scope.TREE: "a command",
        Scope.PID: f"process {claim.subject}",
        Scope.CGROUP: claim.subject,
    }
    return names[claim.scope]


def _lines(claims: Sequence[_Claim]) -> bytes:
    return "".join(json.dumps(claim.model_dump(mode="json")) + "\n" for claim in claims).encode()
