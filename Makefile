# Two commands for a user: make demo, make test. They set everything up by themselves.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# modules are compiled when they are first used: all of them would take as long as the rest of it
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# the tests wait a lot for real servers: three at a time, and whole daemons, two files at a time, apart from the rest
JOBS   ?= 3
DAEMONS ?= 2

.PHONY: demo test check chaos image-check docs pictures lock clean

$(VENV)/.runtime: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Custode needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/.installed: $(VENV)/.runtime
	$(PIP) -e '.[dev]'
	touch $@

demo: $(VENV)/.runtime
	$(BIN)/custode demo $(ARGS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests/unit tests/integration $(ARGS)
	$(BIN)/python -m pytest -n $(DAEMONS) --dist loadfile tests/acceptance tests/chaos $(ARGS)

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# kills a worker at every boundary of every action (make test does it at some), then two daemons at random for a minute
chaos: $(VENV)/.installed
	$(BIN)/python -m tests.chaos $(ARGS)

# runs the steps of the Dockerfile in clean Debian roots: as root, with debootstrap, for some minutes
image-check: $(VENV)/.installed
	$(BIN)/python -m pytest tests/image $(ARGS)

bench-%: $(VENV)/.installed
	$(BIN)/python -m tests.bench.$* $(ARGS)

# resolves the newest versions in a virtual environment of its own and writes them down
lock:
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/python -m pip install --quiet -e '.[dev]'
	.lock/bin/python -m pip freeze --exclude-editable > constraints.txt
	rm -rf .lock

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache

# renews the generated parts of the README
docs: $(VENV)/.installed
	$(BIN)/python -m daemon.reference README.md

# renews the pictures of the README: with Debian's chromium and pngquant
pictures: $(VENV)/.installed
	CUSTODE_PICTURES=daemon/page/pictures $(BIN)/python -m pytest -q tests/acceptance/test_page_pictures.py
