import numpy as np
import pytest
import torch
from samples import TINY

from handler.model import Model
from handler.network import create_network

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).random((2, 3, 160, 160), dtype=np.float32)


def test_scores_are_a_sigmoid_for_each_class() -> None:
    network = create_network(TINY, 3, {}, "here").eval()
    scores = Model(network, CPU).scores(IMAGES)
    with torch.inference_mode():
        expected = torch.sigmoid(network(torch.from_numpy(IMAGES))).numpy()
    assert scores.shape == (2, 3)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:224: std::bad_alloc"),
    ],
)
def test_a_lack_of_memory_is_python_s_own_error(error: Exception) -> None:
    class Full(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise error

    model = Model(Full(), CPU)
    with pytest.raises(MemoryError):
        model.scores(IMAGES)
    model.free_memory()


def test_torch_really_says_so_when_a_cpu_has_too_little() -> None:
    class Greedy(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.empty(2**46)

    with pytest.raises(MemoryError):
        Model(Greedy(), CPU).scores(IMAGES)
