"""In which form is a scheduler of somebody's own written down, in a file or a dictionary?

What a file holds is what `scheduler_from_mapping` reads, and `definition` is its inverse.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from schedtuna.configfile import first_fault
from schedtuna.errors import UsageError, nearest
from schedtuna.files.versions import StoredFormat
from schedtuna.printable import printable
from schedtuna.scheduler.arguments import command_arg
from schedtuna.scheduler.entry import entries
from schedtuna.scheduler.guess import COMMON_FLAGS, guess
from schedtuna.scheduler.probe import ProbedProgram
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec

STORED = StoredFormat(UsageError)  # of a user's file


def scheduler_from_mapping(content: Mapping[str, Any], *, place: str) -> SchedulerConfig:
    """Return the scheduler that a user's file or dictionary defines.

    Args:
        content: `name`, and optionally `binary_path`, `description`, `constraints`, `version` (of the
            form of such files), and `parameters`: a mapping of names to `type`, `default`,
            `min_value`, `max_value`, `choices`, ...
        place: What it was read from, for messages.

    Raises:
        UsageError: It defines no scheduler, or for a newer version of Schedtuna; the message says where.
    """
    known = ("name", "binary_path", "description", "parameters", "constraints")
    content = STORED.upgrade(content, place)
    del content[STORED.key]
    for key in content:
        if key not in known:
            raise UsageError(f"{place}: unknown key {key!r}", hint=nearest(key, known))
    parameters = content.get("parameters", {})
    if not isinstance(parameters, Mapping):
        raise UsageError(f"{place}: 'parameters' must map names to specifications")
    try:
        specs = {
            name: ParameterSpec.model_validate({"name": name, **spec}) for name, spec in parameters.items()
        }
        scheduler = SchedulerConfig.model_validate({**content, "parameters": specs})
    except ValidationError as error:
        raise UsageError(f"{place}: {first_fault(error)}") from None
    except TypeError:
        raise UsageError(f"{place}: each parameter must be a mapping with a type and a default") from None
    scheduler.space.default()  # finds contradictory rules
    return scheduler


def definition(scheduler: SchedulerConfig) -> dict[str, Any]:
    """Return what a file that defines a scheduler holds; its values are no part of it."""
    content = scheduler.model_dump(
        mode="json", exclude_defaults=True, include={"name", "binary_path", "description"}
    )
    if scheduler.constraints:
        content |= scheduler.model_dump(mode="json", exclude_none=True, include={"constraints"})

    specs = {
        name: spec.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
        for name, spec in scheduler.parameters.items()
    }
    return {**content, "parameters": specs}


def first_definition(probed: ProbedProgram, scheduler: SchedulerConfig, suffix: str) -> str:
    """Return the text of a file that defines a scheduler as its program's `--help` describes it.

    Args:
        probed: What the program says.
        scheduler: What was made of that.
        suffix: As for `definition_text`.
    """
    remarks = [f"{probed.name} {probed.version}".rstrip() + ", as its --help describes it."]
    if probed.name in entries():
        remarks += ["Bounds and descriptions are those of `schedtuna schedulers show`."]
    else:
        remarks += [
            "Bounds that it does not state are a tenth of a default up to ten times it: mend them, and check",
            "the file with `schedtuna schedulers check FILE`.",
        ]
    taken = {command_arg(name, spec).partition("=")[0] for name, spec in scheduler.parameters.items()}
    for flag in probed.flags.values():
        if flag.flag in taken | COMMON_FLAGS:
            continue
        reason = guess(flag)
        why = reason if isinstance(reason, str) else "nobody has said within which bounds it makes sense"
        remarks += textwrap.wrap(
            printable(f"Left out: {flag.flag} ({why}). {flag.summary()}"), 100, subsequent_indent="  "
        )
    return definition_text(scheduler, suffix, remarks)


def definition_text(scheduler: SchedulerConfig, suffix: str, remarks: Sequence[str] = ()) -> str:
    """Return a definition as the text of a file.

    Args:
        scheduler: What is defined.
        suffix: The file's: ``.toml``, ``.yaml``, ``.yml`` or ``.json``.
        remarks: What stands above it as comments, where the format has any.

    Raises:
        UsageError: There is no such format.
    """
    content = definition(scheduler)
    comments = "".join(f"# {remark}".rstrip() + "\n" for remark in remarks)
    if suffix == ".json":
        return json.dumps(content, indent=2) + "\n"
    if suffix == ".toml":
        import tomli_w

        return comments + tomli_w.dumps(content)
    if suffix not in (".yaml", ".yml"):
        raise UsageError(f"unknown format {suffix!r}", hint="name the file *.toml, *.yaml or *.json")
    import yaml

    return comments + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
