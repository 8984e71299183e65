"""NumPy's arrays and numbers in a checkpoint, and such as a hostile file would have."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scripts.archive.arrays import Array, DType, read_number
from scripts.archive.unpickling import plain, unpickle


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float16).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        np.array([True, False]),
        np.array(["tabby", "löwe"]),
        np.array([b"ab", b"c"]),
        np.array(["tabby", None, 3], dtype=object),
        np.array(2.5),
        np.float32(0.25),
        np.int64(-7),
        np.bool_(True),
        np.str_("tabby"),
    ],
)
def test_what_numpy_saved_is_read_to_the_bit(tmp_path: Path, value: Any) -> None:
    torch.save({"weights": torch.ones(1), "value": value}, tmp_path / "a.pt")
    content, unread = unpickle(tmp_path / "a.pt")
    assert plain(content)["value"] == value.tolist()
    assert unread == []


class Forged:
    """Pickles itself as a call with a state."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize(
    "forged",
    [
        Forged(np.ndarray, ((1,), "O", bytes(8))),
        Forged(np.ndarray, ((1,), np.dtype("O")), (1, (1,), np.dtype("O"), False, b"\x01" * 8)),
        Forged(np.dtype, ("O", False, True), (3, "|", None, None, None, -1, -1, 0)),
    ],
)
def test_bytes_never_become_pointers(tmp_path: Path, forged: Forged) -> None:
    torch.save({"weights": torch.ones(1), "class_names": forged}, tmp_path / "a.pt", pickle_module=pickle)
    content, _ = unpickle(tmp_path / "a.pt")
    assert type(content["class_names"]) in (Array, DType)
    if isinstance(content["class_names"], Array):
        assert plain(content)["class_names"] is None


@pytest.mark.parametrize(
    "state",
    [
        None,
        (),
        (1, (2,), DType("f4"), False, b"1234"),
        (1, (-1,), DType("f4"), False, b""),
        (1, ("x",), DType("f4"), False, b""),
        (1, (1,), DType("V8"), False, bytes(8)),
        (1, (2, 2), DType("O8"), False, [1, 2]),
        (1, (9,), DType("U0"), False, b""),
    ],
)
def test_a_state_that_is_wrong_is_nothing(state: Any) -> None:
    array = Array()
    array.__setstate__(state)
    assert array.value is None


def test_a_number_that_is_wrong_is_nothing() -> None:
    assert read_number(DType("O8"), bytes(8)) is None
    assert read_number("f4", bytes(4)) is None
    assert read_number(DType("f4"), bytes(3)) is None
