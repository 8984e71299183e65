"""Prepared images → scores [N, C] float32, by a network on a device."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from handler.calibration import Calibration
from handler.engines import Logits

# torch's CPU allocator raises a bare RuntimeError (c10/core/impl/alloc_cpu.cpp), as a frozen network does on a GPU, and
# OpenVINO where C++ can't allocate.
OUT_OF_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "CUDA out of memory", "std::bad_alloc")


class Model:
    """A network as an engine runs it."""

    def __init__(self, logits: Logits, device: torch.device, calibration: Calibration | None = None) -> None:
        self.logits = logits
        self.device = device
        self.calibration = None
        if calibration is not None and calibration.changes:
            pair = np.stack([calibration.scale, calibration.shift]).astype(np.float32)
            self.calibration = torch.from_numpy(pair).to(device)

    @torch.inference_mode()
    def scores(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Prepared images [N, ...] → [N, C] float32 in 0 to 1. Raises MemoryError where the device has too little."""
        try:
            images = torch.from_numpy(batch)
            if self.device.type == "cuda":
                images = images.pin_memory().to(self.device, non_blocking=True)
            return self._score(self.logits(images)).cpu().numpy()
        except torch.cuda.OutOfMemoryError as error:
            raise MemoryError(str(error)) from None
        except RuntimeError as error:
            if any(text in str(error) for text in OUT_OF_MEMORY):
                raise MemoryError(str(error)) from None
            raise

    def _score(self, logits: torch.Tensor) -> torch.Tensor:
        """Independent probabilities: a sigmoid for each class."""
        if self.calibration is not None:
            logits = logits * self.calibration[0] + self.calibration[1]
        return torch.sigmoid(logits)

    def free_memory(self) -> None:
        """Gives back what torch keeps on a GPU for later: in pieces that may be too small now."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
