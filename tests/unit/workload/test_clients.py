import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.workload.clients import CLIENTS, handed_by, handover
from schedtuna.workload.setters import SETTERS, setter
from schedtuna.workload.wrappers import started

WORKS_HERE = [
    "./bench --ssh",
    "echo docker",
    "python3 ssh.py",
    "podman run --rm img bench",
    "systemd-run --scope -p CPUWeight=50 ./bench",
    "systemd-run --user --scope ./bench",
    "taskset -cp 0 123",
    "qemu-system-x86_64 -m 1G",
    "sudo -u docker ./bench",
    "env docker=1 ./bench",
    "sh docker.sh",
    "timeout 5 ./ssh-bench",
    "./batch --size 10",  # one's own
    "tools/at 5",
    "perf bench sched pipe",
    "perf stat -e cycles -- ./bench ssh",
    "ip addr show ssh",
    "sudo -iu docker ./bench",
    "hyperfine -n docker -p 'sync; ssh' ./bench",
    "hyperfine -L tool docker,ssh './bench {tool}'",
    "su docker -c ./bench",
    "env -u docker -S './bench ssh'",
    "script -c ./bench docker",
    "timeout --sig KILL 5 ./bench",
]
HANDS_OVER = [
    "docker run --rm img bench",
    "./docker run img",
    "/usr/bin/batch",
    "/usr/bin/docker exec c ./bench",
    "docker compose up",
    "podman --remote run img",
    "podman --url ssh://host run img",
    "podman-remote run img",
    "nerdctl run img",
    "systemd-run ./bench",
    "systemd-run --wait -- ./bench --scope",
    "ssh host ./bench",
    "kubectl exec pod -- ./bench",
    "srun ./bench",
    "lxc exec c -- ./bench",
    "machinectl shell c ./bench",
]
WRAPPED = [
    "perf stat -e cycles -r 3 docker run img",
    "perf record -g -o out -- ssh host bench",
    "flock -w 5 lock docker run img",
    "ip netns exec net ssh host bench",
    "nsenter -t 1 -m docker run img",
    "hyperfine -w 1 --export-json out.json 'docker run img'",
    "hyperfine -N ./bench 'ssh host bench'",
    "su -c 'docker run img'",
    "su - bench --command='docker run img'",
    "runuser -u bench -- docker run img",
    "runuser -l bench -c 'docker run img'",
    "env -S 'docker run img'",
    "env -i A=1 -S'nice -n 5 docker' run img",
    "env --split-string='docker run img'",
    "flock lock -c 'docker run img'",
    "script -qec 'docker run img' /dev/null",
    "sh -c 'eval \"docker run img\"'",
    "nix-shell -p x --run 'docker run img'",
]


@pytest.mark.parametrize("command", WORKS_HERE)
def test_what_works_in_its_own_tree_is_not_a_client(command):
    assert handover(shlex.split(command)) is None
    assert handover([command], shell=True) is None


@pytest.mark.parametrize("command", HANDS_OVER)
def test_a_client_is_known_by_its_name_and_options(command):
    found = handover(shlex.split(command))
    assert found is not None
    assert found.name in CLIENTS and found.program.alone
    assert handover([command], shell=True) == found


def test_podman_is_a_client_where_its_environment_sends_it_elsewhere():
    assert handover(["podman", "run", "img"], environment={"CONTAINER_HOST": "ssh://host"}) is not None


# Ways to write a command that runs another one; WORDS stands for that one's words.
PREFIXES = [
    [],
    ["env"],
    ["env", "A=1", "-u", "B"],
    ["env", "-i", "PATH=/bin"],
    ["nice"],
    ["nice", "-n", "5"],
    ["nice", "-5"],
    ["nice", "--adjustment=5"],
    ["ionice", "-c", "2", "-n", "7"],
    ["ionice", "-c2"],
    ["time"],
    ["time", "-f", "%e", "-o", "out"],
    ["timeout", "10"],
    ["timeout", "-k", "5", "--foreground", "10s"],
    ["nohup"],
    ["setsid", "-w"],
    ["stdbuf", "-oL"],
    ["stdbuf", "-o", "L"],
    ["chrt", "-b", "0"],
    ["chrt", "--fifo", "50"],
    ["taskset", "3"],
    ["taskset", "-c", "0,1"],
    ["numactl", "-N", "0", "-m", "0"],
    ["numactl", "--cpunodebind=0", "--"],
    ["sudo"],
    ["sudo", "-E", "-u", "bob"],
    ["sudo", "--user=bob", "--", "A=1"],
    ["strace", "-f", "-o", "out"],
    ["unshare", "-n"],
]


