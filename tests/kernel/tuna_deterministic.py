"""scx_tuna on one CPU whose clock counts instructions: what no host disturbs can be told exactly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.kernel.lab_guest import lab_or_skip

from schedtuna.backend.places.guest import Guest
from schedtuna.lab.deterministic.trials import Deterministic, DeterministicSpec

LOADS = Path(__file__).with_name("tuna_loads.py")


def carried_out(
    program: Path,
    folder: Path,
    orders: Sequence[Sequence[Any]],
    *,
    files: Mapping[str, str] | None = None,
) -> list[Any]:
    """Carry out orders of tuna_loads.py under a scheduler's object; returns the answers.

    Args:
        program: The object.
        folder: An empty one.
        orders: In order.
        files: Texts that the guest has in /share, by name.
    """
    shutil.copy(LOADS, folder)
    for name, text in {"orders.json": json.dumps(orders), **(files or {})}.items():
        (folder / name).write_text(text)
    spec = DeterministicSpec(
        ("sh", "-c", f"python3 /share/{LOADS.name} < /share/orders.json"),
        share=folder,
        scheduler=Guest().scheduler(str(program)),
        scheduler_program=program,
    )
    raw = Deterministic(lab_or_skip(), spec, cache=folder.parent / "cache").run(1).raw
    assert raw.exit_code == 0, raw.stderr
    return [json.loads(line) for line in raw.stdout.splitlines()]
