# make book, make test: on a fresh machine with Python 3.11 or newer and nothing else. `make` alone lists the commands.
# Another Python:  make book PYTHON=/path/to/python3.12

PYTHON ?= python3
UV := uv==0.13.8# installs what requirements.lock names, several times faster than pip
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help book test lint lock clean

help:
	@echo 'make book    run every notebook that changed and build the book: _build/html/index.html'
	@echo 'make test    run the tests (pytest and nbval)'
	@echo 'make lint    check style and formatting (ruff)'
	@echo 'make lock    write requirements.lock anew from requirements.txt'
	@echo 'make clean   delete the book and the set-up (.venv); data, runs and figures stay'

book: $(READY)
	$(BIN)/python -m ifcdsr_core.book.build

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder

# A virtual environment that runs is brought up to date; any other is made anew. The stamp is written last, so an
# interrupted set-up is done again. uv does not read pip's settings (a company's index, say): then pip installs.
$(READY): requirements.lock pyproject.toml
	@echo "setting up .venv (some 5 GB of packages, so a few minutes the first time)"
	@rm -f $@
	@command -v '$(PYTHON)' >/dev/null || { echo 'error: $(PYTHON) not found: install Python 3.11 or newer,' \
	  'or name it: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'error: $(PYTHON) is older than' \
	  'Python 3.11: name a newer one, such as make PYTHON=python3.11' >&2; exit 1; }
	@'$(PYTHON)' -c 'import venv, ensurepip' 2>/dev/null || { echo 'error: $(PYTHON) has no venv module: install it' \
	  '(on Debian and Ubuntu: apt-get install python3-venv)' >&2; exit 1; }
	@$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  '$(PYTHON)' -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(UV)'
	$(BIN)/uv pip sync --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock || \
	  $(BIN)/python -m pip install --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lock: $(READY)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header requirements.txt -o requirements.lock

clean:
	rm -rf _build .venv *.egg-info
