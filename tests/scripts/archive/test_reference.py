from pathlib import Path
from typing import Any

import albumentations as A
import pytest
import torch
from albumentations.pytorch import ToTensorV2
from samples import noise

from handler.errors import LoadError
from handler.preprocess import make_pipeline
from scripts.archive.reference import read_reference
from scripts.build_archive import main

CODE = """
import albumentations as A
from albumentations.pytorch import ToTensorV2
from torchvision import transforms

class Mine(A.ImageOnlyTransform):
    def apply(self, img, **params):
        return img

def steps(*more):
    return A.Compose([A.Resize(24, 32), *more, A.Normalize(), ToTensorV2()])

valid_transform = steps()
def make(): return steps()
class Data:
    valid = steps()
mine = steps(Mine(p=1))
def same(image, **_): return image
code = steps(A.Lambda(image=same, p=1))
other = transforms.Compose([])
number = 3
def fails(): raise OSError("no data here")
"""


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A module in the working directory, of a name that no test before has imported."""
    name = f"training_{abs(hash(request.node.name))}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "data.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return f"{name}.data"


@pytest.mark.parametrize("name", ["valid_transform", "make", "Data.valid"])
def test_same_tensor_as_trainings_own_pipeline(training: str, name: str) -> None:
    pipeline = make_pipeline(read_reference(f"{training}:{name}"), "here")
    expected: Any = A.Compose([A.Resize(24, 32), A.Normalize(), ToTensorV2()])(image=noise())["image"]
    assert torch.equal(pipeline(noise()), expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine", "Mine: not a transform of albumentations, which the server alone has"),
        ("code", "can't be written as data"),
        ("other", "a torchvision.*Compose, expected an albumentations pipeline"),
        ("number", "a builtins.int, expected an albumentations pipeline"),
        ("fails", "can't be imported: OSError: no data here"),
        ("absent", "can't be imported: AttributeError"),
    ],
)
def test_what_can_not_be_served_is_refused(training: str, name: str, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        read_reference(f"{training}:{name}")


@pytest.mark.parametrize("reference", ["valid", "a:b:c", "../a:b", "a:b()", ""])
def test_what_is_no_reference(reference: str) -> None:
    with pytest.raises(LoadError, match=r"expected package\.module:name"):
        read_reference(reference)


def test_the_archive_holds_data(
    training: str, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its shape is another than the network takes, so that the build stops there, having read the pipeline."""
    flags = ["--checkpoint", str(tiny_checkpoint), "--name", "tiny", "--output", str(tmp_path / "tiny.mar")]
    assert main([*flags, "--pipeline", f"{training}:valid_transform"]) == 1
    assert f"error: {training}:valid_transform: transform: gives (3, 24, 32)" in capsys.readouterr().err
    assert main([*flags, "--pipeline", f"{training}:make", "--resize", "area"]) == 1
    assert "expected none beside a pipeline" in capsys.readouterr().err
