"""How does the lab come to be on a machine? Fetched, unpacked, put together, and booted once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from schedtuna.errors import UnavailableError
from schedtuna.files import make_folder, move, remove, remove_folder, writing
from schedtuna.kernel.kfuncs import uncallable_kfuncs
from schedtuna.lab.boot import boot
from schedtuna.lab.build.examples import FOLDER as SCHEDULERS
from schedtuna.lab.build.kernels import (
    PREFIXES,
    SUITES,
    available,
    choose,
    host_kernel,
    install_file,
    install_package,
)
from schedtuna.lab.build.packages import Mirror, PrivateApt, host_mirror, unpack_anew
from schedtuna.lab.build.vmlinux import unpacked
from schedtuna.lab.errors import BootError
from schedtuna.lab.image import (
    GUEST_PROGRAMS,
    PACKAGES,
    PROGRAMS,
    base_layer,
    compile_python,
    is_compiled,
    write_layer,
)
from schedtuna.lab.qemu.program import PACKAGE, host_qemu, install_qemu
from schedtuna.lab.store import (
    Kernel,
    Lab,
    Qemu,
    locked,
    read_lab,
    sha256_of,
    size_of,
    write_lab,
)
from schedtuna.lab.vm import BootedGuest, GuestSpec
from schedtuna.machine.labfolder import lab_directory
from schedtuna.resources import resource_path

AUTO = "auto"
_KVM_WITHIN_S = 30.0
_OWN_FILES = ("lab/guest/init", *GUEST_PROGRAMS, "native/schedtuna-launch")
Say = Callable[[str], None]


def setup(kernel: str = AUTO, *, directory: Path | None = None, say: Say = lambda _text: None) -> Lab:
    """Install what guests need, keeping what is there already, and boot one.

    Args:
        kernel: ``auto`` (the host's own if it has sched_ext, else the mirror's newest of those whose
            BTF is right about it), the path of a vmlinuz with its config beside it, or a version of
            the mirror's.
        directory: Where; default: `lab_directory()`.
        say: Gets a line for every step.

    Raises:
        UnavailableError: No apt, no such kernel, no QEMU that is new enough.
        UsageError: The file is not a kernel, or lacks something.
        LabError: A package can't be fetched or unpacked, or the guest does not boot.
    """
    folder = directory or lab_directory()
    with locked(folder):
        return _Setup(folder, say).install(kernel)


def mirror_kernels(directory: Path | None = None) -> list[str]:
    """Return the versions of the mirror's complete kernels with sched_ext, newest first.

    Raises:
        UnavailableError: There is no apt.
        LabError: The mirror can't be reached.
    """
    folder = directory or lab_directory()
    with locked(folder):
        apt = PrivateApt(folder / "apt" / "kernels", host_mirror(), SUITES)
        apt.refresh()
        return [row.version for row in available(apt.candidates(PREFIXES))]


class _Setup:
    def __init__(self, folder: Path, say: Say) -> None:
        self.folder = folder
        self.say = say
        try:
            self.before: Lab | None = read_lab(folder)
        except UnavailableError:
            self.before = None
        self.packages: dict[str, str] = dict(self.before.packages) if self.before else {}
        self._mirror: Mirror | None = None

    def install(self, wanted: str) -> Lab:
        self._remove_leftovers()
        qemu = self._qemu()
        root = self._guest_root()
        image, key = self._image(root)
        kernels = dict(self.before.kernels) if self.before else {}
        kernel = self._kernel(wanted, kernels, root)
        kernels[kernel.version] = kernel
        same = self.before is not None and (self.before.qemu, self.before.image_key) == (qemu, key)
        lab = Lab(
            qemu=qemu,
            kernels=kernels,
            default_kernel=kernel.version,
            guest_root=root,
            image=image,
            image_key=key,
            accelerator=self.before.accelerator if same and self.before else "tcg",
            packages=self.packages,
        )
        if lab != self.before:
            lab = self._verified(lab, probe_kvm=not same)
            write_lab(lab, self.folder)
            self._remove_old_images(image)
        self.say(f"the lab is ready: {size_of(self.folder) / 1e6:.0f} MB in {self.folder}")
        return lab

    def _apt(self, name: str, suites: Sequence[str]) -> PrivateApt:
        kept = self.folder / "packages"
        apt = PrivateApt(self.folder / "apt" / name, self._host_mirror(), suites, kept=kept)
        self.say(f"reading the package lists of {', '.join(suites)}")
        apt.refresh()
        return apt

    def _host_mirror(self) -> Mirror:
        self._mirror = self._mirror or host_mirror()
        return self._mirror

    def _host_apt(self) -> tuple[PrivateApt, str]:
        codename = self._host_mirror().codename
        backports = f"{codename}-backports"
        return self._apt("host", (codename, backports)), backports

    def _qemu(self) -> Qemu:
        found = host_qemu()
        if found is not None:
            self.say(f"QEMU {found.version}: {found.origin}")
            return found
        if self.before is not None and Path(self.before.qemu.argv[0]).exists():
            self.say(f"QEMU {self.before.qemu.version}: already there")
            return self.before.qemu
        apt, backports = self._host_apt()
        self._announce("QEMU", apt.planned([PACKAGE], release=backports))
        qemu, packages = install_qemu(apt, self.folder / "qemu", backports)
        self._keep_hashes(packages)
        self.say(f"QEMU {qemu.version}: {qemu.origin}")
        return qemu

    def _guest_root(self) -> Path:
        root = self.folder / "guest"
        if self.before is not None and root.is_dir():
            self.say("guest programs: already there")
            if not is_compiled(root):
                compile_python(root)
            return root
        apt, _ = self._host_apt()
        self._announce("guest programs", apt.planned(PACKAGES))
        packages = apt.download_closure(PACKAGES)
        unpack_anew(packages, root)
        compile_python(root)
        self._keep_hashes(packages)
        return root

    def _image(self, root: Path) -> tuple[Path, str]:
        own = [sha256_of(resource_path(name)) for name in _OWN_FILES]
        parts = [*own, *PROGRAMS, *(f"{name} {sha}" for name, sha in sorted(self.packages.items()))]
        image_module = Path(__file__).parents[1] / "image.py"
        key = hashlib.sha256("\n".join([sha256_of(image_module), *parts]).encode()).hexdigest()
        image = self.folder / "images" / f"{key[:16]}.cpio"
        if not image.exists():
            self.say("putting the guest's files together")
            make_folder(image.parent)
            with writing(image) as file:
                write_layer(base_layer(root), file)
        return image, key

    def _kernel(self, wanted: str, there: dict[str, Kernel], root: Path) -> Kernel:
        """The kernel that is wanted; of those that nobody named, the first that runs schedulers."""
        for candidate in self._candidates(wanted, there):
            kernel = unpacked(candidate, root)
            wrong = uncallable_kfuncs(kernel.unpacked) if kernel.unpacked else []
            if not wrong:
                return kernel
            self.say(
                f"kernel {kernel.version}: its BTF is wrong about {len(wrong)} functions of sched_ext, "
                "as pahole before 1.26 writes it: most schedulers can't be loaded"
            )
            if wanted != AUTO or kernel.version in there:
                return kernel
        raise UnavailableError("the mirror has no kernel whose sched_ext functions can be called")

    def _candidates(self, wanted: str, there: dict[str, Kernel]) -> Iterator[Kernel]:
        kernels = self.folder / "kernels"
        if "/" in wanted or Path(wanted).is_file():
            yield install_file(Path(wanted).absolute(), kernels)
            return
        if wanted == AUTO:
            own = host_kernel(os.uname().release)
            if own is not None:
                yield install_file(own[0], kernels, origin="the host's own", config=own[1])
            if there and self.before is not None:
                yield self.before.kernel()
        elif self.before is not None and (found := self._installed(wanted)) is not None:
            yield found
        apt = self._apt("kernels", SUITES)
        for row in choose(available(apt.candidates(PREFIXES)), None if wanted == AUTO else wanted):
            self.say(f"fetching kernel {row.version}")
            kernel, packages = install_package(apt, row, kernels, self.folder / "packages")
            self._keep_hashes(packages)
            self.say(f"kernel {kernel.version}: {sum(size_of(each) for each in packages) / 1e6:.0f} MB")
            yield kernel

    def _installed(self, wanted: str) -> Kernel | None:
        try:
            return self.before.kernel(wanted) if self.before is not None else None
        except UnavailableError:
            return None

    def _announce(self, what: str, plan: Sequence[tuple[str, int]]) -> None:
        size = sum(size for _, size in plan) / 1e6
        self.say(
            f"{what}: fetching {size:.0f} MB in {len(plan)} packages" if plan else f"{what}: fetched before"
        )

    def _keep_hashes(self, packages: Sequence[Path]) -> None:
        """Move packages to where they are kept, for they vanish from mirrors, and remember their hashes."""
        keep = self.folder / "packages"
        make_folder(keep)
        for package in packages:
            self.packages[package.name] = sha256_of(package)
            move(package, keep / package.name)

    def _verified(self, lab: Lab, *, probe_kvm: bool) -> Lab:
        """Boot a guest; with KVM where that really works."""
        if probe_kvm and os.access("/dev/kvm", os.R_OK | os.W_OK):
            try:
                with BootedGuest(lab, GuestSpec(), accelerator="kvm", within_s=_KVM_WITHIN_S) as guest:
                    self.say(f"a guest booted with KVM in {guest.boot_s:.1f} s")
                return lab.model_copy(update={"accelerator": "kvm"})
            except BootError:
                self.say("no guest boots with this machine's KVM: emulating instead")
        guest, _ = boot(lab, GuestSpec())
        with guest:
            if guest.read("/sys/kernel/sched_ext/state") is None:
                raise UnavailableError(f"kernel {lab.default_kernel} has no sched_ext once it runs")
            self.say(f"a guest booted kernel {guest.kernel.version} in {guest.boot_s:.1f} s")
        return lab

    def _remove_leftovers(self) -> None:
        """What an interrupted run was unpacking or building."""
        for pattern in (".build-*", ".guest", ".qemu", ".clang", "kernels/.*", f"{SCHEDULERS}/.*"):
            for left in self.folder.glob(pattern):
                remove_folder(left)

    def _remove_old_images(self, image: Path) -> None:
        for old in image.parent.iterdir():
            if old != image:
                remove(old)