def quoted(words: list[str]) -> str:
    return shlex.join(words)


SHELLS = [
    lambda words: ["sh", "-c", quoted(words)],
    lambda words: ["bash", "-ec", f"cd /tmp && exec {quoted(words)} > out 2>&1"],
    lambda words: ["/bin/sh", "-c", f"A=1 {quoted(words)}; echo done"],
    lambda words: ["bash", "-c", f"for i in 1 2; do {quoted(words)} | tee out; done"],
    lambda words: ["sh", "-c", f"if {quoted(words)}; then echo yes; fi", "name"],
]
LAYERS = st.lists(
    st.one_of(st.sampled_from(PREFIXES).map(lambda p: lambda words: [*p, *words]), st.sampled_from(SHELLS)),
    max_size=4,
)


def wrap(layers, words: list[str]) -> list[str]:
    for layer in layers:
        words = layer(words)
    return words


@pytest.mark.parametrize("command", WRAPPED)
def test_a_client_is_seen_through_tools_that_watch_or_place_it(command):
    found = handover(shlex.split(command))
    assert found is not None and found.program.alone and found.name in {"docker", "ssh"}


def test_everyday_names_of_tasks_are_not_taken_for_clients():
    assert handed_by(["at", "batch", "docker", "sh", "ssh"]) == ["docker", "ssh"]


@settings(max_examples=400)
@given(layers=LAYERS, command=st.sampled_from(HANDS_OVER))
def test_a_client_is_seen_through_any_wrappers(layers, command):
    words = wrap(layers, shlex.split(command))
    found = handover(words)
    assert found is not None and found.program.alone, words
    assert found.name == shlex.split(command)[0].rpartition("/")[2]


@settings(max_examples=400)
@given(layers=LAYERS, command=st.sampled_from(WORKS_HERE))
def test_wrappers_make_nothing_a_client(layers, command):
    assert handover(wrap(layers, shlex.split(command))) is None


@settings(max_examples=200)
@given(words=st.lists(st.text(max_size=20), max_size=8), shell=st.booleans())
def test_any_words_are_taken(words, shell):
    started(words, shell=shell)
    handover(words, shell=shell)


def test_a_client_beside_other_work_is_told_apart():
    found = handover(["docker start db; ./bench"], shell=True)
    assert found is not None and not found.program.alone


@pytest.mark.parametrize(
    ("command", "knob", "name"),
    [
        ("taskset -c 0,1 ./bench", "affinity", "taskset -c 0,1"),
        ("nice -n 5 chrt -b 0 ./bench", "nice", "chrt -b 0"),
        ("nice -n 5 ./bench", "nice", "nice -n 5"),
        ("numactl -C 0 ./bench", "affinity", "numactl -C 0"),
        ("sh -c 'renice -n 5 $$; ./bench'", "nice", "renice -n 5 '$$'"),
        ("./bench taskset", "affinity", ""),
        ("numactl --physcpubind=0 ./bench", "affinity", "numactl --physcpubind=0"),
        ("numactl -m 0 ./bench", "affinity", ""),  # where its memory is
        ("numactl -m 0 ./bench -C 3", "affinity", ""),
        ("numactl --hardware", "affinity", ""),
        ("taskset -c 0 ./bench", "nice", ""),
    ],
)
def test_what_sets_an_attribute_is_named_with_its_options(command, knob, name):
    assert str(setter(knob, shlex.split(command)) or "") == name


def test_what_sets_attributes_names_knobs_that_there_are():
    from schedtuna.knobs.registry import all_knobs

    assert {knob for knobs in SETTERS.values() for knob in knobs} <= {knob.name for knob in all_knobs()}
