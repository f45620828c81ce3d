#!/bin/sh
# cpusched-ash-win-cpu 1.0.1, a simulator that offers EEVDF: a task that arrives runs alone for as long as the others have run.
#
# EEVDF, in the paper and in Linux, lets a newcomer join at the queue's virtual time: from its arrival on two equal tasks
# share the CPU, slice by slice. Here each task starts at virtual runtime 0 whenever it arrives, so one that comes
# at t=600 has the CPU until 1208 while its elder, of equal weight and runnable all the time, gets not one slice of 8.
# Waiting times and response times of any workload whose tasks don't all arrive at 0 are those of another scheduler:
# don't check a simulator against it, nor learn from its schedules.
#
# Needs python3 with venv.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check cpusched-ash-win-cpu==1.0.1
venv/bin/python - <<'PYTHON'
import sys

from cpusched import EEVDF, Process

tasks = [Process("old", arrival_time=0, burst_time=1000), Process("new", arrival_time=600, burst_time=1000)]
schedule = EEVDF(tasks, quantum=8).run().gantt
for entry in schedule[:5]:
    print(f"{entry.pid} {entry.start:5} to {entry.end}")
first = next(entry for entry in schedule if entry.pid == "new")
if first.start != 600 or first.end - first.start < 500:
    sys.exit("changed: the newcomer shares the CPU from its arrival on")
print(f"as described: the newcomer ran alone for {first.end - first.start}, a slice is 8")
PYTHON
