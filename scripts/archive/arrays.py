"""Reads the NumPy arrays, numbers and dtypes in a pickle without NumPy's own makers: a file can have those take its
bytes for pointers. Only kinds without pointers are read from bytes.

The form is that of numpy/core/src/multiarray (array_reduce, array_setstate, arraydescr_reduce), which is the same in
NumPy 1 and 2.
"""

import math
import re
from typing import Any

import numpy as np

READ = re.compile(r"[?biufSU]\d+")  # kinds whose items are their bytes, and their size
LARGEST = 1 << 24  # bytes of an array: settings are small


class DType:
    """Stands for a numpy.dtype."""

    def __init__(self, text: Any = "", *_: Any) -> None:
        self.text = text if isinstance(text, str) else ""
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "=", "|"):
            self.order = state[1]

    def read(self, data: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any] | None:
        """The array of these bytes, or None where they are of another kind or number."""
        data = data.encode("latin1") if isinstance(data, str) else data
        if not (READ.fullmatch(self.text) and isinstance(data, bytes) and len(data) <= LARGEST):
            return None
        dtype = np.dtype(self.order + self.text)
        if dtype.itemsize == 0 or len(data) != dtype.itemsize * math.prod(shape):
            return None
        return np.frombuffer(data, dtype).reshape(shape)


class Array:
    """Stands for a numpy.ndarray, as numpy's `_reconstruct` begins it and its state fills it."""

    def __init__(self, *_: Any) -> None:
        self.value: Any = None  # lists and numbers, or None for what is not read

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            return
        _, shape, dtype, fortran, data = state
        if not (isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)):
            return
        if isinstance(data, list):  # of objects
            self.value = data if shape == (len(data),) else None
        elif isinstance(dtype, DType):
            read = dtype.read(data, shape[::-1] if fortran else shape)
            self.value = None if read is None else (read.T if fortran else read).tolist()


def read_number(dtype: Any, data: Any = b"", *_: Any) -> Any:
    """A NumPy number as Python's own, or None for what is not read."""
    read = dtype.read(data, ()) if isinstance(dtype, DType) else None
    return None if read is None else read.item()


# By the names that pickles have for them: NumPy 1's and 2's.
STAND_INS: list[tuple[Any, str]] = [
    (Array, "numpy.ndarray"),
    (DType, "numpy.dtype"),
    *((Array, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((read_number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
