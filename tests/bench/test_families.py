import pytest

from bench import families


@pytest.mark.slow
def test_families_are_packaged_and_score_as_plain_timm(capsys: pytest.CaptureFixture[str]) -> None:
    code = families.main(["mobilenetv3_small_050", "repvgg_a0", "vit_tiny_patch16_224"])
    table = capsys.readouterr().out
    print(table)
    assert code == 0
    assert len(table.splitlines()) == 2 + 3
