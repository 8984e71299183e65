# The one list of verbs; CI and README call these.
VENV ?= .venv
# The first of these that runs, is 3.11 or 3.12 and has venv makes the environment.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
    $$p -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
PORT ?= 8080
MANAGEMENT_PORT ?= 8081
METRICS_PORT ?= 8082
GRPC_PORT ?= 7070
DEMO := model_store/cat-breeds.mar
ARCHIVE ?= $(DEMO)
PHOTO = $(wildcard $(VENV)/lib/python3.*/site-packages/skimage/data/chelsea.png)
DOCKER ?= docker
IMAGE ?= multi-label-torchserve
FLAVOUR ?= slim
SLIM := python:3.12-slim-bookworm
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
# Of the benchmark's peers whose dependencies clash with this project's.
PEERS := build/peers$(VENV)

.PHONY: help serve check-settings demo install test test-slow test-image fuzz robustness soak tune peers bench quality statistics lint format lock lock-clients lock-image image image-slim audit clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

serve: $(INSTALLED) $(ARCHIVE)  ## serve ARCHIVE in the foreground (PORT, MANAGEMENT_PORT, METRICS_PORT, GRPC_PORT)
	@exec $(BIN)/python scripts/serve.py --archive $(ARCHIVE) --photo $(PHOTO) --port $(PORT) \
		--management-port $(MANAGEMENT_PORT) --metrics-port $(METRICS_PORT) --grpc-port $(GRPC_PORT)

check-settings: $(INSTALLED) $(ARCHIVE)  ## settings that clash, across config.properties, the environment and the archives
	@$(BIN)/python scripts/check_settings.py --model-store $(dir $(ARCHIVE))

demo: $(DEMO)  ## build the demo archive

