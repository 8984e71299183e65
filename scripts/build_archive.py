#!/usr/bin/env python3
"""Packages a checkpoint as a .mar for TorchServe. docs/packaging.md has the recipe's keys."""

import argparse
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from handler.contents import sha256
from handler.errors import LoadError
from scripts.archive.ingredients import gather
from scripts.archive.mar import archiver_command, check_target, pack, read_date
from scripts.archive.recipe import Recipe, read_recipe
from scripts.archive.stage import write_stage
from scripts.paths import BUILT


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 when the archive is written, 1 when it can't be."""
    flags = vars(_parser().parse_args(arguments))
    recipe_path, output, stage, force = (flags.pop(name) for name in ("recipe", "output", "stage", "force"))
    try:
        recipe = read_recipe(recipe_path, flags)
        if stage is not None:
            build_stage(recipe, stage)
        else:
            build_archive(recipe, output or BUILT / f"{recipe.name}.mar", force)
    except (LoadError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def build_archive(recipe: Recipe, target: Path, force: bool = False) -> None:
    """Builds target from a recipe. If it raises LoadError, an existing file stays as it was."""
    # `pack` checks these again; here they fail before the work.
    check_target(target, force)
    read_date()
    with tempfile.TemporaryDirectory(prefix="stage-") as stage:
        _report(recipe, Path(stage))
        pack(Path(stage), recipe.name, recipe.version, target, force)
    print(f"wrote      {target}  {target.stat().st_size / 1e6:.1f} MB  sha256 {sha256(target)}")


def build_stage(recipe: Recipe, stage: Path) -> None:
    """Fills `stage`, which must be new or empty, and prints the archiver's command line for it. If it raises LoadError,
    nothing is left in it."""
    existed = stage.exists()
    if existed and (not stage.is_dir() or any(stage.iterdir())):
        raise LoadError(stage, "is not empty, expected a new or empty directory")
    stage.mkdir(parents=True, exist_ok=True)
    try:
        _report(recipe, stage)
    except BaseException:
        for path in stage.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not existed:
            stage.rmdir()
        raise
    print(shlex.join(archiver_command(stage, recipe.name, recipe.version, Path())))


def _report(recipe: Recipe, stage: Path) -> None:
    print(f"reading    {recipe.checkpoint}", flush=True)
    ingredients = gather(recipe)
    for what, note in ingredients.notes:
        print(f"{what:10} {note}")
    written = write_stage(recipe, stage, ingredients)
    classifier = written.classifier
    shape = " x ".join(str(side) for side in classifier.input_shape)
    print(f"model      {recipe.name} {recipe.version}: {classifier.settings.architecture}, input {shape}")
    print(
        f"labels     {len(classifier.labels)}: {', '.join(classifier.labels[:6])}{', …' * (len(classifier.labels) > 6)}"
    )
    low, high = classifier.thresholds.min(), classifier.thresholds.max()
    print(f"thresholds {low:g}" + ("" if low == high else f" to {high:g}"))
    print(f"calibrated {'yes' if classifier.calibration.changes else 'no'}")
    print(f"decode     {classifier.settings.decode}")
    print(f"engine     {classifier.engine}" + (f", as {written.unconverted}" if written.unconverted else ""))
    print(f"weights    sha256 {classifier.weights_sha256}", flush=True)


def _thresholds(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--recipe", type=Path, metavar="YAML", help="a file with any of the keys below; flags win over it")
    add("--checkpoint", metavar="FILE", help="what a trainer saved, or a folder of the Hugging Face hub")
    add(
        "--state-dict-key",
        metavar="KEY",
        help="the checkpoint's entry with the weights, and a prefix of their names (default: what fits)",
    )
    add("--name", help="the model's name in URLs")
    add("--version", help="the model's version (default: 1.0)")
    add("--architecture", help="a timm model name (default: the checkpoint's)")
    add("--labels", metavar="FILE", help=".txt, .json or .csv (default: the checkpoint's)")
    add("--thresholds", type=_thresholds, metavar="NUMBER|FILE", help="default: the checkpoint's, else 0.5")
    add("--calibration", metavar="FILE", help="from scripts/calibrate.py: calibration and thresholds")
    add("--card", metavar="FILE", help="from scripts/evaluate.py: the model's quality, which the server shows")
    add("--preprocessing", metavar="FILE|timm|torchvision", help="an albumentations pipeline (default: timm's)")
    add("--pipeline", metavar="MODULE:NAME", help="the same, from training's own code, which is imported here alone")
    add("--resize", choices=("pillow", "area"), help="of timm's transform (default: pillow, as timm does it)")
    add("--golden", nargs="+", metavar="IMAGE", help="photos that the server classifies before it serves")
    add("--licence", help="shown by the server")
    add("--notes", help="shown by the server: anything that users should know")
    add("--output", type=Path, metavar="MAR", help="default: model_store/NAME.mar")
    add("--stage", type=Path, metavar="DIR", help="write only the files, to run torch-model-archiver yourself")
    add("--force", action="store_true", help="overwrite an existing archive")
    return parser


if __name__ == "__main__":
    sys.exit(main())
