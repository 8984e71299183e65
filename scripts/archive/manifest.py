"""The manifest that torch-model-archiver puts into an archive."""

import json
import zipfile
from pathlib import Path

from handler.errors import LoadError

MANIFEST = "MAR-INF/MANIFEST.json"


def read_manifest(archive: Path) -> dict[str, str]:
    """Returns the model's name and version. Raises LoadError if the file is no archive."""
    try:
        with zipfile.ZipFile(archive) as mar:
            model = json.loads(mar.read(MANIFEST))["model"]
        return {"name": str(model["modelName"]), "version": str(model["modelVersion"])}
    except FileNotFoundError:
        raise LoadError(archive, "missing, expected a .mar (scripts/build_archive.py makes one)") from None
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
        raise LoadError(archive, "not an archive that torch-model-archiver made") from None
