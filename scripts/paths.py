"""Where the project's files are. The container's /app has the same names, but for the model store."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "config.properties"
HAPROXY = ROOT / "image" / "haproxy.cfg"
LOGGING, METRICS = ROOT / "frontend" / "log4j2.xml", ROOT / "frontend" / "metrics.yaml"
# The container's, else the repository's.
MODEL_STORE = next((path for path in (ROOT / "models", ROOT / "model_store") if path.exists()), ROOT / "model_store")
BUILT = ROOT / "model_store"  # where archives are built
DEMO = BUILT / "cat-breeds.mar"
LOGS = ROOT / "logs"
STATE = ROOT / "state"  # what operators decided
BUILD = ROOT / "build"
DEMO_CHECKPOINT = BUILD / "demo" / "best_model.pt"
