# Two commands do all the set-up on a machine with Python >= 3.11 and make: `make demo` and `make test`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= build/demo
JOBS ?= 2

.PHONY: help demo test faults faults-long check format docs types layers clean

help:
	@echo "make demo    install humanst in $(VENV) and run the main job on the embedded mini atlas"
	@echo "make test    install everything the tests need and run the whole suite"
	@echo "make faults  inject 28 faults, print the scoreboard and write docs/reliability.md (some minutes on 2 cores)"
	@echo "make faults-long  kill 50 fetches, 100 builds and 20 stores, mutate 2,000 files of each kind, load a cache for 5 minutes"
	@echo "make check   ruff, mypy and the import contracts"
	@echo "make format  rewrite the code with ruff"
	@echo "make docs    build the documentation in build/docs, without a connection"
	@echo "make clean   remove $(VENV) and build/"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python >= 3.11 is needed: install it, or run make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.base: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[train,dev]'
	@touch $@ $(VENV)/.base

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@ $(VENV)/.base

demo: $(VENV)/.base
	$(BIN)/humanst demo $(DEMO)

test: $(VENV)/.dev
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(PYTEST_ARGS)

faults: $(VENV)/.dev
	rm -rf build/faults
	-HUMANST_FAULTS=whole HUMANST_FAULTS_RESULTS=$(CURDIR)/build/faults $(BIN)/python -m pytest tests/faults -q -n $(JOBS) --dist loadgroup \
		--ignore tests/faults/test_fuzz.py --ignore tests/faults/test_cache_load.py
	$(BIN)/python -m tests.faults.page build/faults docs/reliability.md

faults-long: $(VENV)/.dev
	HUMANST_FETCH_KILLS=50 $(BIN)/python -m pytest tests/fetch/test_faults_http.py -k killed -n $(JOBS)
	HUMANST_BUILD_KILLS=100 $(BIN)/python -m pytest tests/shards/test_kill.py -n $(JOBS)
	HUMANST_BOARD_KILLS=20 $(BIN)/python -m pytest tests/faults/test_kills.py -k f11 -n $(JOBS)
	HUMANST_FUZZ_INPUTS=2000 $(BIN)/python -m pytest tests/faults/test_fuzz.py -n $(JOBS)
	HUMANST_LOAD_SECONDS=300 $(BIN)/python -m pytest tests/faults/test_cache_load.py

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx --fail-on-warning --nitpicky --keep-going --fresh-env --quiet docs build/docs
	@echo "build/docs/index.html"

clean:
	rm -rf $(VENV) build
