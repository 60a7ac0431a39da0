# make quickstart   sets everything up and runs a first study, with its table, figures and report
# make test         sets everything up, the tools of tests with it, and runs the tests
# make benchmark    times metafa beside its peers, and prints how many times faster it is; DEVICE=cuda: on a GPU
# make wheel        builds a wheel, installs it by pip into an environment of its own, and runs a study there
# make lint         checks style, formatting and types
# make docs         writes the pages that are made from the code
# make pins         renews constraints.txt, the versions tested, from pyproject.toml
#
# UV_TORCH_BACKEND=cpu make ...   takes PyTorch's builds without CUDA, which are far smaller

PYTHON ?= python3
DEVICE ?= cpu
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TOOLS := $(VENV)/.tools

# what has to be there before anything is downloaded: learn2learn is compiled
define PREREQUISITES
import os, shlex, subprocess, sys, sysconfig
if sys.version_info < (3, 11):
    sys.exit("metafa needs Python 3.11 or newer; %s is %s. Try: make PYTHON=python3.12" % (
        sys.executable, sys.version.split()[0]))
compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
needs = "make builds learn2learn, which needs a C compiler and Python's headers, and "
instead = "; on Debian `apt-get install gcc python3-dev` brings both, and docs/install.md says how to install metafa without"
headers = "-I" + sysconfig.get_path("include")
try:
    compiled = subprocess.run(compiler + [headers, "-fsyntax-only", "-x", "c", "-"], input=b"#include <Python.h>\n",
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
except OSError:
    sys.exit(needs + "there is no compiler " + compiler[0] + instead)
if compiled.returncode:
    sys.exit(needs + compiler[0] + " cannot compile Python.h of " + sysconfig.get_path("include") + instead)
endef
export PREREQUISITES

.PHONY: quickstart test benchmark wheel lint docs pins setup tools help
help:
	@sed -n '/^$$/q; s/^# //p' Makefile

quickstart: setup
	$(BIN)/metafa run studies/quickstart.toml
	$(BIN)/metafa analyse meta_loss results/quickstart
	$(BIN)/metafa report results/quickstart

test: tools
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

benchmark: tools
	$(BIN)/python -m pytest tests/benchmarks/benchmark_core.py --device $(DEVICE)

wheel: setup
	rm -rf dist build
	$(BIN)/uv build --quiet --wheel --out-dir dist
	$(BIN)/python -m venv build/clean
	build/clean/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl
	! build/clean/bin/python -c 'import learn2learn' 2> /dev/null
	cd build && clean/bin/metafa check quickstart
	cd build && clean/bin/metafa studies | grep paper/figure_6
	cd build && clean/bin/metafa run ../tests/installed.toml
	cd build && clean/bin/metafa analyse meta_loss results/installed
	rm -rf build

lint: tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: tools
	$(BIN)/python docs/generate.py

pins: setup
	$(BIN)/uv pip compile pyproject.toml --extra learn2learn --group dev --universal --python-version 3.11 --no-annotate \
		--no-header --quiet --output-file constraints.txt

setup: $(INSTALLED)
tools: $(TOOLS)

$(INSTALLED): constraints.txt pyproject.toml Makefile
	@$(PYTHON) -c "$$PREREQUISITES"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --constraints constraints.txt --editable '.[learn2learn]'
	@# torch, ray and learn2learn take twice as long to import where their bytecode is missing
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null 2>&1 || true
	@touch $@

$(TOOLS): $(INSTALLED)
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --constraints constraints.txt --group dev
	@touch $@
