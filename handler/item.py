"""One image on its way through the stages, and what becomes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from handler.meter import Allowance
from handler.options import Options

Content = TypeVar("Content")
Other = TypeVar("Other")


@dataclass(frozen=True)
class Item(Generic[Content]):
    """An image as the next stage takes it, with the options of its request: every stage may look at them."""

    content: Content  # encoded bytes; then pixels [H, W, 3] uint8; then what the network takes a batch of
    options: Options
    allowance: Allowance | None = None  # what the images of its request may take of a processor; None: each its own

    def map(self, stage: Callable[[Content], Other]) -> "Item[Other]":
        return Item(stage(self.content), self.options, self.allowance)


@dataclass(frozen=True)
class Outcome:
    """What the network makes of one image."""

    scores: NDArray[np.float32]  # [C], each from 0 to 1
