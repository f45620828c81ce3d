"""Spaces as JSON, YAML and TOML text.

Reading is `ParameterSpace.from_mapping(load_config(path))`, with `schedtuna.configfile`.
"""

from __future__ import annotations

import json
from typing import Literal

from schedtuna.space.parameter_space import ParameterSpace

TextFormat = Literal["json", "yaml", "toml"]


def dump_space(space: ParameterSpace, text_format: TextFormat) -> str:
    """Return the space as text that reads back as an equal space."""
    data = space.to_mapping()
    if text_format == "json":
        return json.dumps(data, indent=2) + "\n"
    if text_format == "yaml":
        import yaml

        return yaml.safe_dump(data, sort_keys=False)
    import tomli_w

    return tomli_w.dumps(data)
