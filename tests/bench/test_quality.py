import pytest

from bench import quality


@pytest.mark.slow
def test_a_line_for_each_size_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert quality.main(["--images", "300", "200", "--labels", "2", "--rounds", "1"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line[:2] for line in lines] == [
        [command, images] for images in ("200", "300") for command in ("calibrate", "evaluate")
    ]
    assert [line[3] == "–" for line in lines] == [True, True, False, False]
    assert all(float(line[place]) > 0 for line in lines for place in (2, 4))
