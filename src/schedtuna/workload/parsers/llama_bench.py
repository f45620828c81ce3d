"""llama-bench: tokens per second of prompt processing and of generation; -o json, jsonl, csv and md."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from schedtuna.configfile import json_values, parse_json
from schedtuna.workload.parsers.base import MAX, MIN, Basis, Failures, Field, OutputParser, geometric_mean

# | llama 7B Q4_0 | 3.56 GiB | 6.74 B | CPU | 2 | pp 512 | 6.17 ± 0.07 |
_MARKDOWN = re.compile(
    r"\| *((?:(?:pp|tg) ?\d+(?: ?\+ ?)?)+)(?: @ d\d+)? *\| *(\S+)(?: ± \S+)? *\|$", re.MULTILINE
)
Row = tuple[str, str, float]  # kind of test, its name, tokens per second


def parse(text: str) -> dict[str, float]:
    """Return tokens per second of each kind of test, the geometric mean where there are several.

    A listed test without a positive, finite rate has 0, and so has the mean over its kind.
    """
    rows = list(_rows(_json(text) or _json_lines(text) or _csv(text))) or list(_markdown(text))
    rows = [(kind, name, rate if math.isfinite(rate) and rate > 0 else 0.0) for kind, name, rate in rows]
    if not rows:
        return {}
    nr_failed = sum(not rate for *_, rate in rows)
    values = {
        "success_rate": 1 - nr_failed / len(rows),
        "tests": float(len(rows)),
        "failed_tests": float(nr_failed),
    }
    seen: Counter[str] = Counter()
    for kind, name, rate in rows:
        seen[name] += 1
        part = name if seen[name] == 1 else f"{name}-{seen[name]}"
        values[f"{part}.{kind}_tokens_per_sec"] = rate
    for kind in ("pp", "tg", "pg"):
        if rates := [rate for of, _, rate in rows if of == kind]:
            values[f"{kind}_tokens_per_sec"] = geometric_mean(rates)
    if "tg_tokens_per_sec" in values:
        rate = values["tg_tokens_per_sec"]
        values["tg_ms_per_token"] = 1000 / rate if rate else 0.0
    return values


def _rows(records: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    for record in records:
        try:
            nr_prompt, nr_generated = int(record["n_prompt"]), int(record["n_gen"])
            rate = float(record["avg_ts"])
        except (LookupError, TypeError, ValueError, OverflowError):
            continue
        parts = [f"{kind}{nr}" for kind, nr in (("pp", nr_prompt), ("tg", nr_generated)) if nr]
        yield ("pg" if nr_generated else "pp") if nr_prompt else "tg", "+".join(parts) or "tg0", rate


def _json(text: str) -> Sequence[Mapping[str, Any]]:
    """The array of the output: backends may print before it."""
    for document in json_values(text, r"^\["):
        if records := [item for item in document if isinstance(item, dict)]:
            return records
    return []


def _json_lines(text: str) -> Sequence[Mapping[str, Any]]:
    records = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                record = parse_json(line, any_text=True)
            except ValueError:
                continue
            records.append(record)
    return records


def _csv(text: str) -> Sequence[Mapping[str, Any]]:
    start = re.search(r"^build_commit,.*$", text, re.MULTILINE)
    if not start:
        return []
    try:
        return list(csv.DictReader(io.StringIO(text[start.start() :])))
    except csv.Error:
        return []


def _markdown(text: str) -> Iterator[Row]:
    for test, rate in _MARKDOWN.findall(text):
        kind = "pg" if "+" in test else test[:2]
        try:
            yield kind, test.replace(" ", ""), float(rate)
        except ValueError:
            yield kind, test.replace(" ", ""), math.nan


PARSER = OutputParser(
    name="llama-bench",
    commands=(("llama-bench",), ("llama", "bench")),
    fields=(
        Field("pp_tokens_per_sec", "1/s", MAX, "prompt tokens per second"),
        Field("tg_tokens_per_sec", "1/s", MAX, "generated tokens per second"),
        Field("pg_tokens_per_sec", "1/s", MAX, "tokens per second of prompt and generation in one (-pg)"),
        Field("tg_ms_per_token", "ms", MIN, "time of one generated token"),
        Field("success_rate", "", MAX, "fraction of the listed tests that gave a rate"),
        Field("tests", "", MAX, "listed tests"),
        Field("failed_tests", "", MIN, "those of them that gave no rate"),
    ),
    bases=(
        Basis("pp_tokens_per_sec", ("pp_tokens_per_sec",)),
        Basis("tg_tokens_per_sec", ("tg_tokens_per_sec", "tg_ms_per_token")),
        Basis("pg_tokens_per_sec", ("pg_tokens_per_sec",)),
    ),
    failures=(Failures("failed_tests", ("tests",), "tests without a rate"),),
    primary="tg_tokens_per_sec",
    throughput="tg_tokens_per_sec",
    latency="tg_ms_per_token",
    parse=parse,
    seen="0.7.0 as Debian has it, and as llama-cpp-python 0.3.36 has it, with a tiny random model",
    hint="add -o json to llama-bench",
)
