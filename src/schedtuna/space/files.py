"""Spaces as JSON, YAML and TOML text."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Any, Literal

from schedtuna.errors import ConfigFileError
from schedtuna.space.parameter_space import ParameterSpace

TextFormat = Literal["json", "yaml", "toml"]


def dump_space(space: ParameterSpace, text_format: TextFormat) -> str:
    """Return the space as text that `load_space` reads back as an equal space."""
    data = space.to_mapping()
    if text_format == "json":
        return json.dumps(data, indent=2) + "\n"
    if text_format == "yaml":
        import yaml

        return yaml.safe_dump(data, sort_keys=False)
    import tomli_w

    return tomli_w.dumps(data)


def load_space(text: str, text_format: TextFormat) -> ParameterSpace:
    """Return the space that a text describes.

    Raises:
        ConfigFileError: It is no JSON, YAML or TOML; the message names the line.
        SpaceError: It describes no valid space.
    """
    data = _parse(text, text_format)
    if not isinstance(data, Mapping):
        raise ConfigFileError(f"expected a mapping with 'parameters', got {type(data).__name__}")
    return ParameterSpace.from_mapping(data)


def _parse(text: str, text_format: TextFormat) -> Any:
    import yaml

    try:
        if text_format == "json":
            return json.loads(text)
        return yaml.safe_load(text) if text_format == "yaml" else tomllib.loads(text)
    except (json.JSONDecodeError, yaml.YAMLError, tomllib.TOMLDecodeError) as error:
        raise ConfigFileError(f"invalid {text_format.upper()}: {error}") from None
