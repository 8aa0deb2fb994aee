"""The structs of `csrc/cuda/problems.h` as ctypes, field by field; a test holds their sizes to the compiled ones."""

from __future__ import annotations

import ctypes

MOST_PROBLEMS = 8  # of one launch (kMostProblems)

_Pointer = ctypes.c_void_p
_Int = ctypes.c_int


def _ints(*names: str) -> list[tuple[str, type]]:
    return [(name, _Int) for name in names]


def _pointers(*names: str) -> list[tuple[str, type]]:
    return [(name, _Pointer) for name in names]


_SIZES = _ints("in_height", "in_width", "height", "width", "channels", "outputs")


class Sources(ctypes.Structure):
    _fields_ = _pointers("down", "keep", "up")


class Separable(ctypes.Structure):
    _fields_ = [*_pointers("x", "depthwise", "weight", "bias", "gate", "out"), *_SIZES, *_ints("relu", "accumulate")]


class Pointwise(ctypes.Structure):
    _fields_ = [*_pointers("x", "weight", "bias", "gate", "out"), *_SIZES, *_ints("stride", "slot")]


class GateSums(ctypes.Structure):
    _fields_ = [
        *_pointers("x", "weight", "bias"),
        ("sources", Sources),
        *_pointers("mode", "sums"),
        *_SIZES,
        *_ints("rows", "tiles_per_row"),
        ("step_down", ctypes.c_float),
        ("step_across", ctypes.c_float),
    ]


class Decide(ctypes.Structure):
    _fields_ = [
        *_pointers("sums", "weight", "bias"),
        ("sources", Sources),
        *_pointers("mode", "route", "gate"),
        *_ints("rows", "inputs", "pixels", "paths"),
    ]


class Assemble(ctypes.Structure):
    _fields_ = [
        *_pointers("map", "down", "up"),
        ("sources", Sources),
        *_ints("height", "width", "channels", "padding"),
    ]


class Logits(ctypes.Structure):
    _fields_ = [
        *_pointers("x", "weight", "bias", "out"),
        *_ints("height", "width", "channels", "outputs", "classes", "padding"),
    ]


class Stem(ctypes.Structure):
    _fields_ = [
        *_pointers("x", "weight", "bias", "mean", "out"),
        *_ints("in_height", "in_width", "height", "width", "outputs", "bytes"),
    ]


class Labels(ctypes.Structure):
    _fields_ = [
        *_pointers("logits", "labels"),
        *_ints("height", "width", "classes", "out_height", "out_width", "padding"),
    ]


PROBLEMS: dict[str, type[ctypes.Structure]] = {
    "separable": Separable,
    "separable_halving": Separable,
    "pointwise": Pointwise,
    "gate_sums": GateSums,
    "decide": Decide,
    "assemble": Assemble,
    "logits": Logits,
    "stem": Stem,
    "labels": Labels,
}
