# `make demo` and `make test` each work alone, from a fresh clone on. Every path is relative: make cannot handle a
# space in one, and the checkout may lie below such a folder. Written for GNU make and BSD make. DEMO_ARGS, TEST_ARGS,
# BENCH_ARGS and CONSTRAINTS_ARGS are passed on, from make's command line or from the environment.
.POSIX:

.PHONY: help setup demo test check bench bench-chips constraints clean

help:
	@echo 'make demo         set up, then run the demo on real Sentinel-2 data; its report lands in geomask-demo/'
	@echo '                  (make demo DEMO_ARGS=--fast)'
	@echo 'make test         set up, then run the tests (make test TEST_ARGS="-k manifest")'
	@echo 'make check        set up, then lint, formatting, types and import contracts'
	@echo 'make bench        set up, then measure readers side by side (half an hour; make bench BENCH_ARGS=--quick)'
	@echo 'make bench-chips  set up, then measure chips side by side (two hours; BENCH_ARGS as above)'
	@echo 'make setup        only set up: make .venv, or bring it up to date'
	@echo 'make constraints  pin the dependencies anew (make constraints CONSTRAINTS_ARGS=--upgrade)'
	@echo 'make clean        remove caches, build folders and the demo output; .venv stays'
	@echo 'GEOMASK_PYTHON=/path/to/python3 make ... chooses the Python (3.12 to 3.14) that .venv is made from'

setup:
	@sh .ci/bootstrap.sh

demo: setup
	.venv/bin/geomask demo $(DEMO_ARGS)

test: setup
	.venv/bin/python -m pytest $(TEST_ARGS)

check: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/mypy cli
	.venv/bin/lint-imports

bench: setup
	.venv/bin/python benchmarks/read.py $(BENCH_ARGS)

bench-chips: setup
	.venv/bin/python benchmarks/chips.py $(BENCH_ARGS)

# Not after `setup`: that would fail on the very pins which are to be replaced.
constraints:
	@test -x .venv/bin/uv || sh .ci/bootstrap.sh
	.venv/bin/uv pip compile --quiet --universal --no-header --no-annotate --python-version 3.12 \
		--extra demo --extra test --output-file constraints.txt $(CONSTRAINTS_ARGS) pyproject.toml

clean:
	rm -rf build dist geomask.egg-info geomask-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache
	find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
