import json

import pytest

from bench import decoding
from bench.costly import flat, with_scans


def test_each_image_in_its_own_process(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"photo": flat("RGB", "JPEG", (64, 48)), "scans": with_scans(200, (64, 48)), "nothing": b""}
    monkeypatch.setattr(decoding, "images", lambda: small)
    assert decoding.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["code"] for each in found] == ["ok", "too_costly", "not_an_image"]
    assert all(each["seconds"] > 0 for each in found)
    assert decoding.main(["--exact"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(small)
