"""Asking the processor for a row of a table before it is needed: with many in flight, rows lie in memory."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, config, types
from numba.extending import intrinsic

_BYTES = ir.IntType(8).as_pointer()
_INT = ir.IntType(32)
FOR_WRITING, KEEP, DATA = _INT(1), _INT(3), _INT(1)


def _prefetch(typing_context: Any, table: Any, index: Any, column: Any) -> Any:
    """``prefetch(table, index, column)``: load the cache line of a cell of a 2-d array of int64, to be written."""
    del typing_context

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        array = context.make_array(table)(context, builder, arguments[0])
        in_row = builder.mul(arguments[2], arguments[2].type(8))
        offset = builder.add(builder.mul(builder.extract_value(array.strides, 0), arguments[1]), in_row)
        address = builder.gep(builder.bitcast(array.data, _BYTES), [offset])
        kind = ir.FunctionType(ir.VoidType(), [_BYTES, _INT, _INT, _INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")  # type: ignore[no-untyped-call]
        builder.call(function, [address, FOR_WRITING, KEEP, DATA])
        return context.get_dummy_value()

    return types.void(table, index, column), generate


def _nothing(table: Any, index: Any, column: Any) -> None:
    """Plain Python has nothing to ask the processor for."""


prefetch: Any = _nothing if config.DISABLE_JIT else intrinsic(_prefetch)  # type: ignore[attr-defined]
