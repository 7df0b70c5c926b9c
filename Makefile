# The commands of the project; `make help` lists them.
PYTHON ?= python3.11
VENV := .venv
WORK ?= work
RUN := $(VENV)/bin/dsa110-contimg
SOURCES := dsa110_contimg dags plugins tests benchmarks

.DEFAULT_GOAL := help
.PHONY: help setup night airflow cluster test test-airflow test-programs test-quick faults faults-airflow soak bench check format \
	lock clean

help:  ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: $(VENV)/.ready  ## Make .venv with everything pinned (others call it)

$(VENV)/.ready: requirements.txt pyproject.toml .ci/setup
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh .ci/setup
	@touch $@

night: setup  ## Simulate a short night and process it through Airflow: the main job
	$(RUN) night --work-dir $(WORK)

airflow: setup  ## Keep Airflow's UI running, to look around and trigger DAGs by hand
	$(RUN) airflow --work-dir $(WORK)

cluster:  ## Start Airflow for several users and machines in containers; .env holds its secrets
	@open=$$(find . -maxdepth 1 \( -name .env -o -name settings.env \) -perm /077); \
	[ -z "$$open" ] || { echo "refused: these may hold secrets and are open to others (chmod 600):" $$open >&2; exit 1; }
	docker compose build
	docker compose up --detach --wait

test: setup  ## Run the test suite
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -m "not (alone or sweep)"
	$(VENV)/bin/python -m pytest -m "alone and not sweep"  # they look at all processes
	@$(VENV)/bin/python tests/support/programs.py  # what was not tried, and why

test-programs:  ## Install the programs that some tests need (Debian packages; as root)
	sh .ci/install-programs

test-airflow: setup  ## Backfills, dead services, several workers: the long tests with a running Airflow
	$(VENV)/bin/python -m pytest -m sweep

test-quick: setup  ## Run the tests that take seconds
	$(VENV)/bin/python -m pytest -m "not slow and not airflow"

faults: setup  ## Every fault sweep in its long form (25 minutes)
	FAULT_SWEEP=long $(VENV)/bin/python -m pytest tests/faults tests/airflow/test_imaging_faults.py

faults-airflow: setup  ## Kill every part of a running Airflow at many instants
	AIRFLOW_FAULT_SWEEP=long $(VENV)/bin/python -m pytest -s tests/airflow/test_night_faults.py

soak: setup  ## Convert 1,000 small groups in sequence and 8 at a time, some killed at random (15 minutes)
	FAULT_SWEEP=long SOAK_GROUPS=1000 $(VENV)/bin/python -m pytest tests/faults/test_soak.py

bench: setup  ## Measure conversion, photometry and calibration beside their peers (an hour)
	$(VENV)/bin/python benchmarks/conversion.py
	$(VENV)/bin/python benchmarks/photometry.py
	$(VENV)/bin/python benchmarks/calibration.py

check: setup  ## Formatting, lint, types, docstrings
	$(VENV)/bin/ruff format --check $(SOURCES)
	$(VENV)/bin/ruff check $(SOURCES)
	$(VENV)/bin/mypy
	$(VENV)/bin/numpydoc lint $$(git ls-files 'dsa110_contimg/*.py' ':!dsa110_contimg/cli')  # those are --help

format: setup  ## Put the formatting right
	$(VENV)/bin/ruff format $(SOURCES)
	$(VENV)/bin/ruff check --fix $(SOURCES)

lock: setup  ## Pin the newest dependencies that requirements.in allows
	$(VENV)/bin/pip install --quiet uv
	$(VENV)/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-annotate --no-header requirements.in -o requirements.txt
	$(VENV)/bin/pip uninstall --quiet --yes uv

clean:  ## Remove the environment and the work directory
	[ ! -d $(WORK) ] || chmod -R u+w $(WORK)  # published Measurement Sets are read-only
	rm -rf $(VENV) $(WORK)