$(DEMO): scripts/build_demo.py $(wildcard handler/*.py scripts/archive/*.py) $(INSTALLED)
	$(BIN)/python scripts/build_demo.py --output $@ --force

install: $(INSTALLED)  ## make the environment in VENV from the lock

# uv, of the version and hash in the lock, installs the rest: one cache for several environments.
$(INSTALLED): requirements.lock
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 with venv found; set PYTHON" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	UV_HTTP_TIMEOUT=300 $(BIN)/uv pip install --no-config --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --no-config --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# A server takes a core to start, and its tests wait for it: so pytests run side by side. With ARGS it is one. Told to
# stop, make passes the signal on, and each pytest stops its servers.
LIVE := tests/live tests/deploy
FAULTS := tests/faults
SCRIPTS := tests/scripts
PARTS = $(MAKE) --no-print-directory --jobs 3 --output-sync=target

test: $(INSTALLED)  ## the tests of every part, those against the real server too (ARGS for pytest)
ifeq ($(ARGS),)
	@$(PARTS) test-live test-scripts test-faults test-units
else
	$(BIN)/python -m pytest $(ARGS)
endif

test-slow: $(INSTALLED)  ## what takes minutes: soak, benchmark, tuning (ARGS for pytest)
ifeq ($(ARGS),)
	@$(PARTS) slow-servers slow-units
else
	$(BIN)/python -m pytest -m slow $(ARGS)
endif

.PHONY: test-live test-scripts test-faults test-units slow-servers slow-units
test-live:
	$(BIN)/python -m pytest $(LIVE)

test-faults:
	$(BIN)/python -m pytest $(FAULTS)

test-scripts:
	$(BIN)/python -m pytest $(SCRIPTS)

test-units:
	$(BIN)/python -m pytest tests $(addprefix --ignore ,$(LIVE) $(FAULTS) $(SCRIPTS))

# SKIP: folders and files, where what they call was tested with another Python.
SKIP :=
SLOW_SERVERS = $(filter-out $(SKIP),$(LIVE) $(FAULTS) tests/bench)
slow-servers: $(if $(filter tests/bench,$(SLOW_SERVERS)),$(PEERS)/installed)
	$(BIN)/python -m pytest -m slow $(SLOW_SERVERS)

slow-units:
	$(BIN)/python -m pytest -m slow tests $(addprefix --ignore ,$(LIVE) $(FAULTS) tests/bench $(SKIP))

test-image: $(INSTALLED)  ## build both images and test them; skipped where no container engine is (ARGS for pytest)
	DOCKER=$(DOCKER) $(BIN)/python -m pytest -m image $(ARGS)

FUZZER := build/atheris$(VENV)
FUZZ_SECONDS ?= 120
fuzz: $(INSTALLED)  ## random requests, led by what they reach, for FUZZ_SECONDS; Linux on x86-64 only
	$(BIN)/uv pip install --no-config --quiet --python $(BIN)/python --target $(FUZZER) --require-hashes -r tests/fuzz/atheris.lock
	PYTHONPATH=tests:$(FUZZER) $(BIN)/python -m fuzz.run $(FUZZ_SECONDS) build/fuzz tests/fuzz/corpus

soak: $(INSTALLED) $(DEMO)  ## 20,000 requests, and what they do to the memory (ARGS for bench/soak.py)
	$(BIN)/python bench/soak.py --photo $(PHOTO) $(ARGS)

robustness: $(INSTALLED) $(DEMO)  ## attacks on the container and on `make serve`, and what they cost (DOCKER, BUILD_FLAGS, ARGS)
	! $(DOCKER) version > /dev/null 2>&1 || $(MAKE) image-slim
	DOCKER=$(DOCKER) $(BIN)/python bench/robustness.py --photo $(PHOTO) --image $(IMAGE):slim $(ARGS)

tune: $(INSTALLED) $(ARCHIVE)  ## the fastest settings for ARCHIVE on this machine, with evidence, in a copy (ARGS)
	$(BIN)/python scripts/tune.py $(ARCHIVE) --force $(ARGS)

peers: $(PEERS)/installed  ## make the environment of mosec, BentoML and Ray Serve

$(PEERS)/installed: bench/peers/requirements.lock $(INSTALLED)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(PEERS)
	UV_HTTP_TIMEOUT=300 $(BIN)/uv pip install --no-config --python $(PEERS)/bin/python --require-hashes -r $<
	@touch $@

bench: $(INSTALLED) $(DEMO) $(PEERS)/installed  ## this project beside its peers; needs wrk (ARGS for bench/run.py)
	$(BIN)/python bench/run.py --photo $(PHOTO) --peers $(PEERS) $(ARGS)

# Its parts, one by one: docs/quality.md.
QUALITY := build/quality
quality: $(INSTALLED) $(DEMO)  ## the demo's way from photos with labels to thresholds and a report
	rm -rf $(QUALITY)
	$(BIN)/python scripts/build_demo_data.py --output $(QUALITY)/data
	$(BIN)/python scripts/score.py $(DEMO) --data $(QUALITY)/data/labels.jsonl --output $(QUALITY)/scores
	$(BIN)/python scripts/calibrate.py $(QUALITY)/scores --output $(QUALITY)/calibration.json
	$(BIN)/python scripts/evaluate.py $(QUALITY)/scores --calibration $(QUALITY)/calibration.json \
		--report $(QUALITY)/report.html --card $(QUALITY)/card.json
	$(BIN)/python scripts/build_archive.py --checkpoint build/demo/best_model.pt --name cat-breeds --version 1.1 \
		--calibration $(QUALITY)/calibration.json --card $(QUALITY)/card.json --output $(QUALITY)/cat-breeds.mar

statistics: $(INSTALLED)  ## how often intervals, verdicts and promises hold, in a world whose truth is known (ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python bench/simulation.py $(ARGS)

image: export DOCKER_BUILDKIT = 1
image:  ## the image on PyTorch's own images (DOCKER, BUILD_FLAGS)
	$(DOCKER) build $(BUILD_FLAGS) --tag $(IMAGE):official .

image-slim: export DOCKER_BUILDKIT = 1
image-slim:  ## the same on python:3.12-slim, trimmed, with torch 2.6.0
	$(DOCKER) build $(BUILD_FLAGS) --build-arg BUILDER=$(SLIM) --build-arg RUNTIME=$(SLIM) --build-arg LOCK=slim \
		--tag $(IMAGE):slim .

lint: $(INSTALLED)  ## ruff (lint and format), mypy and hadolint
	$(BIN)/hadolint Dockerfile
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED)  ## rewrite to the house's format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

audit: $(INSTALLED)  ## known vulnerabilities of what an image holds (FLAVOUR), as osv.dev has them
	@mkdir -p build
	$(DOCKER) run --rm $(IMAGE):$(FLAVOUR) cat sbom.cdx.json > build/sbom.cdx.json
	$(BIN)/python image/audit.py build/sbom.cdx.json

PIN := uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock"
# The network and its preprocessing are the same on both sides.
SAME := ^(torch|torchvision|timm|pillow|numpy)==[^ ]*
X86 := --python-platform x86_64-unknown-linux-gnu --constraint requirements.lock

lock: $(INSTALLED)  ## resolve requirements.lock anew, and what the images install of it
	$(BIN)/$(PIN) pyproject.toml --all-extras --universal --python-version 3.11 --upgrade -o requirements.lock
	$(MAKE) lock-image
	echo atheris | $(BIN)/$(PIN) - $(X86) --python-version 3.11 -o tests/fuzz/atheris.lock
	{ printf '%s\n' 'mosec<1' 'bentoml<2' 'ray[serve]<3'; grep -oE '$(SAME)' requirements.lock; } | \
		$(BIN)/$(PIN) - --universal --python-version 3.11 -o bench/peers/requirements.lock
	$(MAKE) lock-clients

# Clients that pin older libraries than this project has.
lock-clients: $(INSTALLED)
	echo 'tritonclient[http]==2.73.0' | $(BIN)/$(PIN) - --universal --python-version 3.11 -o tests/clients/triton.lock
	echo 'kserve==0.21.0' | $(BIN)/$(PIN) - --universal --python-version 3.11 -o tests/clients/kserve.lock

# The official base brings torch and what torch needs; the override takes them out.
lock-image: $(INSTALLED)
	$(BIN)/$(PIN) pyproject.toml $(X86) --python-version 3.12 -o image/slim.lock
	printf '%s ; sys_platform == "none"\n' torch torchvision | \
		$(BIN)/$(PIN) pyproject.toml $(X86) --python-version 3.11 --override - -o image/official.lock
	echo cyclonedx-python-lib | $(BIN)/$(PIN) - $(X86) --python-version 3.11 -o image/sbom.lock

clean:  ## remove build/, logs/, caches and the demo; other archives and the environment stay
	rm -rf build logs $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis
