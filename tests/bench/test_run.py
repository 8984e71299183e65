"""The benchmark itself, short: that one contestant of each family starts, answers rightly, and is measured."""

import argparse
import itertools
import json
import shutil
import sys
from pathlib import Path

import pytest
from samples import PHOTOS, first_free_port

from bench import run
from bench.python_servers import Place, python_servers
from handler.errors import LoadError
from scripts.paths import BUILD

PEERS = ("FastAPI + timm", "LitServe", "mosec", "BentoML", "Ray Serve")
ENVIRONMENT = BUILD / f"peers{Path(sys.prefix).name}"  # as the Makefile names it


@pytest.mark.slow
@pytest.mark.skipif(not ENVIRONMENT.exists(), reason=f"{ENVIRONMENT} is missing: make peers")
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not on the PATH")
def test_one_short_round(
    demo_mar: Path, demo_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--rounds", "1", "--seconds", "2", "--warm-up", "1", "--output", str(tmp_path)]
    options += ["--archive", str(demo_mar), "--int8", str(demo_mar), "--checkpoint", str(demo_checkpoint)]
    options += [
        "--photo",
        str(PHOTOS / "chelsea.png"),
        "--port",
        str(first_free_port(200)),
        "--peers",
        str(ENVIRONMENT),
    ]
    options += ["--sizes", "300x225", "500x375"]  # answered many times, however busy the machine is
    options += ["--only", "as packaged", "int8", "image_classifier, batch 1", *(f"{peer}, 1 " for peer in PEERS)]
    assert run.main(options) == 0, capsys.readouterr()
    result = json.loads((tmp_path / "bench.json").read_text())
    assert len(result["rounds"]) == 2 * (len(result["families"]) + len(result["ceilings"]))
    assert len(result["families"]) == 3 + len(PEERS)
    assert result["machine"]["versions"].keys() >= {"litserve", "mosec", "bentoml", "ray"}
    assert "ratio of medians" in capsys.readouterr().out


def test_without_wrk_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert run.main(["--photo", str(PHOTOS / "chelsea.png"), "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: wrk: not found, expected it on the PATH (Debian: apt-get install wrk)\n"


def test_without_the_peers_environment_it_says_how_to_make_it(tmp_path: Path) -> None:
    place = Place(2, tmp_path / "best_model.pt", tmp_path, tmp_path / "bin" / "python")
    with pytest.raises(LoadError, match="make peers"):
        python_servers(place, iter([1]))


def test_the_archive_as_packaged_must_be_among_the_chosen() -> None:
    options = argparse.Namespace(only=["mosec"], sizes=["1x1", "2x2"])
    with pytest.raises(LoadError, match="as packaged"):
        run.check_choice(options)


def test_each_peer_has_two_settings_that_use_all_cores(tmp_path: Path) -> None:
    peers = python_servers(Place(4, tmp_path / "best_model.pt", tmp_path, Path(sys.executable)), itertools.count(1000))
    settings = [peer.name.split(", ")[1] for peer in peers]
    assert settings == ["1 x 4 threads", "4 x 1 threads"] * len(PEERS)
    assert [peer.family for peer in peers[::2]] == list(PEERS)
    assert len({peer.url for peer in peers}) == 2 * len(PEERS)
