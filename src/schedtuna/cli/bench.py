"""`schedtuna bench`: SchedBench, a benchmark whose entries anybody can repeat."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.table import described, number, table, wrapped
from schedtuna.errors import UsageError

if TYPE_CHECKING:
    from schedtuna.bench.running import Reached

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="SchedBench: list its parts, run an entry, verify one."
)

_EPISODES = 64
_EpisodesOption = Annotated[
    int, typer.Option("--episodes", min=1, max=100_000, help="How many episodes, over all families.")
]


@app.command("list")
def list_parts(as_json: JsonOption = False) -> None:
    """Show this version's parts, each with its hash."""
    from schedtuna.bench.parts import VERSION, digest, parts

    found = parts()
    if as_json:
        print_json({"version": VERSION, "sha256": digest(found), "parts": [part.__dict__ for part in found]})
        return
    print(f"SchedBench {VERSION}, sha256 {digest(found)}", end="\n\n")
    rows = [[part.kind, part.name, part.sha256[:16], part.what] for part in found]
    print(described(["kind", "name", "sha256", "what it is"], rows))


@app.command()
def run(  # noqa: PLR0917 - typer's options are a function's parameters
    entry: Annotated[
        str,
        typer.Argument(
            metavar="SCHEDULER|POLICY",
            help="A scheduler of `sim list`, with or without values, or a policy's file, folder or name.",
            show_default=False,
        ),
    ],
    track: Annotated[str, typer.Option("--track", metavar="NAME", help="One of `bench list`.")] = "one-cpu",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the entry there.", show_default=False),
    ] = None,
    episodes: _EpisodesOption = _EPISODES,
    seed: Annotated[int, typer.Option("--seed", min=0, help="What episodes are drawn from.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Play an entry's episodes, and say what it reaches."""
    _require_extra()
    from schedtuna.bench.running import reached, run, store

    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} is there already", hint="give another name, or --force")
    made, policy = run(entry, track, seed=seed, episodes=episodes)
    if output is not None:
        store(made, policy, output)
    found = reached(made.episodes)
    if as_json:
        print_json({"entry": made.entry, "track": track, **found.__dict__, "file": output})
        return
    _show(found)
    if output is not None:
        print_remark("written", f"{output}; anybody can verify it: schedtuna bench verify {output}")


@app.command()
def verify(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What `bench run -o` wrote.", show_default=False)
    ],
    day: Annotated[
        str | None,
        typer.Option(
            "--date",
            metavar="YYYY-MM-DD",
            help="A day that nobody could know when FILE was handed in. Default: today (UTC).",
            show_default=False,
        ),
    ] = None,
    episodes: _EpisodesOption = _EPISODES,
    as_json: JsonOption = False,
) -> None:
    """Play an entry again, and on fresh episodes.

    Those are drawn from the hash of its file and a public day. Exit code 1: it is refused.
    """
    _require_extra()
    from schedtuna.bench.running import verify

    found = verify(file, None if day is None else _day(day), episodes=episodes)
    if as_json:
        print_json(
            {
                "entry": found.entry.entry,
                "track": found.entry.track,
                "is_verified": not found.problem,
                "problem": found.problem,
                "file_sha256": found.file_sha256,
                "drawn_from": found.drawn_from,
                "claimed": found.claimed.__dict__,
                "fresh": None if found.fresh is None else found.fresh.__dict__,
            }
        )
    else:
        print_remark("entry", f"{found.entry.entry} on {found.entry.track}, made on {found.entry.made_on}")
        if found.fresh is not None:
            rows = [
                [name, number(one.score, digits=4), number(one.beside, digits=4), str(one.nr)]
                for name, one in (("claimed", found.claimed), ("fresh", found.fresh))
            ]
            print(table(["", "turnaround", "latency", "episodes"], rows))
        if found.problem:
            print_remark("refused", found.problem)
        else:
            print(wrapped(f"verified: its episodes give what it claims. Fresh ones from {found.drawn_from}."))
    if found.problem:
        raise typer.Exit(1)


def _show(found: Reached) -> None:
    rows = [[name, number(score, digits=4)] for name, score in found.families.items()]
    print(table(["family", "turnaround"], [*rows, ["all", number(found.score, digits=4)]]))
    print(
        wrapped(
            f"Shares of the default scheduler's over {found.nr} episodes, lower is better; latency "
            f"{number(found.beside, digits=4)}."
        )
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--date {text}: expected YYYY-MM-DD", hint="--date 2027-01-31") from error


def _require_extra() -> None:
    from schedtuna.rl import require_extra

    require_extra()
