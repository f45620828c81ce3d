"""What does a scheduler's loader prepare on a machine of this layout? It is run and stopped in a guest."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from schedtuna.configfile import parse_json
from schedtuna.errors import UsageError
from schedtuna.files import copy_file
from schedtuna.lab.errors import GuestError, LabError
from schedtuna.lab.layers import guest_program
from schedtuna.lab.store import Lab
from schedtuna.lab.vm import BootedGuest, GuestSpec
from schedtuna.resources import resource_path
from schedtuna.scheduler.objects import is_object

_SCRIPT, _MAPS, _OUTPUT = "loader.py", "loaded_maps.py", "prepared.json"
PATIENCE_S: Final = 900.0
_LAST_LINES = 12


def prepared_by(
    lab: Lab,
    program: Path,
    arguments: Sequence[str] = (),
    *,
    topology: str,
    kernel: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run a loader in a guest until it would attach its scheduler, and return what it has prepared.

    Args:
        lab: The lab.
        program: The loader.
        arguments: What it is given.
        topology: Of the guest: LLCSxCORESxTHREADS.
        kernel: Its version; None: the lab's default.
        say: Called with what is going on.

    Returns:
        Plain JSON values, not looked at: lab/guest/loader.py's `facts`.

    Raises:
        UsageError: It is no loader.
        LabError: It does not get that far, with the end of what it said.
    """
    if is_object(program):
        raise UsageError(
            f"{program} is a bare object: it has no loader, and its variables are what it says",
            hint="set them by name: --scheduler FILE.bpf.o:NAME=VALUE",
        )
    with tempfile.TemporaryDirectory(prefix="schedtuna-loader-") as made:
        share = Path(made)
        for script in (_SCRIPT, _MAPS):
            copy_file(resource_path(f"lab/guest/{script}"), share / script)
        spec = GuestSpec.of(None, topology, kernel=kernel, programs=(program,), share=share)
        say(f"booting a guest of {spec.laid_out}")
        with BootedGuest(lab, spec) as guest:
            say(f"running {program.name} until it would start its scheduler")
            command = [
                "python3",
                "-I",
                "-S",
                f"/share/{_SCRIPT}",
                f"/share/{_OUTPUT}",
                guest_program(program),
            ]
            raw = guest.run([*command, *arguments], timeout_s=PATIENCE_S)
            guest.fetch_changes()
        if not (share / _OUTPUT).is_file():
            raise GuestError(f"the guest did not tell what {program.name} prepared: {raw.stderr[-2000:]}")
        found = parse_json((share / _OUTPUT).read_bytes(), any_text=True)
    if not isinstance(found, dict):
        raise GuestError(f"the guest did not tell what {program.name} prepared")
    if "error" in found:
        said = str(found.get("log", "")).strip().splitlines()[-_LAST_LINES:]
        raise LabError("\n".join([f"{program.name} in a guest of {topology}: {found['error']}", *said]))
    return found
