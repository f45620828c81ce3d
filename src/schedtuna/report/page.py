"""A self-contained HTML page: no script, no network, safe with hostile names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from schedtuna import __version__
from schedtuna.evidence.result import Verdict
from schedtuna.files import write_text
from schedtuna.resources import resource_path

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


@dataclass(frozen=True)
class Command:
    """A command line to copy, and what it does."""

    label: str
    line: str


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; folded away where it is long."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: Heading.
        text: Paragraphs.
        svg: A figure from `figures.to_svg`: the only text that is not escaped.
        commands: Command lines to copy.
        notes: Sentences, as a list.
        table: Numbers behind the figure.
    """

    title: str
    text: Sequence[str] = ()
    svg: str = ""
    commands: Sequence[Command] = ()
    notes: Sequence[str] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        title: What was measured.
        tone: Colours the verdict.
        verdict: The result in one sentence.
        facts: Short label and value pairs under the verdict.
        sections: The rest, in order.
        footer: Where the data are.
    """

    title: str
    tone: Verdict
    verdict: str
    facts: Sequence[tuple[str, str]] = ()
    sections: Sequence[Section] = field(default_factory=tuple)
    footer: str = ""


def environment() -> Environment:
    """What templates are rendered with: all text is escaped, and a misspelt name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(resource_path("report/templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": _prose, "breakable": _breakable}
    return environment


def render(page: Page) -> str:
    """Return the page as one HTML document."""
    return environment().get_template("page.html").render(page=page, version=__version__)


def write(page: Page, path: Path) -> None:
    """Write the page into a folder of ours, whole or not at all."""
    write_text(path, render(page))


def _prose(text: str) -> Markup:
    """A sentence with `code` set as such, and settings that may break after a comma."""
    from markupsafe import Markup, escape

    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return _breakable(Markup(marked))  # noqa: S704 - it is escaped above


def _breakable(text: str) -> Markup:
    """Settings that may break after a comma."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r",(?=\S)", ",<wbr>", str(escape(text))))  # noqa: S704 - it is escaped above
