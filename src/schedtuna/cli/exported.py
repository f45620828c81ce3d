"""How are the files of an export written, and told?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from schedtuna.cli.output import print_json, print_remark, refuse_existing
from schedtuna.cli.table import spelled_size
from schedtuna.errors import naming
from schedtuna.printable import printable


def write_exported(
    output: Path, files: Mapping[str, bytes], advice: str, *, force: bool, as_json: bool
) -> None:
    """Write files into a folder that is made, all or none of them where some are there; and tell of them.

    Args:
        output: The folder.
        files: By name.
        advice: What to do with them.
        force: Whether files that are there are replaced.
        as_json: Whether they are told as JSON.

    Raises:
        UsageError: One is there, and not to be replaced.
    """
    from schedtuna.files import make_folder, removing_empty, write_bytes

    with naming(output), removing_empty(output):
        make_folder(output)
        for file in files:
            refuse_existing(output / file, force=force)
        for file, content in files.items():
            write_bytes(output / file, content)
    if as_json:
        print_json({"folder": str(output), "files": {file: len(content) for file, content in files.items()}})
        return
    for file, content in files.items():
        print(f"{printable(str(output / file))}  {spelled_size(len(content))}")
    print_remark("note", advice)
