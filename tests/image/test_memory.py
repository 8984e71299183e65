"""Containers of 1 and 2 GB, sent the largest bodies that they take, many at once."""

import base64
import io
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from containers import HARDENED, Container, mounted
from PIL import Image
from samples import CHELSEA, PATIENCE

PORT = ("--publish", "127.0.0.1::8080")
CLIENTS, ROUNDS = 12, 1


def _bmp(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "BMP")
    return file.getvalue()


# Of nearly 10 MiB, as large as an image may be.
PHOTO = _bmp(1900, 1800)
BODIES: dict[str, dict[str, Any]] = {
    "photo": {"data": PHOTO},
    "form": {"files": {"data": ("photo.bmp", PHOTO)}},
    "json": {
        "data": json.dumps({"image": base64.b64encode(PHOTO).decode()}),
        "headers": {"Content-Type": "application/json"},
    },
    "junk": {"data": b"x" * (16 * 2**20 - 1000)},
}


def _limited(image: str, store: Path, memory: str) -> Container:
    return Container(
        image, *HARDENED, *PORT, *mounted(store), "--memory", memory, "--memory-swap", memory, "--health-interval", "1s"
    )


def test_2_gb_answer_many_of_the_largest_bodies_at_once(images: dict[str, str], store: Path) -> None:
    with _limited(images["slim"], store, "2g") as container, ThreadPoolExecutor(CLIENTS) as pool:
        container.wait_until("healthy")
        url = f"http://127.0.0.1:{container.port()}/predictions/cat-breeds"
        workers = _workers(container)
        statuses = {}
        for kind, arguments in BODIES.items():
            asked = [pool.submit(requests.post, url, timeout=PATIENCE, **arguments) for _ in range(CLIENTS * ROUNDS)]
            statuses[kind] = Counter(each.result().status_code for each in asked)
            assert container.classify(CHELSEA).status_code == 200
        whole = {200: CLIENTS * ROUNDS}
        assert statuses == {"photo": whole, "form": whole, "json": whole, "junk": {413: CLIENTS * ROUNDS}}
        assert _workers(container) == workers, "none was killed"


def _workers(container: Container) -> list[int]:
    [(_, answer)] = container.manage(("GET", "/models/cat-breeds", {}, None))
    return [worker["pid"] for worker in json.loads(answer)[0]["workers"]]


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
