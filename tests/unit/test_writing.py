"""Files are written through `schedtuna.files` alone; what else writes by a path is listed, with reasons."""

import ast
from pathlib import Path

import pytest

import schedtuna

SOURCE = Path(schedtuna.__file__).parent
KERNEL = "files of the kernel, which have no links"
OWN_SCRATCH = "in a folder of mkdtemp(3) or one that is ours alone, checked before"
IN_THE_GUEST = "in a guest of our own, where nobody else is"

# Module -> calls that are fine there, and why.
ALLOWED = {
    "cli/main.py": ({"open", "os.open"}, "standard streams"),
    "knobs/kernel_files.py": ({"os.open"}, KERNEL),
    "machine/probe.py": ({"os.open"}, "only asks whether it may be opened: writes nothing"),
    "lab/guest/guestd.py": ({"open", "os.open"}, IN_THE_GUEST),
    "lab/guest/relay.py": ({"os.open"}, IN_THE_GUEST),
    "lab/guest/adversaries.py": ({"open"}, IN_THE_GUEST),
    "lab/guest/loader.py": ({"open", "os.open"}, IN_THE_GUEST),
    "scheduler/scx_object.py": ({"os.unlink"}, "the socket of one that is gone, in root's /run/scx"),
    "lab/orders.py": ({"*.unlink"}, "a link in a share, which is replaced"),
    "lab/vm.py": ({"*.open", "*.unlink"}, f"what QEMU says: {OWN_SCRATCH}"),
    "lab/image.py": (
        {"shutil.copyfile", "*.open"},
        f"an initramfs that QEMU reads by its path: {OWN_SCRATCH}",
    ),
    "lab/build/packages.py": ({"*.symlink_to"}, f"the links of a merged /usr: {OWN_SCRATCH}"),
    "trace/parts.py": ({"*.rename"}, "columns of a table"),
    "trace/samples.py": ({"*.rename"}, "columns of a table"),
    "model/litert.py": ({"np.savez"}, "into memory"),
    "rl/learner.py": ({"torch.save"}, "into memory"),
}

ALWAYS = {
    "os.replace", "os.rename", "os.renames", "os.link", "os.symlink", "os.truncate", "os.mkfifo", "os.mknod",
    "shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.move",
    "tempfile.mkstemp", "tempfile.mktemp", "tempfile.NamedTemporaryFile", "torch.save", "np.save", "np.savez",
    "logging.FileHandler", "*.write_text", "*.write_bytes", "*.touch", "*.symlink_to", "*.hardlink_to",
    "os.unlink", "os.remove", "os.removedirs", "shutil.rmtree", "*.unlink",
    "*.sink_parquet", "*.sink_csv", "*.sink_ipc", "*.to_csv", "*.to_parquet",
}  # fmt: skip


def calls(tree):
    """Every call with its name: `os.open`, `open`, or `*.open` of whatever else."""
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            yield node.func.id, node
        elif isinstance(node.func, ast.Attribute):
            of = node.func.value
            if isinstance(of, ast.Name) and of.id == "files":
                continue
            module = of.id if isinstance(of, ast.Name) and of.id in modules else "*"
            yield f"{module}.{node.func.attr}", node


def constant(node):
    return node.value if isinstance(node, ast.Constant) else None


def writes(name, call):
    """Whether a call may write to a path."""
    if name in ALWAYS:
        return True
    arguments = [
        *call.args,
        *(keyword.value for keyword in call.keywords if keyword.arg in {"mode", "flags"}),
    ]
    if name in {"open", "io.open", "*.open"}:
        modes = [constant(argument) for argument in arguments]
        texts = [mode for mode in modes if isinstance(mode, str) and set(mode) <= set("rwxabt+")]
        return any(set(mode) & set("wxa+") for mode in texts)
    if name == "os.open":
        return any(
            flag in ast.unparse(call) for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "flags")
        )
    if name == "*.replace":  # of a path takes one argument, of a text two
        return len(call.args) == 1 and not call.keywords
    if name == "*.rename":  # of a table takes a mapping
        return not (call.args and isinstance(call.args[0], ast.Dict))
    if name in {"*.write_parquet", "*.write_csv", "*.write_ipc", "*.savefig"}:
        return not (
            call.args and isinstance(call.args[0], ast.Name) and call.args[0].id in {"file", "buffer"}
        )
    return False


def found():
    for path in sorted(SOURCE.rglob("*.py")):
        module = path.relative_to(SOURCE).as_posix()
        if module.startswith("files/"):
            continue
        for name, call in calls(ast.parse(path.read_text())):
            if writes(name, call):
                yield module, name, call.lineno, ast.unparse(call)


def test_nothing_outside_of_files_writes_by_a_path():
    strange = [
        f"{module}:{line}: {text}"
        for module, name, line, text in found()
        if name not in ALLOWED.get(module, ((), ""))[0]
    ]
    assert not strange, "use schedtuna.files, or add a row with a reason to ALLOWED:\n" + "\n".join(strange)


def test_every_exception_is_still_one():
    there = {(module, name) for module, name, *_ in found()}
    assert {(module, name) for module, (names, _) in ALLOWED.items() for name in names} <= there


@pytest.mark.parametrize(
    "line",
    [
        "open(path, 'w')", "path.open('ab')", "path.open(mode='x')", "io.open(path, 'r+b')",
        "os.open(path, os.O_RDWR)", "os.open(path, flags)", "path.write_text('')", "scratch.replace(path)",
        "os.replace(a, b)", "shutil.copyfile(a, b)", "frame.write_parquet(path)", "figure.savefig(path)",
    ],
)  # fmt: skip
def test_what_writes_is_seen(line):
    tree = ast.parse(f"import io, os, shutil\n{line}")
    assert [name for name, call in calls(tree) if writes(name, call)]


@pytest.mark.parametrize(
    "line",
    ["open(path)", "path.open('rb')", "text.replace('a', 'b')", "os.open(path, os.O_RDONLY)", "x.open()"],
)
def test_what_only_reads_is_let_be(line):
    tree = ast.parse(f"import os\n{line}")
    assert not [name for name, call in calls(tree) if writes(name, call)]
