"""What is in a scheduler's memory before it runs? Its variables, with what a loader writes into them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from schedtuna.errors import UnavailableError
from schedtuna.sim.bpf.abi import IMAGE, PAGE
from schedtuna.sim.bpf.elf import SHT_NOBITS, SHT_PROGBITS, STB_WEAK, STT_OBJECT, Elf
from schedtuna.sim.bpf.kernel import KernelTypes
from schedtuna.sim.bpf.types import BOOL, DATASEC, ENUM, ENUM64, INT, Types

KCONFIG = ".kconfig"
ARENA = ".addr_space.1"
_KINDS = ("data", "rodata", "bss")
_ALIGNMENT = 64
_RESIZABLE_ROOM = 64 << 10  # of a section of its own: 8,192 elements of 8 bytes
_LARGEST = 64 << 20
_TRISTATE = {"y": 1, "m": 2}
_CONSTANT = "__SCX_"  # what scx's loaders fill in by name


class GlobalKind(IntEnum):
    """enum scx_global_kind."""

    OTHER = 0
    UNSIGNED = 1
    SIGNED = 2
    BOOL = 3


@dataclass
class ImageSection:
    """One section; `data` holds what is not zero at first, addresses are the block's."""

    name: str
    data: bytearray
    address: int
    room: int

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.data)

    @property
    def is_constant(self) -> bool:
        """Whether programs only read it."""
        return self.name.startswith((".rodata", KCONFIG))


@dataclass(frozen=True)
class GlobalVariable:
    """One global variable, by its address in the block."""

    name: str
    address: int
    size: int
    section: int
    kind: GlobalKind


@dataclass
class Image:
    """All sections, and where the block goes on behind them.

    Attributes:
        sections: In the order of their addresses.
        of_elf: Number of a section in the ELF file -> number here.
        globals: The variables, by address.
        kconfig: Name of a variable of .kconfig -> its address.
    """

    sections: list[ImageSection]
    of_elf: dict[int, int]
    globals: list[GlobalVariable]
    kconfig: dict[str, int]

    @property
    def end(self) -> int:
        """The first address behind it, at the start of a page."""
        last = self.sections[-1].address + self.sections[-1].room if self.sections else IMAGE
        return -(-last // PAGE) * PAGE


def read_image(elf: Elf, types: Types, kernel: KernelTypes) -> Image:
    """Lay out the global variables of an object, and fill in what the kernel says."""
    image, place = Image([], {}, [], {}), IMAGE
    if sum(one.size for one in elf.sections if one.type == SHT_NOBITS) > _LARGEST:
        raise elf.damaged("its variables take more than 64 MiB")
    for number, one in enumerate(elf.sections):
        parts = one.name.split(".")
        is_data = one.name == ARENA or (len(parts) > 1 and not parts[0] and parts[1] in _KINDS)
        if is_data and one.type in (SHT_PROGBITS, SHT_NOBITS) and one.size:
            room = one.size + (
                _RESIZABLE_ROOM if len(parts) > 2 and one.name != ARENA and parts[1] != "rodata" else 0
            )
            image.of_elf[number] = len(image.sections)
            image.sections.append(ImageSection(one.name, bytearray(elf.content(number)), place, room))
            place += -(-room // _ALIGNMENT) * _ALIGNMENT
    _add_globals(image, elf, types)
    _fill_constants(image, kernel.types.constants)
    _add_kconfig(image, elf, types, kernel, place)
    return image


def _add_globals(image: Image, elf: Elf, types: Types) -> None:
    names = {one.name: number for number, one in enumerate(elf.sections) if number in image.of_elf}
    for number in types.of_kinds(DATASEC):
        own = names.get(types.name(number))
        if own is None:
            continue
        place = image.of_elf[own]
        section = image.sections[place]
        at = {one.name: one.value for one in elf.symbols if one.section == own and one.type == STT_OBJECT}
        for variable, offset, size in types.variables(number):
            name = types.name(variable)
            start = at.get(name, offset)
            if start + size <= section.size:
                image.globals.append(
                    GlobalVariable(name, section.address + start, size, place, _kind(types, variable))
                )
    image.globals.sort(key=lambda one: one.address)


def _kind(types: Types, variable: int) -> GlobalKind:
    bare = types.bare(types.target(variable))
    if types.kind(bare) == INT:
        if types.encoding(bare) & BOOL:
            return GlobalKind.BOOL
        return GlobalKind.SIGNED if types.is_signed(bare) else GlobalKind.UNSIGNED
    if types.kind(bare) in (ENUM, ENUM64):
        return GlobalKind.SIGNED if types.is_signed(bare) else GlobalKind.UNSIGNED
    return GlobalKind.OTHER


def _fill_constants(image: Image, constants: dict[str, int]) -> None:
    """Write the kernel's constants where scx's loaders write them: `__SCX_NAME` is the kernel's SCX_NAME."""
    for one in image.globals:
        if one.name.startswith(_CONSTANT) and one.size <= 8:
            value = constants.get(one.name[2:], 0) & (1 << 8 * one.size) - 1
            section = image.sections[one.section]
            start = one.address - section.address
            section.data[start : start + one.size] = value.to_bytes(one.size, "little")


def _add_kconfig(image: Image, elf: Elf, types: Types, kernel: KernelTypes, place: int) -> None:
    weak = {one.name for one in elf.symbols if one.binding == STB_WEAK}
    data, unknown = bytearray(), []
    for number in types.of_kinds(DATASEC):
        if types.name(number) == KCONFIG:
            for variable, _, _ in types.variables(number):
                name, size = types.name(variable), types.size(types.target(variable))
                value = kconfig_value(name, size, kernel)
                if value is None and (name not in weak or not kernel.options):
                    unknown.append(name)
                data += bytes(-len(data) % 8)
                image.kconfig[name] = place + len(data)
                data += value or bytes(size)
    if unknown:
        raise UnavailableError(
            f"{elf.name} asks for what is not known of the kernel {kernel.label}: {', '.join(unknown)}",
            hint="give a vmlinux, with its configuration beside it as `config`",
        )
    if data:
        image.sections.append(ImageSection(KCONFIG, data, place, len(data)))


def kconfig_value(name: str, size: int, kernel: KernelTypes) -> bytes | None:
    """What libbpf gives a variable of .kconfig; None where the kernel's configuration has nothing of it."""
    if name == "LINUX_KERNEL_VERSION":
        return None if kernel.version_code is None else kernel.version_code.to_bytes(size, "little")
    if name.startswith("LINUX_HAS_"):
        return (1).to_bytes(size, "little")
    value = kernel.options.get(name)
    if value is None:
        return None
    if value.startswith('"'):
        return value.strip('"').encode()[: size - 1].ljust(size, b"\0")
    number = _TRISTATE[value] if value in _TRISTATE else int(value, 0)
    return (number & (1 << 8 * size) - 1).to_bytes(size, "little")
