import hashlib
import subprocess
from pathlib import Path

from handler.contents import contents_sha256, file_digests


def _fill(directory: Path) -> None:
    (directory / "handler").mkdir(parents=True)
    (directory / "thresholds.json").write_text("0.5")
    (directory / "handler" / "adapter.py").write_text("pass")


def test_it_is_what_sha256sum_gives(tmp_path: Path) -> None:
    _fill(tmp_path)
    printed = subprocess.run(
        ["sha256sum", "handler/adapter.py", "thresholds.json"], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    assert contents_sha256(file_digests(tmp_path)) == hashlib.sha256(printed).hexdigest()


def test_manifest_and_byte_code_do_not_count_and_all_else_does(tmp_path: Path) -> None:
    _fill(tmp_path)
    before = contents_sha256(file_digests(tmp_path))
    for name in ("MAR-INF", "__pycache__", "handler/__pycache__"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    assert contents_sha256(file_digests(tmp_path)) == before
    (tmp_path / "handler" / "more.py").write_text("")
    more = contents_sha256(file_digests(tmp_path))
    assert more != before
    (tmp_path / "handler" / "more.py").rename(tmp_path / "handler" / "less.py")
    assert contents_sha256(file_digests(tmp_path)) not in (before, more)
