"""bench/stages.py measures the real server."""

from samples import PHOTOS

from bench.stages import profile, table
from scripts.server.torchserve import TorchServe


def test_stages_add_up_to_what_the_client_waited(server: TorchServe) -> None:
    photo = PHOTOS / "chelsea.png"
    stages = profile(server, f"{server.inference}/predictions/cat-breeds", photo, 20)
    assert list(stages)[-4:] == ["decode", "preprocess", "inference", "postprocess"]
    assert all(seconds > 0 for seconds in stages.values()), stages
    lines = table(photo.name, stages).splitlines()
    assert len(lines) == 2 + len(stages)
    assert "100.0%" in lines[-1]
