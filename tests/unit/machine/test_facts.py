import gzip
import hashlib
import os
import platform
import subprocess
from pathlib import Path

import pytest

from schedtuna.machine import facts
from schedtuna.machine.probe import Calls, Probe


def test_an_empty_machine_has_facts_all_the_same(machine):
    found = facts.read_facts(machine({}))
    assert found.kernel_release is None
    assert found.cpu_model == "unknown"
    assert found.virtualization == "none"
    assert found.gpus == ()


def test_names_of_machine_and_host_are_hashed(machine):
    found = facts.read_facts(
        machine({"etc/machine-id": "0123abcd", "proc/sys/kernel/hostname": "secret-host"})
    )
    text = found.model_dump_json()
    assert "0123abcd" not in text
    assert "secret-host" not in text
    assert found.machine_id_hash and found.hostname_hash


def test_the_hash_of_a_hosts_name_can_not_be_looked_up(machine):
    one = facts.read_facts(machine({"etc/machine-id": "1", "proc/sys/kernel/hostname": "web"}))
    two = facts.read_facts(machine({"etc/machine-id": "2", "proc/sys/kernel/hostname": "web"}))
    assert one.hostname_hash != two.hostname_hash


def test_boot_parameters_lose_disks_and_what_init_gets(machine):
    line = (
        "BOOT_IMAGE=/vmlinuz root=UUID=1-2 quiet isolcpus=3 ip=10.0.0.1::: mitigations=off -- --token secret"
    )
    assert facts.read_cmdline(machine({"proc/cmdline": line})) == "quiet isolcpus=3 mitigations=off"


CONFIG = "# a comment\nCONFIG_HZ=250\nCONFIG_PSI=y\n# CONFIG_SCHED_CLASS_EXT is not set\n"


@pytest.mark.parametrize(
    "files",
    [
        {"proc/config.gz": gzip.compress(CONFIG.encode())},
        {"proc/sys/kernel/osrelease": "6.12.1", "boot/config-6.12.1": CONFIG},
        {"proc/sys/kernel/osrelease": "6.12.1", "lib/modules/6.12.1/config": CONFIG},
    ],
)
def test_the_kernels_configuration_wherever_it_is(machine, files):
    config = facts.read_kernel_config(machine(files))
    assert config is not None
    assert facts.kernel_options(config) == {"CONFIG_HZ": "250", "CONFIG_PSI": "y"}


def test_a_torn_configuration_is_none(machine):
    packed = gzip.compress(CONFIG.encode())
    assert facts.read_kernel_config(machine({"proc/config.gz": packed[:-12]})) is None
    assert facts.read_kernel_config(machine({"proc/config.gz": b"not gzip"})) is None


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        (
            "processor : 0\nmodel name : Some CPU @ 2GHz\n\nprocessor : 1\nmodel name : Other",
            "Some CPU @ 2GHz",
        ),
        (
            "processor : 0\nCPU implementer : 0x41\nCPU part : 0xd05\n\nprocessor : 1\nCPU part : 0xd0a",
            "ARM implementer 0x41 parts 0xd05 0xd0a",
        ),
        ("processor : 0\nhart : 1\nuarch : sifive,u74-mc", "sifive,u74-mc"),
        ("processor : 0\ncpu : POWER9 (raw)", "POWER9 (raw)"),
    ],
)
def test_processors_of_all_kinds_have_a_name(machine, cpuinfo, model):
    assert facts.read_cpu_model(machine({"proc/cpuinfo": cpuinfo})) == model


def test_frequency(machine):
    base = "sys/devices/system/cpu"
    probe = machine(
        {
            f"{base}/cpufreq/policy0/scaling_governor": "schedutil",
            f"{base}/cpufreq/policy4/scaling_governor": "performance",
            f"{base}/cpufreq/policy6/scaling_governor": "schedutil",
            f"{base}/cpufreq/boost": "1",
        }
    )
    assert facts.read_governors(probe) == ("performance", "schedutil")
    assert facts.read_turbo(probe) is True
    intel = machine({f"{base}/intel_pstate/no_turbo": "1"})
    assert facts.read_turbo(intel) is False


def test_scheduler_settings_come_from_sysctls_and_debugfs(machine):
    probe = machine(
        {
            "proc/sys/kernel/sched_rt_runtime_us": "950000",
            "proc/sys/kernel/other": "1",
            "sys/kernel/debug/sched/tunable_scaling": "none [logarithmic] linear",
            "sys/kernel/debug/sched/debug": "a dump of all runqueues",
            "sys/kernel/debug/sched/features": "PLACE_LAG NO_HRTICK",
            "sys/kernel/debug/sched/llc_balancing/imb_pct": "20",
            **{f"sys/kernel/debug/sched/fair_server/cpu{cpu}/period": "1000000000" for cpu in range(3)},
            **{
                f"sys/kernel/debug/sched/fair_server/cpu{cpu}/runtime": str(runtime)
                for cpu, runtime in enumerate((50000000, 0, 50000000))
            },
        }
    )
    assert facts.read_scheduler_settings(probe) == {
        "kernel.sched_rt_runtime_us": "950000",
        "debugfs.sched.tunable_scaling": "logarithmic",
        "debugfs.sched.features": "PLACE_LAG NO_HRTICK",
        "debugfs.sched.llc_balancing.imb_pct": "20",
        "debugfs.sched.fair_server.runtime": "50000000 on 0,2; 0 on 1",
        "debugfs.sched.fair_server.period": "1000000000 on 0-2",
    }


@pytest.mark.parametrize(
    ("files", "mode"),
    [
        ({"sys/kernel/security/lockdown": "none [integrity] confidentiality"}, "integrity"),
        ({"proc/cmdline": "quiet lockdown=confidentiality"}, "confidentiality"),
        ({"proc/config.gz": gzip.compress(b"CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY=y")}, "integrity"),
        ({"proc/config.gz": gzip.compress(b"CONFIG_HZ=250")}, "none"),
        ({"proc/config.gz": gzip.compress(b"CONFIG_SECURITY_LOCKDOWN_LSM=y")}, None),
        ({}, None),
    ],
)
def test_lockdown(machine, files, mode):
    assert facts.read_lockdown(machine(files)) == mode


def fake_nvidia_smi(folder, text):
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '{text}'\n")
    tool.chmod(0o755)


def test_gpus_as_nvidia_smi_tells_them(machine, tmp_path):
    fake_nvidia_smi(tmp_path, "Card A, 550.1, 37\\nCard B, 550.1, [N/A]\\n")
    gpus = facts.read_gpus(machine({}, path=f"{tmp_path}:/bin:/usr/bin", calls=Calls()))
    assert [(gpu.name, gpu.driver, gpu.utilization_percent) for gpu in gpus] == [
        ("Card A", "550.1", 37.0),
        ("Card B", "550.1", None),
    ]


def test_this_machine():
    found = facts.read_facts(Probe.live())
    assert found.kernel_release == platform.release()
    assert found.kernel_version == platform.version()
    assert found.architecture == platform.machine()
    assert found.memory_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert set(found.cgroups.cpus_allowed) == os.sched_getaffinity(0)


@pytest.mark.skipif(
    not Path("/proc/config.gz").exists(), reason="this kernel does not show its configuration"
)
def test_the_hash_of_the_configuration_is_that_of_its_text():
    text = subprocess.run(["zcat", "/proc/config.gz"], capture_output=True, check=True).stdout
    found = facts.read_facts(Probe.live())
    assert found.kernel_config_hash == hashlib.sha256(text.strip()).hexdigest()
