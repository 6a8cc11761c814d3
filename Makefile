# The whole of what a newcomer types; .venv is made on first use and again when its requirements change.
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: repro test test-all test-capabilities matrix lint preset bench docs

repro: $(VENV)/ready
	@python -m nas check > /dev/null
	dvc repro
	@awk '/^## Test accuracy/ { on = 1; next } /^(!|##)/ { on = 0 } on' results/report.md
	@echo "The report: results/report.html (and results/report.md)"

# What an edit may break, in minutes; test-all adds what is slow: Ray, remotes, kills, the pipeline end to end.
test: $(VENV)/ready-to-test
	python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: $(VENV)/ready-to-test
	python -m pytest -n 2 --dist worksteal

# The kernels that torch would choose on other processors: all that this one has, those for AVX2, those without either.
test-capabilities: $(VENV)/ready-to-test
	env -u ATEN_CPU_CAPABILITY python -m pytest -n 2 --dist worksteal
	ATEN_CPU_CAPABILITY=avx2 python -m pytest -n 2 --dist worksteal
	ATEN_CPU_CAPABILITY=default python -m pytest -n 2 --dist worksteal

# Each Python and the oldest dependencies that pyproject.toml claims; make matrix ROWS=3.13:highest takes one. 7 GB each.
matrix: $(VENV)/ready
	$(VENV)/bin/pip install --quiet --disable-pip-version-check uv
	python -m tests.matrix $(ROWS)

lint: $(VENV)/ready
	ruff check .
	ruff format --check .
	mypy

bench: $(VENV)/ready
	python -m benchmarks.bench $(NAME)

docs: $(VENV)/ready-to-document
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict
	@echo "The documentation: site/index.html"

preset: $(VENV)/ready
	@python -m nas preset $(or $(NAME),$(error say which: make preset NAME=default))

$(VENV)/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(VENV)/bin/python -c 'from nas.pipeline.new import write_vega; write_vega()'
	@touch $@

$(VENV)/ready-to-test: requirements-cluster.txt $(VENV)/ready
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-cluster.txt
	@touch $@

$(VENV)/ready-to-document: requirements-docs.txt $(VENV)/ready
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-docs.txt
	@touch $@
