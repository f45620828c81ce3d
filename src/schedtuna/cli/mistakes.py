"""What is wrong with a command line, said as every other error is: one line, and what to do next."""

from __future__ import annotations

import re
from typing import Any

from typer.exceptions import TyperException

from schedtuna.errors import UsageError, nearest

# What pydantic calls a mistake -> how we say it, with the bounds and values that it names.
_SAID = {
    "int_parsing": "expected a whole number, not {input!r}",
    "int_from_float": "expected a whole number, not {input!r}",
    "int_parsing_size": "expected a whole number of less digits, not {input!r}",
    "float_parsing": "expected a number, not {input!r}",
    "bool_parsing": "expected true or false, not {input!r}",
    "greater_than_equal": "expected {ge} or more, not {input}",
    "less_than_equal": "expected {le} or less, not {input}",
    "greater_than": "expected more than {gt}, not {input}",
    "less_than": "expected less than {lt}, not {input}",
    "value_error": "{error}",
}


def usage_error(mistake: TyperException, command: str) -> UsageError:
    """Say what the parser of the command line has refused.

    Args:
        mistake: What typer raised: an option that is not there, a value that is none, a missing argument, ...
        command: What was typed of the command's name, for what typer raises without saying where.
    """
    context = getattr(mistake, "ctx", None)
    path = command if context is None else context.command_path
    see = f"`{path} --help` explains it"
    message, choice = _told(mistake, context)
    return UsageError(message, hint="; ".join(filter(None, (choice, see))))


def _told(mistake: TyperException, context: Any) -> tuple[str, str | None]:
    """What is wrong, and what would do in its place."""
    parameter = getattr(mistake, "param", None)
    kind = type(mistake).__name__
    if kind == "NoSuchOption":
        option: str = mistake.option_name  # type: ignore[attr-defined]
        return f"there is no option {option}", _near_option(option, context)
    if kind == "MissingParameter" and parameter is not None:
        return f"{_name(parameter)} is missing: {_usage(context)}", None
    if kind == "BadParameter" and parameter is not None:
        return f"{_name(parameter)}: {_reason(mistake)}", None
    if kind == "UsageError" and context is not None:
        if unknown := re.fullmatch(r"No such command '([^']*)'\..*", mistake.message):
            name = unknown[1]
            return f"`{context.command_path}` has no command {name!r}", nearest(
                name, context.command.commands
            )
        if extra := re.fullmatch(r"Got unexpected extra argument(?:\(s\)|s)? \((.*)\)", mistake.message):
            return f"nothing is expected where {extra[1]!r} stands: {_usage(context)}", None
    message = mistake.format_message().rstrip(".")
    return message[:1].lower() + message[1:], None


def _usage(context: Any) -> str:
    return f"{context.command_path} {' '.join(context.command.collect_usage_pieces(context))}"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=len))
    return str(parameter.metavar or parameter.name.upper()).strip("[].")


def _near_option(option: str, context: Any) -> str | None:
    known = [name for of in context.command.params if of.param_type_name == "option" for name in of.opts]
    said = nearest(option, known)
    return said if said.startswith("did you mean") else None


def _reason(mistake: TyperException) -> str:
    """What pydantic has found, without its name for it."""
    cause: Any = mistake.__cause__
    if cause is None or not hasattr(cause, "errors"):
        return mistake.message.rstrip(".")
    found = cause.errors()[0]
    if isinstance(found["input"], str) and re.fullmatch(r"--?[A-Za-z].*", found["input"], re.DOTALL):
        return f"its value is missing before {found['input']}; a $(...) that prints nothing leaves none"
    said = _SAID.get(found["type"])
    if said is None:
        return str(found["msg"])
    return said.format(input=found["input"], **found.get("ctx", {})).rstrip(".")
