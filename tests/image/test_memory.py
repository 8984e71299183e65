"""Containers of little memory. tests/image/test_robustness.py sends one of 2 GB the largest bodies that it takes."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from containers import HARDENED, Container, mounted
from PIL import Image
from samples import CHELSEA

PORT = ("--publish", "127.0.0.1::8080")


def _limited(image: str, store: Path, memory: str) -> Container:
    return Container(
        image, *HARDENED, *PORT, *mounted(store), "--memory", memory, "--memory-swap", memory, "--health-interval", "1s"
    )


@pytest.mark.parametrize(
    ("memory", "said"), [("1g", "bodies at once: 12 up to 512 KiB, 1 up to 8 MiB"), ("700m", None)]
)
def test_1_gb_serves_ordinary_photos_and_700_mb_says_what_would_do(
    images: dict[str, str], store: Path, memory: str, said: str | None
) -> None:
    with _limited(images["slim"], store, memory) as container:
        if said is None:
            assert container.wait() == 1
            assert "ERROR memory: 700 MiB is too little for 1 worker" in container.said()
            return
        container.wait_until("healthy")
        assert said in container.said()
        file = io.BytesIO()
        Image.open(io.BytesIO(CHELSEA)).convert("RGB").resize((4032, 3024)).save(file, "JPEG")
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(container.classify, [file.getvalue()] * 16))
        assert [answer.status_code for answer in answers] == [200] * 16
