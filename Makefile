# One word per task; each makes the environment it needs. PYTHON picks the interpreter the environment is made with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST_PYTHON ?= python3.11
BARE_PYTHON := $(PYTHON)
READY := $(VENV)/.ready
# setuptools warns at every editable installation of folders named like packages; here they are the packages.
INSTALL = PYTHONWARNINGS='ignore:Editable installation' $(BIN)/python -m pip install --quiet

.PHONY: reproduce test lint unit lab book book-serve book-pdf texts bench kernels sanitize cuda-check audit test-core test-minimal soak help clean

reproduce: $(READY)  ## run the main job: dynamic-c, demo profile, generated streets
	$(BIN)/python reproduce.py --row dynamic-c

test: lint unit  ## lint, types, tests, notebooks on tiny subsets, the book

lint: $(READY)  ## ... its first part: style and types
	@echo '== style and types'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/types && ln -sfn ../../kernels build/types/dynroute_kernels
	$(BIN)/mypy

unit: $(READY)  ## ... its second part: every test, two files at a time
	@echo '== tests, notebooks, the book'
	-$(BIN)/python -m dynroute_kernels build  # once, before two workers would; without a compiler the tests skip what needs one
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lab: $(READY)  ## JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir notebooks

book: $(READY)  ## the book, from results/ alone, in book/_build/html
	$(BIN)/python -m dynroute_suite.book

book-serve: book  ## ... and shows it on this machine
	$(BIN)/python -m dynroute_suite.book serve

book-pdf: $(READY)  ## the book and one PDF of it, by the system's Chromium
	$(BIN)/python -m dynroute_suite.book pdf

texts: $(READY)  ## the tables and the picture that README.md and other texts show, from sources and results/
	$(BIN)/python tools/texts.py

bench: $(READY)  ## the short form of every benchmark: tables here, JSON in results/speed
	$(BIN)/python benchmarks/inference.py --short
	$(BIN)/python benchmarks/inference.py --parts open --size 1024 2048 --runs 2
	$(BIN)/python benchmarks/operations.py --short
	$(BIN)/python benchmarks/training.py --short
	$(BIN)/python benchmarks/loading.py --short

kernels: $(READY)  ## compile the CPU kernels ahead of their first use
	$(BIN)/python -m dynroute_kernels build

sanitize: $(READY)  ## the CPU kernels' tests under AddressSanitizer and UBSan (GCC)
	$(BIN)/python -m dynroute_kernels build --sanitized
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	DYNROUTE_SANITIZE=1 $(BIN)/python -m pytest tests/kernels/cpu/test_network.py tests/kernels/cpu/test_update.py tests/core/engine/test_training.py tests/core/engine/test_training_update.py -k "not fork and not compiler and not status and not build"

cuda-check: $(READY)  ## the CUDA kernels: compiled by nvcc, emulated on the CPU, and run where there is a GPU
	$(BIN)/python -m pytest tests/kernels/cuda/test_build.py tests/kernels/cuda/test_operators.py tests/kernels/cuda/test_ends.py tests/core/engine/test_cuda_backend.py tests/kernels/cuda/test_device.py

soak: $(READY)  ## a thousand small runs in one process: does anything grow? (half an hour; results/soak)
	$(BIN)/python benchmarks/soak.py

audit: $(READY)  ## known vulnerabilities of the installed packages; asks PyPI. Exit codes: tools/audit.py
	$(INSTALL) --editable '.[audit]'
	$(BIN)/python tools/audit.py

test-core: build/newest/.ready  ## tests/core and tests/kernels with the core's dependencies alone
test-minimal: build/lowest/.ready  ## ... at the lowest versions that pyproject.toml allows, on the oldest Python
test-core test-minimal:
	$(<D)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not suite" tests/core tests/kernels

build/lowest/.ready: BARE_PYTHON := $(OLDEST_PYTHON)
build/lowest/.ready build/newest/.ready: BIN = $(@D)/bin
build/%/.ready: pyproject.toml tools/core_requirements.py
	$(BARE_PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python tools/core_requirements.py $* > $(@D)/requirements.txt
	$(INSTALL) --requirement $(@D)/requirements.txt
	$(INSTALL) --no-deps --editable .
	touch $@

# An environment without pip was left half made, by Ctrl-C for one.
$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(INSTALL) --upgrade pip
	$(INSTALL) --editable '.[suite,test]'
	$(BIN)/python -c "import cv2" || { echo "OpenCV lacks a system library. Debian, Ubuntu: apt-get install libgl1 libglib2.0-0; then run this again."; exit 1; }
	touch $(READY)

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1: \2/p' Makefile

clean:  ## removes the environment and what tools cached
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
