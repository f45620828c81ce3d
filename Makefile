# Every target sets up what it needs by itself, says what it installs, and is quick when run again.

PYTHON ?= python3
BIN := .venv/bin
# What decides whether the environment is up to date.
INPUTS := pyproject.toml constraints.txt tools/setup.sh CMakeLists.txt $(shell find native bpf include third_party -type f 2>/dev/null)
C_FILES := $(shell find bpf native include tests benchmarks -name "*.[ch]" -o -name "*.[ch]pp" 2>/dev/null)

LINTERS := lint-format lint-style lint-types lint-imports lint-shell lint-c

.PHONY: help setup demo test check format bench long wheel clean $(LINTERS)

help:
	@echo "make demo   tune two loads here, one of which nothing can help, and simulate a third (under 5 minutes)"
	@echo "make test   run the tests"
	@echo "make check  run the linters"
	@echo "make format format Python and C"
	@echo "make bench  run the benchmarks; each prints JSON"
	@echo "make long   run all that takes minutes to hours: campaigns, kernels, whole benchmarks"
	@echo "make wheel  build dist/*.whl, which needs no compiler where it is installed"
	@echo "make clean  remove what the above created"

# Two environments in one folder: the small one that users get, and the one with every extra for tests.
.venv/.base: $(INPUTS)
	PYTHON=$(PYTHON) tools/setup.sh
	@touch $@

.venv/.dev: $(INPUTS)
	PYTHON=$(PYTHON) tools/setup.sh --dev
	@touch .venv/.base $@

setup: .venv/.base

demo: .venv/.base
	tools/demo.sh

test: .venv/.dev
	tools/test.sh $(RETRY)

# All of them, side by side, whatever one of them finds.
check: .venv/.dev
	@$(MAKE) --no-print-directory --keep-going --jobs=$$(nproc) --output-sync $(LINTERS)

lint-format: .venv/.dev
	$(BIN)/ruff format --check .

lint-style: .venv/.dev
	$(BIN)/ruff check .

lint-types: .venv/.dev
	$(BIN)/mypy

lint-imports: .venv/.dev
	$(BIN)/lint-imports --no-logo

lint-shell: .venv/.dev
	shellcheck tools/*.sh .ci/run

lint-c: .venv/.dev
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_FILES)

bench: .venv/.dev
	tools/long.sh --quick

long: .venv/.dev
	tools/long.sh

wheel: .venv/.dev
	tools/wheel.sh

clean:
	rm -rf .venv .venv-ray build dist results .*_cache .hypothesis
