# `make` installs what is missing into .venv and starts the demo; `make test` does the same and passes the tests.
# Nothing is installed again until a requirements file changes. All it takes is make and Python 3.10 or newer.
#
#   make ARGS="--model OWNER/REPO"      flags for the demo (or for pytest: make test ARGS="-k imaging")
#   make PYTHON=/usr/bin/python3.12     choose the Python that .venv is made with
#   make test WORKERS=0                 all tests one after the other (most run 2 at a time otherwise)
#   make PIP_ARGS="..."                 more options for pip, such as another index

VENV ?= .venv
ARGS ?=
WORKERS ?= 2
PIP_ARGS ?=
PYTHON ?=

# The version CI runs comes first, then the others that have wheels for everything.
CANDIDATES = $(PYTHON) python3.11 python3.12 python3.13 python3.10 python3 python
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install $(PIP_ARGS) -c constraints.txt

.PHONY: demo install test oldest check format train clean

demo: $(VENV)/.installed
	@exec $(BIN)/python launch.py $(ARGS)

install: $(VENV)/.installed

# What people click is tried with the machine to itself, the rest several at a time, each on one core; flags of your own
# are one run.
test: $(VENV)/.installed-dev
ifeq ($(strip $(ARGS)),)
	@$(BIN)/python -m pytest -m browser
	@OMP_NUM_THREADS=1 exec $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not browser"
else
	@exec $(BIN)/python -m pytest $(ARGS)
endif

# The models and backends once more, with the oldest transformers that is supported in front of the newest.
oldest: $(VENV)/.installed-dev $(VENV)/oldest/.installed
	@OMP_NUM_THREADS=1 PYTHONPATH=$(abspath $(VENV))/oldest exec $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile tests/backends tests/models tests/grounding/test_processors.py $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train: $(VENV)/.installed-dev
	$(BIN)/python -m training.train $(ARGS)

clean:
	rm -rf $(VENV)

# An explicitly named Python is used or refused; otherwise the first candidate that is new enough and runs.
$(BIN)/python:
	@for python in $(if $(PYTHON),$(PYTHON),$(CANDIDATES)); do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then found="$$python"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "No Python 3.10 or newer was found (looked for: $(if $(PYTHON),$(PYTHON),$(CANDIDATES)))." >&2; \
		echo "Install one from python.org or your system, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$found ($$("$$found" -c 'import platform; print(platform.python_version())'))"; \
	"$$found" -m venv --clear $(VENV) || { \
		rm -rf $(VENV); \
		echo "$$found could not make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	}

$(VENV)/.installed: requirements.txt constraints.txt | $(BIN)/python
	$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements-quantize.txt requirements-training.txt requirements-video.txt $(VENV)/.installed
	$(PIP) -r requirements-dev.txt
	@touch $@

$(VENV)/oldest/.installed: requirements-oldest.txt | $(VENV)/.installed-dev
	rm -rf $(@D)
	$(BIN)/python -m pip --disable-pip-version-check install $(PIP_ARGS) --no-deps --target $(@D) -r requirements-oldest.txt
	@touch $@
