import errno
import re

import pytest
from tests.unit.kernel.btf_bytes import RIGHT, WRONG, kernel_functions

from schedtuna.errors import UnavailableError
from schedtuna.machine.checks import ABILITIES, GROUPS, examine, judge_abilities, run_checks
from schedtuna.machine.checks.finding import Status
from schedtuna.machine.checks.programs import scx_binaries
from schedtuna.machine.probe import Calls, Probe

NAMES = [check.name for checks in GROUPS.values() for check in checks]
CHECKS = {check.name: check for checks in GROUPS.values() for check in checks}
INITIAL_USER_NAMESPACE = "         0          0 4294967295"
SYS_NICE, SYS_ADMIN, PERFMON, BPF = 1 << 23, 1 << 21, 1 << 38, 1 << 39


def status_file(effective=0, uid=1000):
    return {
        "proc/self/status": f"Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{effective:016x}",
        "proc/self/uid_map": INITIAL_USER_NAMESPACE,
    }


def run(name, probe):
    return CHECKS[name].run(probe)


def test_names_are_distinct_and_titles_fit_the_table():
    assert len(set(NAMES)) == len(NAMES)
    assert all(len(check.title) <= 22 for check in CHECKS.values())
    assert all(len(ability.title) <= 22 for ability in ABILITIES)


def test_an_examination_counts_and_groups_what_it_found(machine):
    found = examine(machine({})).to_dict()
    assert list(found["checks"]) == NAMES
    assert sum(found["counts"].values()) == len(NAMES)
    assert found["counts"]["missing"] == sum(one["status"] == "missing" for one in found["checks"].values())
    assert {name: one["group"] for name, one in found["checks"].items()} == {
        check.name: group for group, checks in GROUPS.items() for check in checks
    }
    assert found["abilities"]["record"]["facts"]["lacks"]


def test_abilities_rest_on_checks_that_exist():
    assert {name for ability in ABILITIES for name in ability.needs + ability.better_with} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_machine_breaks_no_check(machine, name):
    finding = run(name, machine({}))
    assert finding.seen
    if finding.status is not Status.OK:
        assert finding.cost


def test_everything_that_is_amiss_here_says_what_it_costs():
    for name, finding in run_checks(Probe.live()).items():
        assert bool(finding.cost) == (finding.status is not Status.OK), name


def test_a_check_that_fails_becomes_a_warning(machine):
    def broken():
        raise ValueError("no such thing")

    probe = machine({}, calls=Calls(open_cycle_counter=broken))
    assert run_checks(probe)["hardware_counters"].seen == "could not be read: no such thing"


@pytest.mark.parametrize(
    ("answer", "status", "seen"),
    [
        ((3_000_000, True), "ok", "default 3 ms"),
        ((0, True), "ok", "can be set per task"),
        ((0, False), "missing", "ignores it"),
        (PermissionError(errno.EPERM, "no"), "missing", "EPERM"),
    ],
)
def test_slices_are_judged_by_what_is_read_back(machine, answer, status, seen):
    def ask():
        if isinstance(answer, OSError):
            raise answer
        return answer

    finding = run("eevdf_slice", machine({}, calls=Calls(read_back_slice=ask)))
    assert finding.status == status
    assert seen in finding.seen


@pytest.mark.parametrize(
    ("files", "status", "seen"),
    [
        ({}, "missing", "no /sys/kernel/sched_ext"),
        ({"proc/sys/kernel/osrelease": "6", "boot/config-6": "CONFIG_HZ=250"}, "missing", "built without"),
        ({"sys/kernel/sched_ext/state": "disabled"}, "ok", "none loaded"),
        (
            {"sys/kernel/sched_ext/state": "enabled", "sys/kernel/sched_ext/root/ops": "rusty_1.0"},
            "warning",
            "rusty_1.0 is loaded",
        ),
    ],
)
def test_sched_ext(machine, files, status, seen):
    finding = run("sched_ext", machine(files))
    assert finding.status == status
    assert seen in finding.seen


@pytest.mark.parametrize(("functions", "status"), [(WRONG, "warning"), (RIGHT, "ok")])
def test_sched_ext_whose_functions_btf_gets_wrong(machine, functions, status):
    files = {"sys/kernel/sched_ext/state": "disabled", "sys/kernel/btf/vmlinux": kernel_functions(functions)}
    finding = run("sched_ext", machine(files))
    assert finding.status == status
    assert ("BTF is wrong about 1 of its functions" in finding.seen) == (status == "warning")


