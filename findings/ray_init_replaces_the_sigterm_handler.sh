#!/bin/sh
# Ray 2.60.0: ray.init() replaces the SIGTERM handler that a program has installed, and says nothing.
#
# From then on, also after ray.shutdown(), SIGTERM ends the process (status 143 here), and what the program's own
# handler did does not happen: save, put settings back, end in order. SIGINT stays as it was. What helps is to install
# the handler again after ray.init().
#
# Needs python3 with venv, 0.5 GB of disk, and a minute.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q --disable-pip-version-check 'ray==2.60.0' 2> pip.log || { cat pip.log >&2; exit 1; }
cat > term.py <<'END'
import os
import signal
import sys
import time

import ray


def save(number, frame):
    print("the program's own handler saved its work", flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, save)
before_int = signal.getsignal(signal.SIGINT)
if sys.argv[1] == "ray":
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    ray.shutdown()
print("handler of SIGTERM:", signal.getsignal(signal.SIGTERM).__qualname__, flush=True)
print("handler of SIGINT is as it was:", signal.getsignal(signal.SIGINT) is before_int, flush=True)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(10)
END
export RAY_USAGE_STATS_ENABLED=0
plain_status=0
ray_status=0
for what in plain ray; do
    status=0
    env/bin/python term.py $what > $what.log 2> $what.err || status=$?
    echo "$what: exit status $status"
    sed 's/^/    /' $what.log
    eval "${what}_status=$status"
done
if [ "$plain_status" -ne 0 ] || [ "$ray_status" -ne 143 ] || grep -q saved ray.log; then
    echo "changed: the program's own handler is called, or the exit status is another" >&2
    exit 1
fi
echo "as described: ray.init() took SIGTERM over, and the program's own handler was not called"
