# Every command a contributor or CI needs. Python 3.11 or newer, pip and make are all it takes:
# each command first makes its own virtual environment (scripts/environment.py), or finds it done.

PYTHON ?= python3
ARGS ?=
VENV := .venv
DEMO := .venv-demo
KSERVE := .venv-kserve
SOAK_SECONDS ?= 3600
SOURCES := core/src edge_components/src $(wildcard plugins/*/src) scripts
COMPILE := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --custom-compile-command "make lock"

# Programs of the environment come first, as if it were activated.
IN_VENV := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
IN_DEMO := PATH="$(CURDIR)/$(DEMO)/bin:$$PATH"

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow soak check lint types imports locks format bench lock clean \
	python setup setup-demo setup-kserve

help: ## Say what there is
	@echo "make COMMAND [PYTHON=python3.12] [ARGS=...]"
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  %-10s %s\n", $$1, $$2}'

demo: setup-demo ## From training to three devices that answer, on this machine
	@$(IN_DEMO) edgectl demo $(ARGS)

test: setup ## All tests but the slow ones
	@$(IN_VENV) python -m pytest -n 3 -m "not slow" $(ARGS)

test-slow: setup setup-kserve ## The tests that take minutes
	@$(IN_VENV) python -m pytest -n 3 -m slow $(ARGS)

soak: setup ## One runtime under mixed traffic for an hour (SOAK_SECONDS=3600)
	@$(IN_VENV) python tests/soak/soak.py --seconds $(SOAK_SECONDS) $(ARGS)

check: lint types imports locks ## Style, types, import rules, locks (-k shows all that is wrong)

lint: setup
	@$(IN_VENV) ruff check .
	@$(IN_VENV) ruff format --check .

types: setup
	@$(IN_VENV) mypy $(SOURCES)

imports: setup
	@$(IN_VENV) lint-imports

locks: setup
	@$(IN_VENV) python scripts/check_requirements.py

format: setup ## Let ruff arrange the code
	@$(IN_VENV) ruff check --fix-only .
	@$(IN_VENV) ruff format .

bench: setup ## Measure, as ratios against a peer in the same run
	@set -e; for bench in benchmarks/[a-z]*.py; do \
		echo "== $$bench"; $(IN_VENV) python -P "$$bench" $(ARGS); done

lock: setup ## Resolve again (ARGS=--upgrade for newer versions)
	@$(COMPILE) $(ARGS) requirements/dev.in -o requirements/dev.txt
	@for name in demo uv kserve; do cp requirements/dev.txt "requirements/$$name.txt" && \
		$(COMPILE) "requirements/$$name.in" -o "requirements/$$name.txt" || exit 1; done
	@$(IN_VENV) python scripts/check_requirements.py

clean: ## Remove the environments and everything generated
	rm -rf $(VENV) $(DEMO) $(KSERVE) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache examples/*/out examples/*/.edgectl
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: python
	@$(PYTHON) scripts/environment.py dev $(VENV)

setup-demo: python
	@$(PYTHON) scripts/environment.py demo $(DEMO)

setup-kserve: python
	@$(PYTHON) scripts/environment.py kserve $(KSERVE)

python:
	@command -v "$(PYTHON)" >/dev/null || { echo "'$(PYTHON)' was not found; \
	name a Python 3.11 or newer: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; \
	sys.exit(0 if sys.version_info >= (3, 11) else "edgectl needs Python 3.11 or newer; $(PYTHON) is " \
	+ v + ". Name another one: make PYTHON=/path/to/python3.12")'