def test_capabilities(machine):
    finding = run("cap_sys_nice", machine(status_file(effective=SYS_NICE)))
    assert finding.status is Status.OK
    assert run("cap_sys_nice", machine(status_file())).get == "run as root (sudo)"
    assert "container or VM" in run("cap_sys_nice", machine(status_file(uid=0))).get


def test_sys_admin_stands_in_for_bpf(machine):
    probe = machine(status_file(effective=SYS_ADMIN))
    assert run("cap_bpf", probe).status is Status.OK
    assert run("cap_sys_nice", probe).status is Status.MISSING


def test_capabilities_of_a_rootless_container_do_not_count(machine):
    files = status_file(effective=(1 << 41) - 1, uid=0) | {"proc/self/uid_map": "0 1000 1\n1 100000 65536"}
    finding = run("cap_bpf", machine(files))
    assert finding.status is Status.MISSING
    assert "user namespace" in finding.seen


@pytest.mark.parametrize(
    ("files", "status"),
    [
        (status_file(BPF | PERFMON) | {"sys/kernel/btf/vmlinux": "x"}, "ok"),
        (status_file(BPF) | {"sys/kernel/btf/vmlinux": "x"}, "missing"),
        (status_file(BPF | PERFMON), "missing"),
        (
            status_file(BPF | PERFMON)
            | {
                "sys/kernel/btf/vmlinux": "x",
                "sys/kernel/security/lockdown": "none integrity [confidentiality]",
            },
            "missing",
        ),
    ],
)
def test_bpf_tracepoints(machine, files, status):
    assert run("tp_btf", machine(files)).status == status


@pytest.mark.parametrize(
    ("code", "status"),
    [(0, "ok"), (errno.ENOENT, "missing"), (errno.EACCES, "missing"), (errno.EINVAL, "missing")],
)
def test_hardware_counters(machine, code, status):
    finding = run("hardware_counters", machine({}, calls=Calls(open_cycle_counter=lambda: code)))
    assert finding.status == status


@pytest.mark.parametrize(
    ("level", "status"), [("1", "ok"), ("2", "warning"), ("3", "missing"), ("4", "missing")]
)
def test_perf_event_paranoid(machine, level, status):
    files = status_file() | {"proc/sys/kernel/perf_event_paranoid": level}
    assert run("perf_event_paranoid", machine(files)).status == status
    files |= status_file(effective=PERFMON)
    assert run("perf_event_paranoid", machine(files)).status is Status.OK


