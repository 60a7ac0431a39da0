# make quickstart   sets everything up and runs a first study, with its table, figures and report
# make test         sets everything up and runs the tests
# make benchmark    times metafa beside its peers, and prints how many times faster it is; DEVICE=cuda: on a GPU
# make wheel        builds a wheel, and installs it into an environment of its own
# make lint         checks style, formatting and types
# make docs         writes the pages that are made from the code
# make pins         renews requirements.txt from pyproject.toml

PYTHON ?= python3
DEVICE ?= cpu
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: quickstart test benchmark wheel lint docs pins setup help
help:
	@sed -n 's/^# //p' Makefile

quickstart: setup
	$(BIN)/metafa run studies/quickstart.toml
	$(BIN)/python analysis/meta_loss.py results/quickstart
	$(BIN)/metafa report results/quickstart

test: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

benchmark: setup
	$(BIN)/python -m pytest tests/benchmarks/benchmark_core.py --device $(DEVICE)

wheel: setup
	rm -rf dist build/clean
	$(BIN)/uv build --quiet --wheel --out-dir dist
	$(BIN)/uv venv --quiet --python $(BIN)/python build/clean
	$(BIN)/uv pip install --quiet --config-file docs/uv.toml --python build/clean/bin/python dist/*.whl
	build/clean/bin/metafa check quickstart --results build/results
	build/clean/bin/metafa studies | grep claims/claim_8_meta_loss

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/python docs/generate.py

pins: setup
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --no-annotate --no-header \
		--quiet --output-file requirements.txt

setup: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		f"metafa needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --requirements requirements.txt --editable .
	@# torch, ray and learn2learn take twice as long to import where their bytecode is missing
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null 2>&1 || true
	@touch $@
