#!/bin/sh
# pidstat 12.6.1 (Debian 12) and psutil 7.2.2: the context switches "of a process" are those of its first thread alone.
#
# Both read /proc/PID/status, whose two counters are the main thread's, not the process's (as /proc/PID/stat's CPU times are). So
# `pidstat -u -w -p PID` prints, line by line, the CPU time of all threads above the switches of one, and
# psutil's num_ctx_switches(), "performed by this process", is nearly 0 for a server whose main thread waits for its
# workers. getrusage() counts them all. Switches per CPU second, or a tuner's metric made of these, are wrong.
#
# Needs apt-get, dpkg and python3 with venv; root or not. Four threads sleep 1 ms at a time while the main thread waits.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq sysstat=12.6.1-1
dpkg -x sysstat_*.deb root
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check psutil==7.2.2
cat > workers.py <<'PYTHON'
import resource, subprocess, sys, threading, time

import psutil

def nap() -> None:
    while not done:
        time.sleep(0.001)

done = False
process = psutil.Process()
threads = [threading.Thread(target=nap) for _ in range(4)]
for thread in threads:
    thread.start()
# -w: switches a second, from /proc. The other two are counted over the same three seconds.
first, usage = process.num_ctx_switches(), resource.getrusage(resource.RUSAGE_SELF)
command = ["root/usr/bin/pidstat", "-w", "-p", str(process.pid), "3", "1"]
pidstat = subprocess.run(command, env={"LC_ALL": "C"}, stdout=subprocess.PIPE, text=True, check=True).stdout
last, total = process.num_ctx_switches(), resource.getrusage(resource.RUSAGE_SELF)
done = True

print(pidstat)
by_pidstat = float(pidstat.splitlines()[-1].split()[3])
by_psutil = (last.voluntary - first.voluntary) / 3
by_kernel = (total.ru_nvcsw - usage.ru_nvcsw) / 3
print(f"voluntary switches a second: pidstat {by_pidstat:.0f}, psutil {by_psutil:.0f}, getrusage {by_kernel:.0f}")
if by_kernel < 200:
    sys.exit("the threads hardly ran: try again on a quieter machine")
if max(by_pidstat, by_psutil) > by_kernel / 4:
    sys.exit("changed: more than the main thread is counted")
print("as described: the switches of four busy threads are missing")
PYTHON
venv/bin/python workers.py
