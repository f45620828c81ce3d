"""What does a YAML, JSON or TOML file say? Malformed files are refused with the line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from schedtuna.errors import ConfigFileError

SUFFIXES = (".yaml", ".yml", ".json", ".toml")
_MAX_BYTES = 4 << 20  # a configuration is a few lines; anything longer is another file


def load_config(path: Path) -> dict[str, Any]:
    """Read a file of named values; its suffix names the format.

    Raises:
        ConfigFileError: The file can't be read, is malformed (with the line), names a key twice,
            or is not a mapping from names to values.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        if not path.exists():
            raise ConfigFileError(f"there is no {path}")
        raise ConfigFileError(f"{path}: unknown format", hint=f"name the file *{' or *'.join(SUFFIXES)}")
    if path.is_fifo():  # it may be a stranger's, and nobody may ever write to it
        raise ConfigFileError(f"{path} is a pipe", hint="write it into a file first")
    text = _read_text(path)
    try:
        value = _PARSERS[suffix](text)
    except (_SyntaxProblem, RecursionError) as error:
        raise ConfigFileError(f"{path}, {error or 'nested too deeply'}") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigFileError(f"{path}: expected a mapping from names to values, such as 'scheduler: fair'")
    return value


class _SyntaxProblem(Exception):  # noqa: N818 - it never leaves this module
    """What is wrong, beginning with the line."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigFileError(f"can't read {path}: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise ConfigFileError(f"{path}: larger than {_MAX_BYTES >> 20} MiB, too large for a configuration")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigFileError(f"{path}, line {line}: not UTF-8 text") from error


def _parse_yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """The safe loader, which here refuses a name that is given twice."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[Any] = set()
            for key_node, _ in node.value:
                key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
                if key is not None and key in seen:
                    raise _SyntaxProblem(key_node.start_mark.line + 1, f"{key!r} is given twice")
                seen.add(key)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _SyntaxProblem(mark.line + 1 if mark else 1, error.problem or "malformed YAML") from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise _SyntaxProblem(line, "a character that YAML does not allow") from error
    except ValueError as error:  # such as the date 2026-99-99
        raise _SyntaxProblem(1, f"malformed YAML: {error}") from error


def _parse_json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise _SyntaxProblem(_line_of(text, f'"{name}"'), f"{name!r} is given twice")
        return dict(pairs)

    def no_number(name: str) -> None:
        raise _SyntaxProblem(_line_of(text, name), f"{name} is not a number in JSON")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=no_number)
    except json.JSONDecodeError as error:
        raise _SyntaxProblem(error.lineno, error.msg) from error
    except ValueError as error:  # a number of more digits than Python converts
        raise _SyntaxProblem(1, f"malformed JSON: {error}") from error


def _parse_toml(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem, _, place = str(error).rpartition(" (at ")
        digits = "".join(filter(str.isdigit, place.partition(",")[0]))
        line = int(digits) if digits else text.count("\n") + 1  # "(at end of document)"
        raise _SyntaxProblem(line, problem or str(error)) from error
    except ValueError as error:
        raise _SyntaxProblem(1, f"malformed TOML: {error}") from error


def _line_of(text: str, part: str) -> int:
    """The line of the last place where a part stands: the second of two is the one too many."""
    return text[: text.rfind(part)].count("\n") + 1


_PARSERS = {".yaml": _parse_yaml, ".yml": _parse_yaml, ".json": _parse_json, ".toml": _parse_toml}
