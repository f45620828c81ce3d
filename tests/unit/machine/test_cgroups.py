import pytest

from schedtuna.machine.cgroups import in_root_task_group, read_cgroups
from schedtuna.machine.probe import Probe

V2_MOUNT = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0"
V1_MOUNTS = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0"""
OWN = "sys/fs/cgroup/user.slice/session.scope"


def v2(**files):
    return {
        "proc/self/mounts": V2_MOUNT,
        "proc/self/cgroup": "0::/user.slice/session.scope",
        f"{OWN}/cgroup.controllers": "cpu memory",
        **files,
    }


def is_root(probe):
    return in_root_task_group(probe.path(read_cgroups(probe).cpu_folder))


def test_v2(machine):
    layout = read_cgroups(machine(v2()))
    assert layout.version == "v2"
    assert layout.v2_controllers == ("cpu", "memory")
    assert layout.cpu_folder == OWN
    assert layout.cpu_quota is None


def test_the_tightest_quota_of_all_ancestors_counts(machine):
    probe = machine(
        v2(**{f"{OWN}/cpu.max": "max 100000", "sys/fs/cgroup/user.slice/cpu.max": "150000 100000"})
    )
    assert read_cgroups(probe).cpu_quota == pytest.approx(1.5)


def test_v1_and_hybrid(machine):
    own = "4:memory:/\n3:cpu,cpuacct:/box/one\n1:name=systemd:/box"
    files = {
        "proc/self/mounts": V1_MOUNTS,
        "proc/self/cgroup": own,
        "proc/self/status": "Name:\tx\nCpus_allowed_list:\t0-1,4",
        "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "200000",
        "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/cpu,cpuacct/box/one/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu,cpuacct/box/one/cpu.cfs_period_us": "100000",
    }
    layout = read_cgroups(machine(files))
    assert layout.version == "v1"
    assert layout.v1_mounts == {
        "cpu": "sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "sys/fs/cgroup/cpu,cpuacct",
        "memory": "sys/fs/cgroup/memory",
    }
    assert layout.cpu_folder == "sys/fs/cgroup/cpu,cpuacct/box/one"
    assert layout.cpu_quota == 2
    assert layout.cpus_allowed == (0, 1, 4)

    files["proc/self/mounts"] += "\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0"
    files["proc/self/cgroup"] += "\n0::/"
    assert read_cgroups(machine(files)).version == "hybrid"


def test_nothing_mounted(machine):
    layout = read_cgroups(machine({}))
    assert layout.version == "none"
    assert layout.cpu_folder is None


def test_autogroups_apply_only_in_the_root_task_group(machine):
    probe = machine(v2())
    assert is_root(probe)  # cpu is not enabled on the way down
    probe = machine({"sys/fs/cgroup/user.slice/cpu.weight": "100"})
    assert not is_root(probe)


@pytest.mark.parametrize("file", ["release_agent", "cpu.rt_runtime_us"])
def test_what_a_container_sees_as_the_root_of_version_1_is_none(machine, file):
    probe = machine(
        {
            "proc/self/mounts": "cgroup /sys/fs/cgroup/cpu cgroup ro,cpu 0 0\n",
            "proc/self/cgroup": "1:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.shares": "1024",
            f"sys/fs/cgroup/cpu/{file}": "",
        }
    )
    assert is_root(probe) is (file == "release_agent")


def test_this_process_is_in_a_group_that_exists():
    probe = Probe.live()
    layout = read_cgroups(probe)
    if layout.cpu_folder is None:
        pytest.skip("no cgroups are mounted")
    assert probe.exists(f"{layout.cpu_folder}/cgroup.procs")