@pytest.mark.parametrize(
    ("name", "files", "status", "seen"),
    [
        ("autogroup", {"proc/sys/kernel/sched_autogroup_enabled": "1"}, "warning", "on"),
        ("autogroup", {"proc/sys/kernel/sched_autogroup_enabled": "0"}, "ok", "off"),
        (
            "autogroup",
            {
                "proc/sys/kernel/sched_autogroup_enabled": "1",
                "proc/self/mounts": "c /sys/fs/cgroup cgroup2 rw 0 0",
                "proc/self/cgroup": "0::/a",
                "sys/fs/cgroup/a/cpu.weight": "100",
            },
            "ok",
            "without effect",
        ),
        ("clock", {"sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc"}, "ok", "tsc"),
        (
            "clock",
            {"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"},
            "warning",
            "slow",
        ),
        ("psi", {"proc/pressure/cpu": "some avg10=0.00"}, "ok", "pressure"),
        (
            "psi",
            {"proc/sys/kernel/osrelease": "6", "boot/config-6": "CONFIG_PSI=y"},
            "missing",
            "not switched on",
        ),
        ("steal", {"proc/stat": "cpu 50 0 0 40 0 0 0 10"}, "warning", "10.00%"),
        ("steal", {"proc/stat": "cpu 50 0 0 50 0 0 0 0"}, "ok", "0.00%"),
        ("load", {"proc/loadavg": "0.01 0 0", "sys/devices/system/cpu/online": "0-3"}, "ok", "4 CPUs"),
        ("load", {"proc/loadavg": "3.5 0 0", "sys/devices/system/cpu/online": "0-3"}, "warning", "3.50"),
        (
            "governor",
            {"sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "powersave"},
            "warning",
            "powersave",
        ),
        ("turbo", {"sys/devices/system/cpu/intel_pstate/no_turbo": "0"}, "warning", "on"),
        ("turbo", {"sys/devices/system/cpu/intel_pstate/no_turbo": "1"}, "ok", "off"),
        ("isolated_cpus", {"sys/devices/system/cpu/isolated": "2-3"}, "warning", "2-3"),
        ("daemons", {"proc/9/comm": "irqbalance"}, "ok", "irqbalance runs"),
        ("daemons", {"proc/9/comm": "tuned", "proc/8/comm": "irqbalance"}, "warning", "tuned"),
        ("daemons", {"proc/9/comm": "system76-schedu"}, "warning", "system76-scheduler"),
        (
            "cpu_limits",
            {"sys/devices/system/cpu/online": "0-3", "proc/self/status": "Cpus_allowed_list: 1-2"},
            "warning",
            "CPUs 1-2 of 0-3",
        ),
        ("kvm", {"dev/kvm": ""}, "ok", "/dev/kvm"),
        ("gpu", {"proc/driver/nvidia/version": "550"}, "missing", "nvidia-smi is missing"),
    ],
)
def test_judgements(machine, name, files, status, seen):
    finding = run(name, machine(files))
    assert (finding.status, seen in finding.seen) == (status, True), finding


def test_the_cpu_controller_must_reach_this_process(machine):
    files = {
        "proc/self/mounts": "c /sys/fs/cgroup cgroup2 rw 0 0",
        "proc/self/cgroup": "0::/a",
        "sys/fs/cgroup/a/cgroup.controllers": "memory pids",
    }
    assert run("cgroup_cpu", machine(files)).status is Status.MISSING
    files["sys/fs/cgroup/a/cgroup.controllers"] = "cpu memory pids"
    assert run("cgroup_cpu", machine(files)).seen == "v2, groups can be made in /sys/fs/cgroup/a"


DEBIAN, FEDORA = 'ID=debian\nVERSION_ID="12"', "ID=fedora"
UBUNTU, MINT = "ID=ubuntu\nID_LIKE=debian", 'ID=linuxmint\nID_LIKE="ubuntu debian"'


@pytest.mark.parametrize(
    ("release", "tool", "hint"),
    [
        (DEBIAN, "hackbench", "apt install rt-tests"),
        (FEDORA, "hackbench", "dnf install realtime-tests"),
        (DEBIAN, "perf", "apt install linux-perf"),
        (UBUNTU, "perf", "apt install linux-tools-generic"),
        (MINT, "perf", "apt install linux-tools-generic"),
        ("ID=arch", "hackbench", "package rt-tests (Debian) or realtime-tests (Fedora)"),
        (DEBIAN, "schbench", "build it: "),
        (FEDORA, "llama_bench", "dnf install llama-cpp"),
        (DEBIAN, "llama_bench", "build it: "),
    ],
)
def test_missing_tools_come_with_this_distributions_package(machine, release, tool, hint):
    finding = run(tool, machine({"etc/os-release": release}))
    assert finding.status is Status.MISSING
    assert finding.get.startswith(hint)


def test_the_lab_is_there_once_it_is_set_up(machine, tmp_path):
    (tmp_path / "apt-get").touch(mode=0o755)
    files = {"proc/sys/kernel/arch": "x86_64", "proc/sys/kernel/osrelease": "6.18.0"}
    bare = run("lab", machine(files, path=str(tmp_path), SCHEDTUNA_LAB_DIR="/the/lab"))
    assert (bare.status, bare.get) == (Status.MISSING, "schedtuna lab setup")
    there = machine({**files, "the/lab/lab.json": "{}"}, SCHEDTUNA_LAB_DIR="/the/lab")
    assert (run("lab", there).status, run("lab", there).seen) == (Status.OK, "set up in /the/lab")


@pytest.mark.parametrize(
    ("lab", "status", "seen"),
    [
        (None, Status.OK, "`schedtuna lab setup` finds out"),
        ("{", Status.OK, "`schedtuna lab setup` finds out"),
        ("[]", Status.OK, "`schedtuna lab setup` finds out"),
        ('{"accelerator": "kvm"}', Status.OK, "guests boot with it"),
        ('{"accelerator": "tcg"}', Status.WARNING, "emulated (TCG)"),
    ],
)
def test_kvm_counts_once_a_guest_has_booted_with_it(machine, lab, status, seen):
    files = {"dev/kvm": "", **({} if lab is None else {"the/lab/lab.json": lab})}
    probe = machine(files, SCHEDTUNA_LAB_DIR="/the/lab")
    assert (run("kvm", probe).status, seen in run("kvm", probe).seen) == (status, True)


def test_the_lab_says_how_its_guests_run(machine):
    probe = machine({"the/lab/lab.json": '{"accelerator": "tcg"}'}, SCHEDTUNA_LAB_DIR="/the/lab")
    assert run("lab", probe).seen == "set up in /the/lab, its guests run with TCG"


@pytest.mark.parametrize(("architecture", "tool"), [("aarch64", "apt-get"), ("x86_64", "dnf")])
def test_where_no_lab_can_be_set_up_nobody_is_sent_there(machine, tmp_path, architecture, tool):
    (tmp_path / tool).touch(mode=0o755)
    probe = machine({"proc/sys/kernel/arch": architecture}, path=str(tmp_path), SCHEDTUNA_LAB_DIR="/none")
    assert run("lab", probe).get.startswith("an x86-64 machine with Debian's apt")


def executable(path):
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_schedulers_are_found_on_path_and_in_their_own_variable(machine, tmp_path):
    executable(tmp_path / "one" / "scx_rusty")
    executable(tmp_path / "one" / "scx_lavd")
    executable(tmp_path / "two" / "scx_rusty")
    executable(tmp_path / "one" / "scx_loader")
    (tmp_path / "two" / "scx_notes").write_text("not a program")
    probe = machine({}, path=f"/nowhere:{tmp_path}/one", SCHEDTUNA_SCX_PATH=f"{tmp_path}/two")
    finding = run("scx_schedulers", probe)
    assert finding.seen == "scx_lavd, scx_rusty"
    assert finding.facts["paths"]["scx_rusty"] == str(tmp_path / "two" / "scx_rusty")


def test_a_scheduler_in_a_folder_named_from_here_is_known_by_its_whole_path(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "scx_mine"
    program.parent.mkdir()
    program.touch(0o755)
    monkeypatch.chdir(tmp_path)
    for folder in ("bin", f"./{program.parent.name}", str(program.parent)):
        probe = Probe(environment={"PATH": "", "SCHEDTUNA_SCX_PATH": folder})
        assert scx_binaries(probe)["scx_mine"] == str(program)


def test_abilities_name_what_stands_in_the_way(machine):
    abilities = judge_abilities(run_checks(machine(status_file())))
    assert abilities["record"].status is Status.MISSING
    assert "BPF tracepoints" in abilities["record"].seen
    capable = machine(
        status_file(effective=BPF | PERFMON)
        | {"sys/kernel/btf/vmlinux": "x", "proc/sys/kernel/osrelease": "6.6"}
    )
    abilities = judge_abilities(run_checks(capable))
    assert abilities["record"].status is Status.OK
    assert abilities["tune"].status is Status.WARNING
    assert re.search(r"yes, but without .*CAP_SYS_NICE", abilities["tune"].seen)


def test_the_live_cycle_counter_agrees_with_the_list_of_pmus():
    finding = run("hardware_counters", Probe.live())
    pmus = set(Probe.live().names("sys/bus/event_source/devices"))
    if finding.status is Status.OK:
        assert any(re.match(r"cpu|armv\d|.*pmu", name) for name in pmus)
    elif "shows none" in finding.seen:
        assert not pmus & {"cpu", "cpu_core"}


def test_an_installation_without_scx_tuna_says_what_it_lacks(machine, monkeypatch):
    def lacks(relative):
        raise UnavailableError(f"this installation lacks {relative}")

    monkeypatch.setattr("schedtuna.machine.checks.programs.resource_path", lacks)
    finding = run("scx_tuna", machine({"etc/os-release": "ID=debian"}))
    assert (finding.status, finding.get) == (
        Status.MISSING,
        "apt install clang-19, and reinstall schedtuna",
    )
