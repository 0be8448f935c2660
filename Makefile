# make demo    two user agents call each other here; the report is in demo-out/
# make test    every test, with the peers of the interoperability tests
# make check   the quick ones: format, lint, types, floors, unit tests
# Each sets up what it needs first.

VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check format clean

demo:
	@scripts/setup
	$(BIN)/sipsimple demo --output demo-out

test:
	@scripts/setup --peers
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --junitxml=junit.xml

check:
	@scripts/setup
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/unit tests/rfc

format:
	@scripts/setup
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

clean:
	rm -rf $(VENV) build dist demo-out junit.xml .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
