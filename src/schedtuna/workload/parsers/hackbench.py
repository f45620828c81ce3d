"""hackbench (rt-tests): how long groups of senders and receivers take to pass their messages."""

from __future__ import annotations

import re

from schedtuna.workload.parsers.base import COUNT, MAX, MIN, NUMBER, Basis, Field, OutputParser, numbers

_HEADER = re.compile(
    rf"with {COUNT} groups using {COUNT} file descriptors each \(== \d+ tasks\)\s+"
    rf"Each sender will pass {COUNT} messages of {COUNT} bytes"
)


def parse(text: str) -> dict[str, float]:
    """Return the time of the last run, and the rate of messages that follows from the header.

    In each group every one of the senders (half of the file descriptors) passes its messages to
    every one of as many receivers.
    """
    times = numbers(rf"^Time: {NUMBER}$", text)
    if not times:
        return {}
    values = {"time_s": times[-1]}
    headers = _HEADER.findall(text)
    if headers:
        nr_groups, nr_descriptors, nr_messages, _ = map(int, headers[-1])
        values["messages"] = float(nr_groups * (nr_descriptors // 2) ** 2 * nr_messages)
        if times[-1] > 0:
            values["messages_per_s"] = values["messages"] / times[-1]
    return values


PARSER = OutputParser(
    name="hackbench",
    commands=(("hackbench",),),
    fields=(
        Field("time_s", "s", MIN, "time until all messages were passed"),
        Field("messages_per_s", "1/s", MAX, "messages per second"),
        Field("messages", "", MAX, "messages"),
    ),
    bases=(Basis("messages"), Basis("time_s")),
    primary="time_s",
    throughput="messages_per_s",
    latency="time_s",
    parse=parse,
    seen="rt-tests 2.4",
    documented="perf's first version, without messages_per_s",
)
