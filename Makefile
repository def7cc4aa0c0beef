# Everything happens inside .venv, made on first use with the pinned versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
INTEROP := .venv-interop

.PHONY: demo test lint test-interop test-web bench clean help
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("eotune needs Python 3.11 or newer; set PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## the main job in miniature, offline: a report at runs/demo/report.html
	rm -rf runs/demo
	$(BIN)/eotune demo --out runs/demo

# One thread a worker: two pools of threads on two cores wait for each other.
test: $(INSTALLED)  ## all tests that need no download
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(INSTALLED)  ## style, types, and which way imports point
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/ruff format --check --quiet src tests benchmarks scripts
	$(BIN)/mypy
	$(BIN)/lint-imports

# An environment of its own: torchvision's binaries fit one build of torch only, and === keeps a local wheel out.
$(INTEROP)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip install --quiet --upgrade pip
	$(INTEROP)/bin/python -m pip install --quiet --constraint constraints.txt \
		"torch===$$(sed -n 's/^torch==//p' constraints.txt)" --editable '.[dev,interop]'
	@touch $@

test-interop: $(INTEROP)/.installed  ## against open_clip and torchvision (several GB; 5 GB of memory)
	$(INTEROP)/bin/python -m pytest -m interop tests/interop -rA --show-capture=stdout

# Chromium comes from the system; as root on Debian this installs it.
test-web: $(INSTALLED)  ## the search page in headless Chromium
	@command -v chromium >/dev/null || { apt-get update -q && apt-get install --yes chromium; } \
	|| { echo "test-web needs chromium: sudo apt-get install chromium" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,web-test]'
	$(BIN)/python -m pytest tests/search/server/test_page.py -rA --show-capture=no

bench: $(INSTALLED)  ## ratios against named peers
	for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:  ## remove the environment and caches
	rm -rf .venv $(INTEROP) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
