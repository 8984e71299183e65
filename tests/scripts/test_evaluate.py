"""The command: its table, its comparison, its card in an archive, and its report, in a real browser as well."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from samples import CHELSEA, TINY_LABELS
from synthetic import EAGER, LABELS, SHA, calibrated_scores, image, origin, sharpened, tiny_archive, write_scores

from handler.calibration import Calibration, parse_calibration
from handler.contents import read_metadata
from handler.errors import LoadError
from scripts import calibrate, evaluate
from scripts.archive.manifest import read_archive
from scripts.archive.recipe import Recipe
from scripts.archive.unpacking import unpacked
from scripts.build_archive import build_archive
from scripts.quality.fitted import fit_settings
from scripts.quality.fitting import calibrated
from scripts.quality.parquet import read_scores, write_part
from scripts.quality.scores import Row

SCORES, TRUTH = calibrated_scores(400)
OVERCONFIDENT = sharpened(SCORES, 2.5)
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
FEW = ["--resamples", "50"]
PICTURES = 2 * 3 + 3 + 1  # two of each label, three of all, and the photo that is there


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("evaluate")
    (directory / "0.jpg").write_bytes(CHELSEA)
    return write_scores(directory / "scores", OVERCONFIDENT, TRUTH, origin(root=str(directory)))


@pytest.fixture(scope="module")
def calibration(scores: Path) -> Path:
    path = scores.with_name("calibration.json")
    assert calibrate.main([str(scores), "--output", str(path)]) == 0
    return path


def run(output: Path, *arguments: object) -> dict[str, Any]:
    assert evaluate.main([*map(str, arguments), *FEW, "--json", str(output)]) == 0
    content: dict[str, Any] = json.loads(output.read_text())
    return content


def test_before_and_after(scores: Path, calibration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(tmp_path / "all.json", scores, "--calibration", calibration)["versions"]
    assert list(found) == ["as scored", "calibrated, out of fold"]
    before, after = (version["overall"] for version in found.values())
    assert after["calibration_error"]["value"] < before["calibration_error"]["value"]
    assert before["micro_f1"]["low"] < before["micro_f1"]["value"] < before["micro_f1"]["high"]
    said = json.loads(calibration.read_text())["provenance"]["quality"]["out of fold"]
    assert after["micro_f1"]["value"] == pytest.approx(said["micro_f1"], abs=1e-6), "the same folds"
    assert "calibration error" in capsys.readouterr().out


def test_on_new_images_the_calibration_is_taken_as_it_is(calibration: Path, tmp_path: Path) -> None:
    fresh, truth = calibrated_scores(400, seed=5)
    scores = write_scores(tmp_path / "fresh", sharpened(fresh, 2.5), truth, prefix="new")
    assert list(run(tmp_path / "a.json", scores, "--calibration", calibration)["versions"])[1] == "calibrated"


def test_scores_of_the_calibrated_archive_are_not_calibrated_twice(calibration: Path, tmp_path: Path) -> None:
    content = json.loads(calibration.read_text())
    fresh, truth = calibrated_scores(400, seed=5)
    bare = write_scores(tmp_path / "bare", sharpened(fresh, 2.5), truth, prefix="new")
    scale = content["calibration"]["ant"]["scale"]
    of = origin(calibration=content["calibration"], thresholds=content["thresholds"])
    served = write_scores(tmp_path / "served", sharpened(sharpened(fresh, 2.5), scale), truth, of, "new")
    versions = [
        run(tmp_path / "a.json", path, "--calibration", calibration)["versions"]["calibrated"]
        for path in (bare, served)
    ]
    names = ("micro_f1", "calibration_error")
    values = [[version["overall"][name]["value"] for name in names] for version in versions]
    assert values[0] == pytest.approx(values[1], abs=2e-3)


OUT_OF_FOLD = "calibrated, out of fold"


def _rows(places: Iterable[int], scores: NDArray[np.float32] = OVERCONFIDENT) -> list[Row]:
    return [
        Row(f"{place}.jpg", scores[place].tolist(), None, TRUTH[place].tolist(), image(f"{place}.jpg"))
        for place in places
    ]


def test_out_of_fold_in_any_order_and_any_number_of_files(scores: Path, calibration: Path, tmp_path: Path) -> None:
    order, split = np.random.default_rng(0).permutation(400), tmp_path / "split"
    split.mkdir()
    for number, places in enumerate(np.array_split(order, 2)):
        write_part(split / f"scores-1-of-1-{number:06}.parquet", origin(), _rows(places))
    found = [run(tmp_path / "a.json", path, "--calibration", calibration)["versions"] for path in (scores, split)]
    values = [[each["value"] for each in version[OUT_OF_FOLD]["overall"].values()] for version in found]
    assert values[0] == pytest.approx(values[1])


def test_new_images_beside_those_that_were_fitted_on(calibration: Path, tmp_path: Path) -> None:
    """Each of the old ones is decided out of fold, the new ones as they will be served."""
    fresh, truth = calibrated_scores(10, seed=5)
    grown = write_scores(tmp_path / "grown", sharpened(fresh, 2.5), truth, prefix="new")
    write_part(grown / "scores-1-of-1-000001.parquet", origin(), _rows(range(400)))
    found = run(tmp_path / "a.json", grown, "--calibration", calibration)
    assert found["of"]["images"] == 410
    assert OUT_OF_FOLD in found["versions"]


def test_images_whose_fit_can_not_be_repeated_are_not_judged(
    calibration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """300 of the 400 that were fitted on: without the rest, no fit can leave them out."""
    some = tmp_path / "some"
    some.mkdir()
    write_part(some / "scores-1-of-1-000000.parquet", origin(), _rows(range(300)))
    assert evaluate.main([str(some), "--calibration", str(calibration), *FEW]) == 1
    assert "every image was fitted on, with others that are not here" in capsys.readouterr().err
    fresh, truth = calibrated_scores(100, seed=5)
    write_scores(some, sharpened(fresh, 2.5), truth, prefix="new")
    write_part(some / "scores-1-of-1-000001.parquet", origin(), _rows(range(300)))
    found = run(tmp_path / "a.json", some, "--calibration", calibration)
    assert found["of"]["images"] == 100
    assert "calibrated" in found["versions"]
    said = "caution  300 images were fitted on, with others that are not here, and aren't judged"
    assert said in capsys.readouterr().out


@pytest.fixture
def served(calibration: Path, tmp_path: Path) -> Path:
    """The calibrated archive, on the images that it was calibrated on."""
    content = json.loads(calibration.read_text())
    of = origin(
        calibration=content["calibration"],
        thresholds=content["thresholds"],
        fit=fit_settings(content["provenance"]),
        model={"name": "cats", "version": "1.1", "sha256": SHA},
    )
    again = calibrated(OVERCONFIDENT, parse_calibration(content["calibration"], LABELS, "")).astype(np.float32)
    return write_scores(tmp_path / "served", again, TRUTH, of)


def test_an_archive_on_the_images_that_it_was_fitted_on(
    scores: Path, calibration: Path, served: Path, tmp_path: Path
) -> None:
    """It is judged out of fold, just as its calibration was: so a version isn't better than itself."""
    found = run(tmp_path / "a.json", scores, "--calibration", calibration, "--against", served)
    [version] = run(tmp_path / "b.json", served)["versions"].items()
    assert version[0] == "as scored, out of fold"
    assert version[1]["overall"]["micro_f1"] == found["versions"][OUT_OF_FOLD]["overall"]["micro_f1"]
    comparison = found["comparison"]
    assert (comparison["first"], comparison["verdict"]) == ("cats 1.1, as scored, out of fold", "not worse")
    assert comparison["differences"]["micro_f1"] == {"value": 0, "low": None, "high": None}
    assert comparison["deciding"]["high"] == pytest.approx(3.69 / 400), "what nothing in 400 images leaves possible"


