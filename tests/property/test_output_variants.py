"""One known result of each tool, printed as its versions, options, languages and terminals do, is read back.

The renderers follow the tools' own format strings, and are written apart from the parsers' patterns.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.workload.parsers import PARSERS
from schedtuna.workload.terminal import plain_lines

Rendered = tuple[str, dict[str, float | None]]
# (decimal mark, what parts groups of digits): C, English, German, French, Swiss
LANGUAGES = [(".", ""), (".", ","), (",", "."), (",", "\u202f"), (".", "\u2019")]


def f(number: float, decimals: int, mark: str = ".") -> str:
    return f"{number:.{decimals}f}".replace(".", mark)


def grouped(number: int, separator: str) -> str:
    return f"{number:,}".replace(",", separator)


def perf_bench(draw) -> Rendered:
    mark, group = draw(st.sampled_from(LANGUAGES))
    seconds, us, ops = draw(counts(1, 10**6)) / 1000, draw(counts(1, 10**9)) / 1e6, draw(counts(1, 10**9))
    if draw(st.booleans()):  # --format=simple of sched, or of mem
        if draw(st.booleans()):
            return f"{seconds:.3f}\n", {"total_time_s": seconds, "gb_per_s": None}
        return f"{f(ops, 6, mark)}\n", {"gb_per_s": ops / 2**30, "total_time_s": None}
    text = (
        f"# Running 'syscall/basic' benchmark:\n# Executed {grouped(10**7, group)} getppid() calls\n"
        f"     Total time: {seconds:.3f} [sec]\n\n {f(us, 6, mark):>14} usecs/op\n"
        f" {grouped(ops, group):>14} ops/sec\n"
    )
    return text, {"total_time_s": seconds, "us_per_op": us, "ops_per_s": ops}


def sysbench(draw) -> Rendered:
    version = draw(st.sampled_from(["0.4", "0.5", "1.0", "1.1"]))
    seconds, events = draw(counts(1, 10**6)) / 1e4, draw(counts(1, 10**7))
    low, mean, high, tail = sorted(draw(counts(0, 10**5)) / 100 for _ in range(4))
    fields: dict[str, float | None] = {
        "total_time_s": seconds, "events": events, "min_ms": low, "avg_ms": mean, "max_ms": high,
        "tail_ms": tail, "p95_ms": tail, "events_per_s": events / seconds,
    }  # fmt: skip
    unit = "ms" if version < "1" else ""
    names = {"0.4": "per-request statistics:", "0.5": "response time:"}.get(version, "Latency (ms):")
    percentile = "approx.  95 percentile" if version < "1" else "95th percentile"
    latency = f"    {names}\n" + "".join(
        f"         {name + ':':<27} {value:18.2f}{unit}\n"
        for name, value in (("min", low), ("avg", mean), ("max", high), (percentile, tail))
    )
    if version == "1.1":
        fields["events_per_s"] = round(events / seconds, 4)
        head = (
            f"Throughput:\n    events/s (eps):   {events / seconds:21.4f}\n"
            f"    time elapsed:   {seconds:21.4f}s\n    total number of events:    {events}\n"
        )
    else:
        title = {"0.4": "Test execution summary:"}.get(version, "General statistics:")
        head = f"{title}\n    total time: {seconds:25.4f}s\n    total number of events:    {events}\n"
    test = draw(st.sampled_from(["cpu", "memory", "threads"]))
    if test == "cpu" and version == "1.0":
        rate = fields["events_per_s"] = draw(counts(1, 10**7)) / 100  # of the time that counts
        head = f"CPU speed:\n    events per second: {rate:8.2f}\n\n{head}"
    if test == "memory" and version != "1.1":
        fields |= {"operations_per_s": 12345.67, "mib_per_s": 12.06}
        mb = "MB" if version < "1" else "MiB"
        first = (
            f"Operations performed: {events} (12345.67 ops/sec)"
            if version < "1"
            else f"Total operations: {events} (12345.67 per second)"
        )
        head = f"{first}\n\n100.00 {mb} transferred (12.06 {mb}/sec)\n\n\n{head}"
    return f"sysbench {version}\nRunning the test\n{head}\n{latency}\n", fields


def pgbench(draw) -> Rendered:
    version = draw(st.sampled_from([9.5, 9.6, 11, 13, 14, 15, 17]))
    connect, rate = draw(st.booleans()), draw(st.booleans()) and version > 9.5
    mark = draw(st.sampled_from(",.")) if version < 12 else "."
    tps, mean, done = draw(counts(1, 10**10)) / 1e6, draw(counts(1, 10**6)) / 1e3, draw(counts(1, 10**6))
    sign = ":" if version < 9.6 else " ="
    fields: dict[str, float | None] = {
        "tps": tps,
        "avg_ms": mean,
        "stddev_ms": mean / 2,
        "transactions": done,
    }
    lines = [f"number of transactions actually processed: {done}" + draw(st.sampled_from(["", f"/{done}"]))]
    if version >= 15:
        lines.append("number of failed transactions: 0 (0.000%)")
        fields["failed_transactions"] = 0
    if rate:
        lines += [f"number of transactions skipped: 7 ({f(0.5, 3, mark)}%)"]
        lines += [f"number of transactions above the {f(10, 1, mark)} ms latency limit: 3 ({f(1, 3, mark)}%)"]
        fields |= {"skipped_transactions": 7, "late_transactions": 3, "schedule_lag_ms": 1.25}
    fields["stddev_ms"] = round(mean / 2, 3)
    lines += [
        f"latency average{sign} {f(mean, 3, mark)} ms",
        f"latency stddev{sign} {f(mean / 2, 3, mark)} ms",
    ]
    if rate:
        lines.append(f"rate limit schedule lag: avg {f(1.25, 3, mark)} (max {f(9, 3, mark)}) ms")
    if version < 14:
        lines += [
            f"tps = {f(tps * 0.9, 6, mark)} (including connections establishing)",
            f"tps = {f(tps, 6, mark)} (excluding connections establishing)",
        ]
    else:
        kind = "average" if connect else "initial"
        how = "including reconnection times" if connect else "without initial connection time"
        lines += [f"{kind} connection time = 2.500 ms", f"tps = {tps:.6f} ({how})"]
        fields["connection_ms"] = 2.5
    if draw(st.booleans()):
        lines += ["SQL script 1: <builtin>", " - 5 transactions (50.0% of total, tps = 1.5)"]
    return "\n".join(["starting vacuum...end.", "scaling factor: 10", *lines, ""]), fields


def stress_ng(draw) -> Rendered:
    style = draw(st.sampled_from(["plain", "timestamp", "brief"]))
    scientific, full = draw(st.booleans()), draw(st.booleans())
    prefix = {
        "plain": "stress-ng: metrc: [812] ",
        "timestamp": "stress-ng: 09:58:07.14 metrc: [812] ",
        "brief": "",
    }[style]
    spell = (lambda n: f"{n:.5e}") if scientific else (lambda n: f"{n:.2f}")
    ops, rate = draw(counts(1, 10**9)), draw(counts(1, 10**9)) / 100
    instances = draw(counts(1, 64))
    how = draw(st.sampled_from(["geometic mean", "geometric mean", "harmonic mean", "total", "maximum"]))
    of = draw(st.sampled_from(["", f" ({how} of {instances} instance{'s' * (instances > 1)})"]))
    rows = ["stressor       bogo ops real time  usr time  sys time   bogo ops/s     bogo ops/s"]
    tail = f" {spell(99.5)} {1024:13}" if full else ""
    numbers = " ".join(f"{spell(n):>12}" for n in (5.0, 1.5, 3.25, rate, rate * 2))
    rows += [f"switch {ops:13} {numbers}{tail}", f"pipe {ops + 1:13} {numbers}{tail}"]
    rows += ["miscellaneous metrics:", f"switch {spell(5967.11):>13} nanosecs per switch (pipe method){of}"]
    fields = {
        "switch.bogo_ops": ops,
        "switch.bogo_ops_per_s": float(spell(rate)),
        "pipe.sys_time_s": 3.25,
        "bogo_ops_per_s": float(spell(rate)),  # the geometric mean of two that are the same
        "switch.nanosecs_per_switch_pipe_method": float(spell(5967.11)),
        "switch.rss_max_kib": 1024 if full else None,
    }
    return "".join(f"{prefix}{row}\n" for row in rows), fields


def wrk(draw) -> Rendered:
    unit, scale = draw(st.sampled_from([("us", 1), ("ms", 1e3), ("s", 1e6), ("m", 6e7)]))
    mean, tail, rate = (draw(counts(1, 10**5)) / 100 for _ in range(3))
    is_two, errors = draw(st.booleans()), draw(st.booleans())
    fields: dict[str, float | None] = {"requests_per_s": rate, "requests": 4000, "avg_us": mean * scale}
    table = "".join(f" {p}%  {tail + n:8.2f}{unit}\n" for n, p in enumerate(("50.000", "99.000", "99.900")))
    text = "  Thread Stats   Avg      Stdev     Max   +/- Stdev\n"
    text += f"    Latency  {mean:.2f}{unit}  1.00us  2.00ms  91%\n"
    if is_two:
        text += f"  Latency Distribution (HdrHistogram - Recorded Latency)\n{table}\n"
        fields |= {"p99_9_us": (tail + 2) * scale, "uncorrected_p99_us": None}
        if draw(st.booleans()):
            text += (
                "  Latency Distribution (HdrHistogram - Uncorrected Latency (measured without taking delayed "
                "starts into account))\n 50.000%    1.00us\n 99.000%    7.00us\n"
            )
            fields["uncorrected_p99_us"] = 7
    else:
        text += f"  Latency Distribution\n     50%  {tail:8.2f}{unit}\n     99%  {tail + 1:8.2f}{unit}\n"
    fields |= {"p50_us": tail * scale, "p99_us": (tail + 1) * scale}
    text += "  4000 requests in 2.00s, 1.50MB read\n"
    if errors:
        text += "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 9\n"
    fields |= {"socket_errors": 10 * errors, "bad_responses": 9 * errors}
    return f"{text}Requests/sec: {rate:10.2f}\nTransfer/sec:    256.00KB\n", fields


def cyclictest(draw) -> Rendered:
    nr_threads, style = draw(counts(1, 4)), draw(st.sampled_from(["summary", "h", "H", "json"]))
    buckets = [draw(st.lists(counts(0, 50), min_size=5, max_size=5)) for _ in range(nr_threads)]
    buckets = [[row[0] + 1, *row[1:]] for row in buckets]  # each ran
    beyond = [draw(counts(0, 3)) for _ in range(nr_threads)] if style != "summary" else [0] * nr_threads
    cycles = [sum(row) + over for row, over in zip(buckets, beyond, strict=True)]
    lows, means, highs = ([draw(counts(10 * n, 10 * n + 9)) for _ in cycles] for n in (1, 2, 3))
    fields: dict[str, float | None] = {
        "min_us": min(lows),
        "max_us": max(highs),
        "avg_us": sum(c * m for c, m in zip(cycles, means, strict=True)) / sum(cycles),
    }
    fields |= {f"T{n}.nr_cycles": count for n, count in enumerate(cycles)}
    rows = list(zip(cycles, lows, means, highs, strict=True))
    if style != "summary":
        merged = [sum(row[at] for row in buckets) for at in range(5)]
        fields |= {name: nearest_rank(merged, sum(cycles), q) for name, q in (("p50_us", 50), ("p99_us", 99))}
    if style == "json":
        threads = {
            str(n): {
                "histogram": {str(at): count for at, count in enumerate(row) if count},
                "cycles": c, "min": low, "avg": mean, "max": high,
            }
            for n, (row, (c, low, mean, high)) in enumerate(zip(buckets, rows, strict=True))
        }  # fmt: skip
        document = {"file_version": 1, "resolution_in_ns": 0, "thread": threads}
        return "# Histogram\n" + json.dumps(document, indent=2), fields
    if style == "summary":
        lines = [
            f"T:{n:2} (  812) P: 0 I:1000 C:{c:7} Min:{low:7} Act:   20 Avg:{mean:5} Max:{high:8}"
            for n, (c, low, mean, high) in enumerate(rows)
        ]
        return "\n".join(["# /dev/cpu_dma_latency set to 0us", *lines, ""]), fields

    def line(title: str, numbers: list[int], width: int, *, total: int | None = None) -> str:
        every = [*numbers, total] if style == "H" and total is not None else numbers
        return f"# {title}: " + " ".join(f"{number:0{width}}" for number in every)

    lines = [
        f"{at:06} "
        + "\t".join(f"{n:06}" for n in ([row[at] for row in buckets] + [merged[at]] * (style == "H")))
        for at in range(5)
    ]
    inside = [sum(row) for row in buckets]
    lines += [
        line("Total", inside, 9, total=sum(inside)),
        line("Min Latencies", lows, 5),
        line("Avg Latencies", means, 5),
        line("Max Latencies", highs, 5, total=max(highs)),
        line("Histogram Overflows", beyond, 5, total=sum(beyond)),
        "# Histogram Overflow at cycle number:",
        *(f"# Thread {n}: 00001 00002" for n in range(nr_threads)),
    ]
    return "\n".join(["# Histogram", *lines, ""]), fields


def nearest_rank(buckets: list[int], total: int, percent: int) -> float | None:
    """The value at rank ceil(total * percent / 100) of the sorted latencies; None beyond the histogram."""
    every = [at for at, count in enumerate(buckets) for _ in range(count)]
    rank = math.ceil(total * percent / 100)
    return every[rank - 1] if rank <= len(every) else None


def hackbench(draw) -> Rendered:
    groups, loops, ms = draw(counts(1, 40)), draw(counts(1, 1000)), draw(counts(1, 10**6))
    time = f"Time: {ms / 1000:.3f}\n"
    if draw(st.booleans()):
        return f"Running with {groups}*40 (== {groups * 40}) tasks.\n{time}", {
            "time_s": ms / 1000,
            "messages": None,
        }
    mode = draw(st.sampled_from(["process", "threaded"]))
    text = (
        f"Running in {mode} mode with {groups} groups using 40 file descriptors each "
        f"(== {groups * 40} tasks)\n"
        f"Each sender will pass {loops} messages of 100 bytes\n{time}"
    )
    return text, {"time_s": ms / 1000, "messages": groups * 20 * 20 * loops}


def schbench(draw) -> Rendered:
    p50, p99, most, rps = (
        draw(counts(1, 50)),
        draw(counts(51, 500)),
        draw(counts(501, 10**5)),
        draw(counts(1, 9999)),
    )
    wakeup = {"wakeup_p50_us": p50, "wakeup_p99_us": p99, "wakeup_max_us": most}
    style = draw(st.sampled_from(["json", "table", "old"]))
    if style == "json":
        numbers = {"wakeup_latency_pct50.0": p50, "wakeup_latency_pct99.0": p99, "wakeup_latency_max": most}
        numbers |= {"request_latency_pct99.0": p99 + 1, "rps_pct50.0": rps, "rps_max": rps, "runtime": 10}
        document = {"normal": {"version": "6.9"}, "int": {"time": 1, **numbers}}
        text = json.dumps(document, separators=draw(st.sampled_from([(",", ": "), (", ", ": "), (",", ":")])))
        return text + "\n", wakeup | {"request_p99_us": p99 + 1, "rps_p50": rps}
    rows = f"\t  50.0th: {p50:<10} (12 samples)\n\t* 99.0th: {p99:<10} (3 samples)\n\t  min=1, max={most}\n"
    if style == "old":
        return (
            f"Latency percentiles (usec)\n{rows.replace(' (12 samples)', '').replace(' (3 samples)', '')}",
            wakeup,
        )
    text = (
        f"Wakeup Latencies percentiles (usec) runtime 9 (s) (15 total samples)\n{rows}"
        f"Request Latencies percentiles (usec) runtime 9 (s) (15 total samples)\n{rows}"
        f"average rps: {rps}.50\n"
    )
    return text, wakeup | {"request_p99_us": p99, "rps": rps + 0.5, "wakeup_samples": 15}


def redis_benchmark(draw) -> Rendered:
    tests = draw(
        st.lists(st.sampled_from(["SET", "GET", "MSET (10 keys)"]), min_size=1, max_size=3, unique=True)
    )
    rates = [draw(counts(1, 10**7)) / 100 for _ in tests]
    style = draw(st.sampled_from(["text", "csv", "quiet", "quiet-old", "csv-old"]))
    parts = [name.replace(" (10 keys)", "_10_keys") for name in tests]
    fields: dict[str, float | None] = {
        f"{part}.requests_per_s": rate for part, rate in zip(parts, rates, strict=True)
    }
    fields["requests_per_s"] = math.prod(rates) ** (1 / len(rates))
    text = ""
    if style == "csv":
        names = ("avg", "min", "p50", "p99", "max")
        text = '"test","rps",' + ",".join(f'"{name}_latency_ms"' for name in names) + "\n"
    for name, part, rate in zip(tests, parts, rates, strict=True):
        if style == "text":
            text += (
                f"{name}: rps=0.0 (overall: 0.0) avg_msec=-nan (overall: -nan)\r====== {name} ======\n"
                "  5000 requests completed in 0.09 seconds\n  50 parallel clients\n"
                "0.000% <= 0.103 milliseconds (cumulative count 0)\n\nSummary:\n"
                f"  throughput summary: {rate:.2f} requests per second\n  latency summary (msec):\n"
                "          avg       min       p50       p99       max\n"
                "        0.489     0.144     0.471     0.831     4.735\n\n"
            )
            fields |= {f"{part}.p99_ms": 0.831, f"{part}.requests": 5000}
        elif style == "csv":
            text += f'"{name}","{rate:.2f}","0.489","0.144","0.471","0.831","4.735"\n'
            fields[f"{part}.p99_ms"] = 0.831
        elif style == "csv-old":
            text += f'"{name}","{rate:.2f}"\n'
        else:
            median = ", p50=0.471 msec" if style == "quiet" else ""
            text += f"{name}: rps=0.0 (overall: 0.0)\r{name}: {rate:.2f} requests per second{median}\n"
            fields[f"{part}.p50_ms"] = 0.471 if median else None
    return text, fields


def hyperfine(draw) -> Rendered:
    unit, scale = draw(st.sampled_from([("ms", 1e-3), ("s", 1.0), ("µs", 1e-6)]))
    mean, runs = draw(counts(1, 10**5)) / 10, draw(counts(2, 50))
    style = draw(st.sampled_from(["json", "text", "one"]))
    if style == "json":
        result = {"command": "./bench", "mean": mean, "stddev": 0.5, "median": mean + 1, "user": 0.1,
                  "system": 0.2, "min": 0.25, "max": mean * 2, "times": [mean] * runs}  # fmt: skip
        fields: dict[str, float | None] = {"mean_s": mean, "median_s": mean + 1, "max_s": mean * 2}
        if draw(st.booleans()):
            result["exit_codes"] = [0] * (runs - 1) + [1]
            fields |= {"runs": runs, "failed_runs": 1}
        return json.dumps({"results": [result]}, indent=2), fields
    title = f"Benchmark {draw(st.sampled_from(['1', '#1']))}: ./bench\n"
    cpu = f"    [User: 1.5 {unit}, System: 0.5 {unit}]\n"
    if style == "one":
        text = f"{title}  Time (abs ≡): {mean:12.1f} {unit}           {cpu} \n"
        return text, {"mean_s": mean * scale, "user_s": 1.5 * scale, "stddev_s": None}
    text = (
        f"{title}  Time (mean ± \N{GREEK SMALL LETTER SIGMA}): {mean:9.1f} {unit} ± {0.5:5.1f} {unit}{cpu}"
        f"  Range (min … max): {0.5:7.1f} {unit} … {mean * 2:5.1f} {unit}    {runs} runs\n \n"
    )
    return text, {"mean_s": mean * scale, "max_s": mean * 2 * scale, "runs": runs, "system_s": 0.5 * scale}


def fio(draw) -> Rendered:
    unit, us = draw(st.sampled_from([("nsec", 1e-3), ("usec", 1.0), ("msec", 1e3)]))
    ios, ms, mean, p99 = (
        draw(counts(1, 10**6)),
        draw(counts(1, 10**5)),
        draw(counts(1, 999)),
        draw(counts(1, 9999)),
    )
    direction = draw(st.sampled_from(["read", "write"]))
    fields: dict[str, float | None] = {
        "iops": ios * 1000 / ms,
        f"{direction}_iops": ios * 1000 / ms,
        f"{direction}_avg_us": mean * us,
        f"{direction}_p99_us": p99 * us,
        "read_p99_us" if direction == "write" else "write_p99_us": None,
    }
    kind = draw(st.sampled_from(["clat", "lat"]))
    if draw(st.booleans()):
        nothing = {"total_ios": 0, "runtime": 0, "bw_bytes": 0, "clat_ns": {}, "lat_ns": {"max": 0}}
        latency = {"min": 1, "max": 10**6, "mean": mean * us * 1e3}
        percentiles = {"percentile": {"50.000000": 1, "99.000000": round(p99 * us * 1e3)}}
        done = {"total_ios": ios, "runtime": ms, "bw_bytes": 4096, "clat_ns": {}, "lat_ns": latency}
        done[f"{kind}_ns"] = done[f"{kind}_ns"] | percentiles
        job = {"jobname": "rand job", "error": 0} | dict.fromkeys(("read", "write", "trim"), nothing)
        document = {"fio version": "fio-3.33", "jobs": [job | {direction: done}]}
        return "fio: a note\n" + json.dumps(document, indent=2), fields
    counted = ",".join(str(ios) if direction == name else "0" for name in ("read", "write", "trim"))
    bandwidth = draw(st.sampled_from(["KiB/s", "MiB/s"]))
    fields[f"{direction}_bytes_per_s"] = 41.5 * (2**10 if bandwidth == "KiB/s" else 2**20)
    text = (
        f"rand job: (groupid=0, jobs=1): err= 0: pid=812: Sun Jan  1 00:00:00 2023\n"
        f"  {direction}: IOPS=10.5k, BW=41.5{bandwidth} (43.5MB/s)(7968KiB/{ms}msec); 0 zone resets\n"
        f"    slat (nsec): min=1, max=2, avg= 1.50, stdev= 0.10\n"
        f"     lat ({unit}): min=1, max=15.2k, avg={mean:5.2f}, stdev=351.17\n"
        f"    slat percentiles (usec):\n     | 99.00th=[    7]\n"
        f"    {kind} percentiles ({unit}):\n     |  1.00th=[    1],  5.00th=[    1],\n"
        f"     | 99.00th=[{p99:5}], 99.50th=[{p99 + 1:5}]\n"
        f"   bw (  KiB/s): min= 100, max= 200, per=100.00%, avg=150.00, stdev= 0.00, samples=1\n"
        f"  fsync/fdatasync/sync_file_range:\n    sync (usec): min=1, max=2, avg=1.50, stdev=0.10\n"
        f"    sync percentiles (usec):\n     | 99.00th=[   77]\n"
        f"  lat (usec)   : 50=88.45%, 100=0.41%\n     issued rwts: total={counted},0 short=0,0,0,0\n"
    )
    return text, fields


def counts(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


TOOLS: dict[str, Callable[[st.DrawFn], Rendered]] = {
    "perf-bench": perf_bench, "sysbench": sysbench, "pgbench": pgbench, "stress-ng": stress_ng, "wrk": wrk,
    "cyclictest": cyclictest, "hackbench": hackbench, "schbench": schbench,
    "redis-benchmark": redis_benchmark, "hyperfine": hyperfine, "fio": fio,
}  # fmt: skip
PIPE, TERMINAL, OLD_TERMINAL = "\n", "\r\n", "\r"


@pytest.mark.parametrize("tool", TOOLS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_known_result_is_read_whoever_prints_it(tool, data):
    text, fields = TOOLS[tool](data.draw)
    end = data.draw(st.sampled_from([PIPE, TERMINAL, OLD_TERMINAL]), "line end")
    if data.draw(st.booleans(), "coloured"):
        text = text.replace(": ", ":\x1b[1;36m ").replace("\n", "\x1b[0m\n")
    if data.draw(st.booleans(), "progress"):
        text = f"starting\r 10%\r100%\r\x1b[K\n{text}"
    values = PARSERS[tool].read(plain_lines(text.replace("\n", end)))
    assert {name: values.get(name) for name in fields} == pytest.approx(fields, nan_ok=False)


def test_every_tool_has_its_variants():
    assert PARSERS.keys() - TOOLS.keys() == {"json", "llama-bench"}  # one form, and three of one table
