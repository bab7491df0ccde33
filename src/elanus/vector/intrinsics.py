"""What several modules of kernels say to the compiler that numba has no words for."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _typed_pointer(_typing: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(address), generate


pointer: Any = intrinsic(_typed_pointer)
"""An integer as an address that `carray` takes."""


def _typed_fetch(_typing: Any, vectors: Any, row: Any, byte: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(vectors)(context, builder, arguments[0])
        word, byte_pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        begin = builder.mul(arguments[1], builder.extract_value(array.strides, 0))
        at = builder.add(builder.ptrtoint(array.data, begin.type), builder.add(begin, arguments[2]))
        called = ir.FunctionType(ir.VoidType(), [byte_pointer, word, word, word])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [byte_pointer], called)
        for_reading, keep_everywhere, data = word(0), word(3), word(1)
        builder.call(fetch, [builder.inttoptr(at, byte_pointer), for_reading, keep_everywhere, data])
        return context.get_dummy_value()

    return types.void(vectors, types.int64, types.int64), generate


fetch: Any = intrinsic(_typed_fetch)
"""(vectors, row, byte): begin to bring the cache line with that byte of a row from memory, and go on meanwhile."""


def _typed_add_product(_typing: Any, total: Any, factor: Any, code: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        widen = builder.sext if code.signed else builder.zext
        return builder.add(arguments[0], builder.mul(builder.sext(arguments[1], word), widen(arguments[2], word)))

    return types.int32(types.int32, types.int16, code), generate


add_product: Any = intrinsic(_typed_add_product)
"""total + factor · code in 32 bits, of a factor of 16 and a code of 8, signed or not. Processors have instructions for
that, which the 64 bits that numba computes in would not use."""
