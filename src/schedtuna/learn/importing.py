"""A file of another library becomes a canonical model: is it a net, or trees?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy.typing as npt

from schedtuna.errors import ModelError, nearest
from schedtuna.learn import net_files, tree_import
from schedtuna.learn.float_nets import import_net
from schedtuna.learn.imported import ImportedModel


def import_file(
    path: Path,
    columns: Mapping[str, npt.ArrayLike],
    name: str | None = None,
    labels: Sequence[str] | None = None,
) -> ImportedModel:
    """Make the canonical model of a net or of trees.

    Args:
        path: See `net_files.read_net` and `tree_import.read_trees`.
        columns: Rows such as it will meet, by input, in its order.
        name: Of the model; default: the file's.
        labels: What it decides between; default: `stay` and `migrate` of migrations, else numbers.

    Raises:
        ModelError: It is none of these, damaged, or what a canonical model can't be; or the rows are not
            those that it takes.
        MissingExtraError: What reads it is not installed.
        OSError: It can't be read.
    """
    name = name or path.stem
    if path.is_dir() or path.suffix in net_files.READERS:
        return import_net(net_files.read_net(path), columns, name, labels)
    if path.suffix in tree_import.READERS:
        return tree_import.import_trees(tree_import.read_trees(path), path.name, columns, name, labels)
    known = [*net_files.READERS, *tree_import.READERS]
    raise ModelError(f"{path.name}: no such kind of file", hint=nearest(path.suffix, known))
