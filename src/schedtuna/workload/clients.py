"""Does a command hand its work to others, whom its own settings do not reach? A table of such clients.

`docker run` asks a daemon, which starts the work elsewhere: the client has the settings, the work does
not. What stays in the command's tree (podman and `systemd-run --scope` on this machine, sudo, qemu) is
not here, and is looked at while it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from schedtuna.workload.wrappers import Started, started


def _always(_words: Sequence[str], _environment: Mapping[str, str]) -> bool:
    return True


@dataclass(frozen=True)
class Client:
    """A program that others work for.

    Attributes:
        who: Who does the work.
        elsewhere: Whether that may be another machine, whose settings are not this one's.
        hands_over: Whether it does with these arguments.
        everyday: Whether programs of one's own are called like that, too: named by a relative path,
            or by a running task's name alone, it is taken for one.
    """

    who: str
    elsewhere: bool = False
    hands_over: Callable[[Sequence[str], Mapping[str, str]], bool] = _always
    everyday: bool = False

    @property
    def always(self) -> bool:
        """Whether it does with any arguments."""
        return self.hands_over is _always


@dataclass(frozen=True)
class Handover:
    """A client in a command line.

    Attributes:
        program: It, as it was started.
        client: What it is.
    """

    program: Started
    client: Client

    @property
    def name(self) -> str:
        """The client's name."""
        return self.program.name

    def __str__(self) -> str:
        return f"{self.name} hands its work to {self.client.who}"


def _options(words: Sequence[str]) -> Sequence[str]:
    """The words before the first that is not an option, and so before the command that is passed on."""
    found = []
    for word in words:
        if not word.startswith("-") or word == "--":
            break
        found.append(word.partition("=")[0])
    return found


def _not_in_scope(words: Sequence[str], _environment: Mapping[str, str]) -> bool:
    return "--scope" not in words[: words.index("--")] if "--" in words else "--scope" not in words


def _podman_elsewhere(words: Sequence[str], environment: Mapping[str, str]) -> bool:
    remote = {"--remote", "-r", "--url", "--connection", "-c"}
    return bool(
        remote & set(_options(words)) or {"CONTAINER_HOST", "CONTAINER_CONNECTION"} & environment.keys()
    )


_DAEMON, _OTHER = "a daemon", "another machine"
CLIENTS: dict[str, Client] = {
    "adb": Client("a device", elsewhere=True),
    "at": Client("atd", everyday=True),
    "autossh": Client(_OTHER, elsewhere=True),
    "batch": Client("atd", everyday=True),
    "crictl": Client(_DAEMON),
    "ctr": Client(_DAEMON),
    "dbclient": Client(_OTHER, elsewhere=True),
    "docker": Client(_DAEMON),
    "docker-compose": Client(_DAEMON),
    "flatpak-spawn": Client("the session's D-Bus service"),
    "incus": Client(_DAEMON),
    "kubectl": Client("a cluster", elsewhere=True),
    "lxc": Client(_DAEMON),
    "machinectl": Client("systemd"),
    "mosh": Client(_OTHER, elsewhere=True),
    "multipass": Client("a virtual machine"),
    "nerdctl": Client("containerd"),
    "oc": Client("a cluster", elsewhere=True),
    "pdsh": Client("other machines", elsewhere=True),
    "podman": Client("podman's service", hands_over=_podman_elsewhere),
    "podman-remote": Client("podman's service"),
    "qsub": Client("a batch system", elsewhere=True),
    "rsh": Client(_OTHER, elsewhere=True),
    "run0": Client("systemd"),
    "sbatch": Client("slurmd", elsewhere=True),
    "srun": Client("slurmd", elsewhere=True),
    "ssh": Client(_OTHER, elsewhere=True),
    "systemctl": Client("systemd"),
    "systemd-run": Client("systemd", hands_over=_not_in_scope),
    "vagrant": Client("a virtual machine"),
    "virsh": Client("libvirtd"),
}


def handover(
    argv: Sequence[str], *, shell: bool = False, environment: Mapping[str, str] | None = None
) -> Handover | None:
    """Return the client that a command line shows to do its work; None where it shows none.

    Args:
        argv: The words of the command.
        shell: Whether they are a shell's text.
        environment: What it runs in, as far as that may send it elsewhere.
    """
    found = [
        Handover(program, client)
        for program in started(argv, shell=shell)
        if (client := CLIENTS.get(program.name))
        and not (client.everyday and program.is_relative)
        and client.hands_over(program.arguments, environment or {})
    ]
    return next((one for one in found if one.program.alone), found[0] if found else None)


def handed_by(names: Iterable[str]) -> list[str]:
    """Return which of these names of tasks are of clients, whatever their options."""
    return sorted(
        {name for name in names if name in CLIENTS and CLIENTS[name].always and not CLIENTS[name].everyday}
    )


def tell_seen(names: Sequence[str]) -> str:
    """Say that a command started clients, in a sentence without its end."""
    who = "; ".join(
        f"{name}, which hands its work to {CLIENTS[name].who}" for name in names if name in CLIENTS
    )
    return (
        f"the command started {who}: settings of its own processes do not reach that (see --pid and --cgroup)"
    )