def test_measures_of_rank_are_of_the_scores_as_they_are(scores: Path, tmp_path: Path) -> None:
    """Folds with scales of their own would mix the order of a label."""
    path = tmp_path / "platt.json"
    assert calibrate.main([str(scores), "--output", str(path), "--method", "platt"]) == 0
    before, after = run(tmp_path / "a.json", scores, "--calibration", path)["versions"].values()
    assert before["overall"]["map"] == after["overall"]["map"]


def test_no_verdict_where_nobody_knows_what_was_fitted_on(scores: Path, tmp_path: Path) -> None:
    of = origin(calibration=None, model={"name": "cats", "version": "0.9", "sha256": ""})
    other = write_scores(tmp_path / "other", SCORES, TRUTH, of)
    found = run(tmp_path / "a.json", scores, "--against", other)["comparison"]
    assert found["verdict"] == "none"
    assert found["text"].startswith("No verdict on cats 1.0 and cats 0.9: it is not known whether these images were")


@pytest.mark.parametrize(("margin", "verdict"), [("0.001", "can't tell"), ("0.3", "not worse")])
def test_the_margin_decides(scores: Path, tmp_path: Path, margin: str, verdict: str) -> None:
    found = run(tmp_path / "a.json", scores, "--against", _other_version(2, tmp_path), "--margin", margin)
    comparison = found["comparison"]
    assert comparison["deciding"]["low"] < 0
    assert (comparison["verdict"], comparison["margin"]) == (verdict, float(margin))


