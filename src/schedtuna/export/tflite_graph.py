"""A graph of TensorFlow Lite that is being built: operators, constants, results, in LiteRT's own schema."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_ALIGNED = 16  # bytes: the schema wants it of arrays, and flatbuffers' objects in Python don't keep it
_DTYPES = {"float32": "FLOAT32", "int32": "INT32", "int64": "INT64", "bool": "BOOL"}
_VERSIONS = {"GATHER": 5}  # of an operator's kernel, where the first one can't do what is asked of it here


class TfliteGraph:
    """Operators in the order in which they are added; the first dimension of what they make is of rows.

    Args:
        schema: LiteRT's `schema_py_generated`.
        nr_inputs: How many values a row has.
        dtype: Of these, `int32` or `int64`.
    """

    def __init__(self, schema: Any, nr_inputs: int, dtype: str) -> None:
        self._schema = schema
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # the first one is of all that has no content
        self._codes: dict[str, int] = {}
        self._operators: list[Any] = []
        self._results: dict[str, int] = {}
        self.values = self._tensor("values", (1, nr_inputs), dtype)

    def constant(self, values: npt.ArrayLike, dtype: str) -> int:
        """Add an array and return its number."""
        array = np.ascontiguousarray(values, dtype)
        self._buffers.append(self._schema.BufferT())
        self._buffers[-1].data = array.reshape(-1).view(np.uint8)
        number = self._tensor(f"constant_{len(self._buffers)}", array.shape, dtype)
        self._tensors[number].buffer = len(self._buffers) - 1
        return number

    def operator(
        self, kind: str, given: list[int], shape: tuple[int, ...], dtype: str, options: Any = None
    ) -> int:
        """Add an operator and return the number of what it makes.

        Args:
            kind: As LiteRT's BuiltinOperator names it.
            given: What it takes.
            shape: Of what it makes, of one row.
            dtype: Of the same.
            options: What else it is told: an object of the schema, which `set` makes.
        """
        made = self._tensor(f"{kind.lower()}_{len(self._operators)}", shape, dtype)
        one = self._schema.OperatorT()
        one.opcodeIndex = self._codes.setdefault(kind, len(self._codes))
        one.inputs, one.outputs = given, [made]
        if options is not None:
            one.builtinOptions = options
            name = type(options).__name__.removesuffix("T")
            one.builtinOptionsType = getattr(self._schema.BuiltinOptions, name)
        self._operators.append(one)
        return made

    def set(self, kind: str, **values: Any) -> Any:
        """Make an operator's options."""
        made = getattr(self._schema, f"{kind}OptionsT")()
        for name, value in values.items():
            setattr(made, name, value)
        return made

    def shape_of(self, number: int) -> tuple[int, ...]:
        """The shape of an array, of one row."""
        return tuple(self._tensors[number].shape)

    def dtype_of(self, number: int) -> str:
        """The type of an array's numbers."""
        kinds = {getattr(self._schema.TensorType, kind): name for name, kind in _DTYPES.items()}
        return kinds[self._tensors[number].type]

    def cast(self, of: int, dtype: str) -> int:
        """Numbers of another type."""
        return self.operator("CAST", [of], self.shape_of(of), dtype)

    def reshaped(self, of: int, *shape: int) -> int:
        """The same of another shape, of one row; there may be any number of rows."""
        to = self.constant([-1, *shape[1:]], "int32")
        options = self.set("Reshape", newShape=[-1, *shape[1:]])
        return self.operator("RESHAPE", [of, to], shape, self.dtype_of(of), options)

    def binary(self, kind: str, first: int, second: int, dtype: str | None = None) -> int:
        """One of two, number by number: ADD, MUL, MINIMUM, MAXIMUM, GREATER, GREATER_EQUAL, ..."""
        shape = np.broadcast_shapes(self.shape_of(first), self.shape_of(second))
        options = {"ADD": "Add", "MUL": "Mul"}.get(kind)
        made = self.set(options) if options else None
        return self.operator(kind, [first, second], shape, dtype or self.dtype_of(first), made)

    def sum(self, of: int, axis: int, *, keep: bool = False) -> int:
        """The sum over an axis."""
        shape = list(self.shape_of(of))
        shape[axis : axis + 1] = [1] if keep else []
        given = [of, self.constant([axis], "int32")]
        options = self.set("Reducer", keepDims=keep)
        return self.operator("SUM", given, tuple(shape), self.dtype_of(of), options)

    def looked_up(self, table: int, at: int) -> int:
        """The numbers of a constant at places."""
        options = self.set("Gather", axis=0, batchDims=0)
        return self.operator("GATHER", [table, at], self.shape_of(at), self.dtype_of(table), options)

    def column(self, of: int, number: int) -> int:
        """A column of [rows, columns], as [rows, 1]."""
        bounds = [self.constant(one, "int32") for one in ([0, number], [0, number + 1], [1, 1])]
        options = self.set("StridedSlice", beginMask=1, endMask=1)
        return self.operator("STRIDED_SLICE", [of, *bounds], (1, 1), self.dtype_of(of), options)

    def result(self, name: str, of: int) -> None:
        """Name a result."""
        self._tensors[of].name = name
        self._results[name] = of

    def file(self, description: str) -> bytes:
        """Return the file."""
        import flatbuffers

        schema = self._schema
        graph = schema.SubGraphT()
        graph.name = "decision"
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = [self.values], list(self._results.values())
        model = schema.ModelT()
        model.version, model.description = 3, description
        model.subgraphs, model.buffers = [graph], [_aligned(schema, one) for one in self._buffers]
        model.operatorCodes = [self._code(kind) for kind in self._codes]
        model.signatureDefs = [self._signature()]
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _tensor(self, name: str, shape: tuple[int, ...], dtype: str) -> int:
        made = self._schema.TensorT()
        made.name, made.shape, made.buffer = name, list(shape), 0
        if not name.startswith("constant_"):
            made.shapeSignature = [-1, *shape[1:]]
        made.type = getattr(self._schema.TensorType, _DTYPES[dtype])
        self._tensors.append(made)
        return len(self._tensors) - 1

    def _code(self, kind: str) -> Any:
        made = self._schema.OperatorCodeT()
        made.builtinCode = getattr(self._schema.BuiltinOperator, kind)
        made.deprecatedBuiltinCode = min(made.builtinCode, 127)  # where older readers look
        made.version = _VERSIONS.get(kind, 1)
        return made

    def _signature(self) -> Any:
        made = self._schema.SignatureDefT()
        made.signatureKey, made.subgraphIndex = "serving_default", 0
        made.inputs = [self._named("values", self.values)]
        made.outputs = [self._named(name, number) for name, number in self._results.items()]
        return made

    def _named(self, name: str, number: int) -> Any:
        made = self._schema.TensorMapT()
        made.name, made.tensorIndex = name, number
        return made


def _aligned(schema: Any, buffer: Any) -> Any:
    """A buffer that writes its content where the schema wants it."""

    def pack(builder: Any) -> Any:
        if buffer.data is not None:
            size = len(buffer.data)
            builder.StartVector(1, size, _ALIGNED)
            builder.head = int(builder.head) - size
            builder.Bytes[builder.head : builder.head + size] = buffer.data.tobytes()
            content = builder.EndVector()
        schema.BufferStart(builder)
        if buffer.data is not None:
            schema.BufferAddData(builder, content)
        return schema.BufferEnd(builder)

    made = schema.BufferT()
    made.Pack = pack
    return made
