# Two commands: `make run` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# How many processes share the tests. They mostly wait, so that more than one for each core is right.
WORKERS ?= 3
BENCH_ARGS ?=
# Of the simulation: one history to read, or many to go through.
SEED ?= 0
BREAK ?=
FIRST ?= 0
COUNT ?= 1000000
JOBS ?= $(shell nproc)

.PHONY: run test chaos lint format simulate soak bench alerts picture requirements sbom sbom-image pin-images clean

run: $(VENV)/run.stamp
	$(BIN)/hiper serve

test: $(VENV)/dev.stamp lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --cov --cov-report=term $(PYTEST_ARGS)

chaos: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m chaos $(PYTEST_ARGS)
	UNFRIENDLY=long $(BIN)/python -m pytest tests/e2e/test_unfriendly_load.py --timeout 900 $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

simulate: $(VENV)/dev.stamp
	$(BIN)/python -m tests.simulation $(SEED) $(if $(BREAK),--break "$(BREAK)")

soak: $(VENV)/dev.stamp
	$(BIN)/python -m tests.simulation $(FIRST) $(COUNT) --jobs $(JOBS)

bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

# Causes each alert for real; needs a Docker engine and prometheus.
alerts: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -q -s tests/e2e/try_alerts.py

# Draws docs/dashboard.png of a real run; needs the same.
picture: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -q -s tests/e2e/picture.py

requirements: $(VENV)/dev.stamp
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--no-annotate --extra build pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--no-annotate --extra build --extra dev pyproject.toml -o requirements/dev.txt

# What the wheel brings, in CycloneDX: the project and every package that it is installed with.
sbom: $(VENV)/dev.stamp
	mkdir -p dist
	$(BIN)/cyclonedx-py requirements requirements/run.txt --pyproject pyproject.toml --output-reproducible \
		--of JSON -o dist/hiper.cdx.json

# The same of a built image: its Python and its Debian packages too. make sbom-image IMAGE=hiper:0.1.0
sbom-image: sbom
	$(BIN)/python -m scripts.sbom_image $(or $(IMAGE),$(error which image? make sbom-image IMAGE=hiper:0.1.0)) \
		dist/hiper.cdx.json dist/hiper-image.cdx.json

# Asks the registries which digests the tags of deploy/images/bases.txt have now, and writes them wherever the images are named.
pin-images: $(VENV)/dev.stamp
	$(BIN)/python -m scripts.pin_images

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The project itself is installed in place, without an isolated build: its build tool is pinned with the rest.
$(VENV)/run.stamp: $(VENV)/bin/python requirements/run.txt pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev.stamp: $(VENV)/bin/python requirements/dev.txt pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@ $(VENV)/run.stamp
