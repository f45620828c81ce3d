"""Into which forms can a model be exported? One row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schedtuna.export.bpf import bpf_files
from schedtuna.export.c import generate_c
from schedtuna.export.compiled import shared_library
from schedtuna.export.onnx import onnx_file
from schedtuna.export.tflite import tflite_file
from schedtuna.model.model import DecisionModel


@dataclass(frozen=True)
class ExportTarget:
    """A form.

    Attributes:
        help: What it is.
        files: Makes its files: of a model, a name for C or None, and whether small tables matter more
            than time. The first file's name begins with the name.
        advice: What to do with them.
    """

    help: str
    files: Callable[[DecisionModel, str | None, bool], dict[str, bytes]]
    advice: str


_CALL_CHECK = "call {name}_check() where it runs, before it decides: 0 says that all is the same"


def _c(model: DecisionModel, name: str | None, small: bool) -> dict[str, bytes]:
    return {file: text.encode() for file, text in generate_c(model, name, small=small).items()}


def _native(model: DecisionModel, name: str | None, small: bool) -> dict[str, bytes]:
    return shared_library(model, name, small=small)


def _onnx(model: DecisionModel, name: str | None, _small: bool) -> dict[str, bytes]:
    return onnx_file(model, name)


def _tflite(model: DecisionModel, name: str | None, _small: bool) -> dict[str, bytes]:
    return tflite_file(model, name)


TARGETS: dict[str, ExportTarget] = {
    "c": ExportTarget("C99 without any library, and the rows that check it", _c, _CALL_CHECK),
    "native": ExportTarget(
        "a shared library for this machine's CPU, compiled and checked here", _native, _CALL_CHECK
    ),
    "bpf": ExportTarget(
        "a table for a fixed BPF program, that program, and its headers", bpf_files, "see {name}.md"
    ),
    "onnx": ExportTarget(
        "ONNX in integers, compared with onnxruntime before it is written",
        _onnx,
        "give it int64 values [rows, inputs]: decision is the number of each row's label",
    ),
    "tflite": ExportTarget(
        "TensorFlow Lite, for LiteRT and TFLite Micro, compared with LiteRT before it is written",
        _tflite,
        "give it int32 or int64 values [rows, inputs]: decision is the number of each row's label",
    ),
}
