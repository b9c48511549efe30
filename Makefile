# Everything runs through uv, which is fetched into .tools/ when the machine has none.
UV := $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)
PYTHON ?= python3
export UV_PYTHON_DOWNLOADS := never

.PHONY: help demo test lint types contracts pytest format semconv providers prices startup bench bench-pricing clean

help:  ## Say what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: .venv  ## Meter a small app's calls and print the table
	@$(UV) run --no-sync python -m docs.demo.run

test: lint types contracts pytest  ## Run every check and every test: some minutes

lint: .venv  ## Check style, and that the generated files are what the registry says
	$(UV) run --no-sync ruff check
	$(UV) run --no-sync ruff format --check
	$(UV) run --no-sync python semconv/generate.py --check
	$(UV) run --no-sync python instrumentation/generate_providers.py --check
	$(UV) run --no-sync python exporter/generate_book.py --check

types: .venv  ## Check types
	$(UV) run --no-sync mypy

contracts: .venv  ## Check which package may import which
	$(UV) run --no-sync lint-imports

pytest: .venv .venv-emitters  ## Run the tests alone
	@# Beforehand, because a first build takes longer than a test may. Where there is none to be
	@# had, the tests that need one say so.
	@$(UV) run --no-sync python tests/collector/obtain.py || true
	@# A process for each core; the tests of a file share what they have started.
	$(UV) run --no-sync pytest -n auto --dist loadfile

format: .venv  ## Format the code
	$(UV) run --no-sync ruff check --fix
	$(UV) run --no-sync ruff format

semconv: .venv  ## Write what is generated from the attribute registry
	$(UV) run --no-sync python semconv/generate.py

providers: .venv  ## Write what is generated from the table of providers
	$(UV) run --no-sync python instrumentation/generate_providers.py

prices: .venv  ## Write the price book that ships from the installed genai-prices
	$(UV) run --no-sync python exporter/generate_book.py

startup: .venv  ## Measure what metering adds to the start of a process
	$(UV) run --no-sync python benchmarks/startup.py

bench: .venv  ## Measure the server side beside a Collector: about half an hour, 20 GB of disk
	$(UV) run --no-sync python -m benchmarks.server

bench-pricing: .venv  ## Measure pricing beside genai-prices, and check a million costs: minutes
	$(UV) run --no-sync python -m benchmarks.pricing

clean:  ## Remove what was installed and generated
	rm -rf .venv .venv-emitters .tools demo-output .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv: $(UV) uv.lock pyproject.toml semconv/pyproject.toml instrumentation/pyproject.toml exporter/pyproject.toml
	@# What was cut off is begun again next time.
	$(UV) sync --locked --all-packages || { touch -t 200001010000 $@; exit 1; }
	@touch $@

# What else reports model calls, apart from the environment of the tests.
.venv-emitters: .venv
	UV_PROJECT_ENVIRONMENT=$@ $(UV) sync --locked --all-packages --no-default-groups \
		--group emitters || { touch -t 200001010000 $@; exit 1; }
	@touch $@

# --target also works where the system's Python may not be installed into.
.tools/bin/uv:
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target .tools uv
