# Every target sets up what it needs by itself, says what it installs, and is quick when run again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.setup

.PHONY: help setup demo test check bench long clean

help:
	@echo "make demo   tune a real load on this machine and write a report (under 5 minutes)"
	@echo "make test   run the tests"
	@echo "make check  run the linters"
	@echo "make bench  run the benchmarks; each prints JSON"
	@echo "make long   run what takes minutes to hours: campaigns, kernels"
	@echo "make clean  remove what the above created"