@pytest.mark.parametrize(
    ("flips", "verdict"), [(0, "is not worse than"), (200, "is worse than"), (-200, "is better than")]
)
def test_against_another_version(scores: Path, tmp_path: Path, flips: int, verdict: str) -> None:
    """The other version has more right decisions, or fewer."""
    found = run(tmp_path / "a.json", scores, "--against", _other_version(flips, tmp_path))["comparison"]
    assert verdict in found["text"]
    assert (found["first"], found["second"], found["images"]) == ("cats 0.9", "cats 1.0", 400)


def test_the_page_answers_whether_one_version_may_replace_another(scores: Path, tmp_path: Path) -> None:
    report = tmp_path / "page.html"
    found = run(tmp_path / "a.json", scores, "--against", _other_version(200, tmp_path), "--report", report)
    text = report.read_text()
    assert "May cats 1.0 replace cats 0.9?" in text
    assert found["comparison"]["text"] in text


def _other_version(flips: int, directory: Path) -> Path:
    """Scores of another version, with so many more right decisions, or fewer where it is negative."""
    changed = OVERCONFIDENT.copy()
    wrong = (OVERCONFIDENT >= 0.5) != (TRUTH == 1)
    places = np.argwhere(wrong if flips > 0 else ~wrong)[: abs(flips)]
    changed[tuple(places.T)] = 1 - changed[tuple(places.T)]
    other = origin(model={"name": "cats", "version": "0.9", "sha256": ""})
    return write_scores(directory / "other", changed, TRUTH, other)


def test_a_calibrated_version_against_another_on_some_of_the_images(
    scores: Path, calibration: Path, tmp_path: Path
) -> None:
    other = origin(model={"name": "cats", "version": "0.9", "sha256": ""})
    flags = ("--calibration", calibration, "--against")
    folds = "calibrated, out of fold"
    for images in (400, 300):
        second = write_scores(tmp_path / f"{images}", OVERCONFIDENT[:images], TRUTH[:images], other)
        found = run(tmp_path / "a.json", scores, *flags, second)
        assert found["comparison"]["second"] == f"cats 1.0, {folds}"
        assert found["comparison"]["images"] == images
        assert found["versions"][folds]["labels"]["ant"]["negatives"] == int((TRUTH[:, 0] == 0).sum()), "of all images"


