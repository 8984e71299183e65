"""What the Makefile does to a user's files."""

import shutil
import subprocess
from pathlib import Path

from scripts.paths import ROOT


def test_clean_removes_what_make_built_and_no_other_archive(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    kept = ["model_store/my-model.mar", "model_store/README.md", "handler/adapter.py"]
    built = ["model_store/cat-breeds.mar", "build/tuned/cat-breeds.mar", "logs/torchserve.log", ".mypy_cache/x"]
    for name in (*kept, *built):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"Makefile", *kept}
    # The demo is what DEMO names, whatever ARCHIVE is served.
    subprocess.run(["make", "clean", "ARCHIVE=model_store/my-model.mar"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "model_store" / "my-model.mar").exists()
