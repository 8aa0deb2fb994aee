# One word per task; each makes the environment it needs. PYTHON picks the interpreter the environment is made with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: reproduce test lint unit lab book book-serve book-pdf cuda-check clean

reproduce: $(READY)  ## run the main job: dynamic-c, demo profile, generated streets
	$(BIN)/python reproduce.py --row dynamic-c

test: lint unit  ## lint, types, unit tests, notebooks on tiny subsets

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/types && ln -sfn ../../kernels build/types/dynroute_kernels
	$(BIN)/mypy

unit: $(READY)
	$(BIN)/python -m pytest

lab: $(READY)  ## JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir notebooks

book: $(READY)  ## the book, from results/ alone, in book/_build/html
	$(BIN)/python -m dynroute_core.book

book-serve: book  ## ... and shows it on this machine
	$(BIN)/python -m dynroute_core.book serve

book-pdf: $(READY)  ## the book and one PDF of it, by the system's Chromium
	$(BIN)/python -m dynroute_core.book pdf

cuda-check: $(READY)  ## the CUDA kernels: compiled by nvcc, emulated on the CPU, and run where there is a GPU
	$(BIN)/python -m pytest tests/test_cuda_build.py tests/test_kernels_cuda.py tests/test_kernels_cuda_ends.py tests/test_engine_cuda.py tests/test_cuda_device.py

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[suite,test]'
	$(BIN)/python -c "import cv2" || { echo "OpenCV lacks a system library. Debian, Ubuntu: apt-get install libgl1 libglib2.0-0; then run this again."; exit 1; }
	touch $(READY)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