@pytest.mark.parametrize("flags", [("--resamples", "0"), ("--resamples", "few"), ("--pictures", "-1")])
def test_numbers_that_make_no_sense_are_refused(
    scores: Path, flags: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        evaluate.main([str(scores), *flags])
    assert f"argument {flags[0]}: '{flags[1]}', expected a whole number from" in capsys.readouterr().err


def test_a_calibration_of_other_weights_is_refused(
    calibration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = origin(model={"name": "cats", "version": "2.0", "sha256": "9" * 64})
    scores = write_scores(tmp_path / "other", OVERCONFIDENT, TRUTH, of)
    assert evaluate.main([str(scores), "--calibration", str(calibration)]) == 1
    assert "calibration.json: model: sha256: 5555" in capsys.readouterr().err


def test_without_labels_it_stops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = write_scores(tmp_path / "scores", SCORES, np.full_like(TRUTH, -1))
    assert evaluate.main([str(scores)]) == 1
    assert "expected data with labels" in capsys.readouterr().err


def test_the_card_travels_with_the_archive(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with unpacked(tiny_archive(tiny_checkpoint)) as directory:
        sha256 = read_metadata(directory)["weights_sha256"]
    of = origin(
        labels=TINY_LABELS,
        thresholds={"ant": 0.4, "bee": 0.5, "cat": 0.6},
        calibration=Calibration.none(3).to_dict(TINY_LABELS),
        model={"name": "tiny", "version": "1.0", "sha256": sha256},
    )
    card = tmp_path / "card.json"
    run(tmp_path / "a.json", write_scores(tmp_path / "scores", SCORES, TRUTH, of), "--card", card)
    build_archive(Recipe(tiny_checkpoint, "carded", card=card, handler=EAGER), tmp_path / "carded.mar")
    with unpacked(read_archive(tmp_path / "carded.mar").path) as directory:
        kept = read_metadata(directory)["card"]
    assert kept["overall"]["micro_f1"].keys() == {"value", "low", "high"}
    assert kept["labels"]["ant"]["threshold"] == 0.4
    with pytest.raises(LoadError, match=r"'ant': measured at the threshold 0\.4, expected 0\.3 as packaged"):
        build_archive(Recipe(tiny_checkpoint, "x", card=card, thresholds=0.3), tmp_path / "x.mar")
    card.write_text("{}")
    with pytest.raises(LoadError, match=r"card\.json: expected a model card"):
        build_archive(Recipe(tiny_checkpoint, "x", card=card), tmp_path / "x.mar")


@pytest.fixture(scope="module")
def page(scores: Path, calibration: Path) -> Path:
    path = scores.with_name("page.html")
    run(scores.with_name("all.json"), scores, "--calibration", calibration, "--report", path, "--pictures", 400)
    return path


def test_the_page_holds_all_and_asks_nobody(page: Path) -> None:
    text = page.read_text()
    assert not re.findall(r"https?:|<script|src=\"(?!data:)|href=", text)
    for heading in ("Each label", "Where the thresholds stand", "The worst errors", "Do scores mean what they say?"):
        assert heading in text
    assert text.count("data:image/jpeg") == 1, "the one picture that is there"
    assert "no picture at hand" in text


def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    label, name = "<script>alert(1)</script> & $x_1$", "<b>cats</b>"
    labels = [label, *LABELS[1:]]
    of = origin(
        labels=labels,
        thresholds=dict.fromkeys(labels, 0.5),
        calibration=Calibration.none(3).to_dict(labels),
        model={"name": name, "version": "1", "sha256": ""},
    )
    scores = write_scores(tmp_path / "scores", SCORES, TRUTH, of, prefix="<i>")
    run(tmp_path / "a.json", scores, "--report", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "<script" not in text
    assert "<b>cats" not in text
    assert "<i>" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_the_same_scores_give_the_same_page(page: Path, scores: Path, calibration: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.html"
    flags = ["--calibration", calibration, "--report", again, "--pictures", 400]
    run(tmp_path / "all.json", scores, *flags)
    assert again.read_bytes() == page.read_bytes()
    assert read_scores(scores).sha256 in page.read_text()


def test_every_picture_of_the_page_is_one(page: Path) -> None:
    """Without a browser: each is an SVG or a JPEG that opens, with a text in its place."""
    pictures = re.findall(r'<img src="data:image/([a-z+]+);base64,([^"]+)" alt="[^"]+">', page.read_text())
    assert len(pictures) == PICTURES == page.read_text().count("<img")
    for kind, text in pictures:
        content = base64.b64decode(text, validate=True)
        if kind == "jpeg":
            assert len(Image.open(BytesIO(content)).convert("RGB").getcolors(1 << 24) or ()) > 50
        else:
            svg = ElementTree.fromstring(content)
            assert svg.tag == "{http://www.w3.org/2000/svg}svg"
            assert len(list(svg.iter("{http://www.w3.org/2000/svg}path"))) > 10


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it(page: Path, tmp_path: Path, width: int) -> None:
    """Nothing is wider than the window, every picture is shown, and it isn't empty."""
    shutil.copy(page, tmp_path / "page.html")
    probe = tmp_path / "probe.html"
    # A frame as narrow as a phone: headless windows have a least width.
    probe.write_text(
        f"""<iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe><script>
        onload = () => {{ const d = document.querySelector("iframe").contentDocument; document.title = JSON.stringify({{
            width: d.documentElement.scrollWidth,
            broken: [...d.images].filter((each) => !each.naturalWidth).length, images: d.images.length,
            text: d.body.innerText.length }}); }}</script>"""
    )
    browse = ["--allow-file-access-from-files", "--dump-dom", probe.as_uri()]
    found = re.search(r"<title>(.*?)</title>", _browser(browse))
    assert found
    seen = json.loads(found[1].replace("&quot;", '"'))
    assert seen["width"] <= width
    assert (seen["broken"], seen["images"]) == (0, PICTURES)
    assert seen["text"] > 1000
    _browser([f"--window-size={max(width, 500)},2000", f"--screenshot={tmp_path / 'page.png'}", page.as_uri()])
    with Image.open(tmp_path / "page.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 50


def _browser(arguments: Sequence[str]) -> str:
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
