"""What does a YAML, JSON or TOML text say? What is malformed is refused, in files with the line."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schedtuna.errors import ConfigFileError

if TYPE_CHECKING:
    import yaml
    from pydantic import ValidationError

# A configuration is a few lines; anything longer is another file. PyYAML takes 15 us per byte of some texts.
_MAX_BYTES = {".yaml": 512 << 10, ".yml": 512 << 10, ".json": 4 << 20, ".toml": 512 << 10}
SUFFIXES = tuple(_MAX_BYTES)
_MOST_NODES = 500_000  # values of a YAML file, each counted as often as aliases repeat it
_MOST_DOTS = 500  # on a line of TOML: tomllib takes the square of a key's parts
_MOST_DIGITS = 300  # of a whole number: a floating-point one can have 308
# No text of ours has them, and neither has a path or an argument: NUL, and halves of a character, but for
# those that stand for bytes which are not UTF-8.
_HALVES = "\ud800-\udc7f\udd00-\udfff"
_UNUSABLE = re.compile(f"[\0{_HALVES}]")
_UNUSABLE_NAME = re.compile(f"[{_HALVES}]")


def parse_json(text: str | bytes, *, any_text: bool = False, any_name: bool = False) -> Any:
    """Return what a JSON text of a file or program says.

    Args:
        text: The text.
        any_text: Whether the texts in it may hold anything, as those that a program prints may.
        any_name: Whether NUL is allowed, which names in traces may have.

    Raises:
        ValueError: It is malformed, not UTF-8 or nested too deeply, or has NUL or half a character in a text.
    """
    try:
        value = json.loads(text, parse_int=_whole_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    escaped = b"\\u" in text if isinstance(text, bytes) else "\\u" in text
    refused = _UNUSABLE_NAME if any_name else _UNUSABLE
    if escaped and not any_text and (found := unusable(value, refused)) is not None:
        raise ValueError(found)
    return value


def json_values(text: str, begin: str = r"^[\[{]") -> Iterator[Any]:
    """Yield what is JSON among other text, one after the other.

    Args:
        text: What a program printed.
        begin: Pattern of how a value begins, with ``^`` at lines.
    """
    beginning, position = re.compile(begin, re.MULTILINE), 0
    while match := beginning.search(text, position):
        try:
            value, position = json.JSONDecoder().raw_decode(text, match.start())
        except (ValueError, RecursionError):
            position = match.end()
            continue
        yield value


def _whole_number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits, more than {_MOST_DIGITS}")
    return int(digits)


def unusable(value: Any, refused: re.Pattern[str] = _UNUSABLE) -> str | None:
    """Say which text or number in a document none of ours can be, for people; None where all can."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, str) and refused.search(one):
            return f"{one[:40]!r} has a character that no text can have"
        if isinstance(one, int) and abs(one) >= 10**_MOST_DIGITS:
            return f"a number of more than {_MOST_DIGITS} digits"
        if isinstance(one, dict) and not all(isinstance(name, str) for name in one):
            return f"expected names that are text, such as 'a' and '7', not {[*one][:3]!r}"
        if isinstance(one, dict):
            todo += [*one, *one.values()]
        elif isinstance(one, list | tuple | set):
            todo += one
    return None


def first_fault(error: ValidationError) -> str:
    """Return where the first fault of a model's content is, and what: ``rules.0.nice: Input should be``."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def load_config(path: Path, suffix: str = "") -> dict[str, Any]:
    """Read a file of named values.

    Args:
        path: The file.
        suffix: One of SUFFIXES: what it is, whatever its name; empty: its own suffix tells.

    Raises:
        ConfigFileError: The file can't be read, is malformed (with the line), names a key twice,
            or is not a mapping from names to values.
    """
    suffix = suffix or path.suffix.lower()
    if suffix not in SUFFIXES:
        if not path.exists():
            raise ConfigFileError(f"there is no {path}")
        raise ConfigFileError(f"{path}: unknown format", hint=f"name the file *{' or *'.join(SUFFIXES)}")
    if path.is_fifo():  # it may be a stranger's, and nobody may ever write to it
        raise ConfigFileError(f"{path} is a pipe", hint="write it into a file first")
    text = _read_text(path, _MAX_BYTES[suffix])
    try:
        value = _PARSERS[suffix](text)
    except RecursionError as error:
        raise ConfigFileError(f"{path}: nested too deeply") from error
    except _SyntaxProblem as error:
        raise ConfigFileError(f"{path}, {error}") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigFileError(f"{path}: expected a mapping from names to values, such as 'scheduler: fair'")
    if (found := unusable(value)) is not None:
        raise ConfigFileError(f"{path}: {found}")
    return value


class _SyntaxProblem(Exception):  # noqa: N818 - it never leaves this module
    """What is wrong, beginning with the line."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")


def _read_text(path: Path, most: int) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigFileError(f"can't read {path}: {error.strerror}") from error
    if len(data) > most:
        limit = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most >> 10} KiB"
        raise ConfigFileError(f"{path}: larger than {limit}, too large for a configuration")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigFileError(f"{path}, line {line}: not UTF-8 text") from error


def _parse_yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """The safe loader, which here refuses a name that is given twice, and tells where a value fails."""

        def get_single_node(self) -> yaml.Node | None:
            node = super().get_single_node()
            if node is not None:
                _refuse_growth(node)
            return node

        def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except (LookupError, AttributeError, TypeError, ValueError, ArithmeticError) as error:
                what = f"{str(node.value)[:40]!r} is not of type {node.tag.rpartition(':')[2]}"
                raise _SyntaxProblem(node.start_mark.line + 1, f"malformed YAML: {what}") from error

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[Any] = set()
            for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
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


def _refuse_growth(root: yaml.Node) -> None:
    """Refuse what aliases make endless, or far larger than the file."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        key = id(node)
        if key not in sizes:
            sizes[key] = 0  # until its parts are known
            parts = node.value if isinstance(node.value, list) else []
            nodes = (part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,)))
            sizes[key] = 1 + sum(map(size, nodes))
        elif not sizes[key]:
            raise _SyntaxProblem(node.start_mark.line + 1, "it refers to itself")
        if sizes[key] > _MOST_NODES:
            raise _SyntaxProblem(
                node.start_mark.line + 1,
                f"written out, its aliases are more than {_MOST_NODES:,} values",
            )
        return sizes[key]

    size(root)


def _parse_json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for name, value in pairs:
            if name in seen:
                raise _SyntaxProblem(_line_of(text, f'"{name}"'), f"{name!r} is given twice")
            seen[name] = value
        return seen

    def no_number(name: str) -> None:
        raise _SyntaxProblem(_line_of(text, name), f"{name} is not a number in JSON")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=no_number)
    except json.JSONDecodeError as error:
        raise _SyntaxProblem(error.lineno, error.msg) from error
    except ValueError as error:  # a number of more digits than Python converts
        raise _SyntaxProblem(1, f"malformed JSON: {error}") from error


def _parse_toml(text: str) -> Any:
    for number, content in enumerate(text.split("\n"), start=1):
        if content.count(".") > _MOST_DOTS:
            raise _SyntaxProblem(number, f"more than {_MOST_DOTS} dots on a line of TOML")
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
