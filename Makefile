# The pip route: everything below sets itself up first (scripts/setup.sh), then runs.
# On Ubuntu with ROS 2 Jazzy use `rosdep install` and `colcon build` instead (README).

RUN := scripts/in_workspace.sh
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=
FUZZ_S ?= 600

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint pytest test-numpy1 fuzz bench docs policy policies clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## system packages, venv with pinned wheels, colcon build
	@scripts/setup.sh

demo: setup  ## the xArm6 cell and the policy in simulation; result in out/demo
	@$(RUN) python -m evo1_bringup.demo $(DEMO_ARGS)

test: setup lint pytest  ## every check and test

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

pytest: setup  ## every test; TEST_ARGS chooses some
	@$(RUN) scripts/run_tests.sh $(TEST_ARGS)

test-numpy1: setup  ## the tests without ROS, on Ubuntu 24.04's numpy 1.26
	@scripts/test_numpy1.sh

fuzz: setup  ## hostile inputs for ten minutes (FUZZ_S=3600: an hour); make test runs a few
	@$(RUN) scripts/fuzz.sh $(FUZZ_S)

bench: setup  ## measure; prints tables and writes out/bench.json
	@$(RUN) python -m bench $(BENCH_ARGS)

docs: setup .venv-docs/.evo1_stamp  ## the documentation as a site, in out/site
	@$(RUN) python scripts/docs_site.py
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo "open out/site/index.html"

.venv-docs/.evo1_stamp: requirements/docs.txt
	@python3 -m venv .venv-docs
	@.venv-docs/bin/python -m pip install -q --disable-pip-version-check -r requirements/docs.txt
	@touch $@

policies: setup  ## rebuild the checkpoints that ship with the workspace, from nothing (hours)
	@$(RUN) python scripts/make_shipped_policies.py

policy: policies

clean:  ## remove everything that was built or installed
	rm -rf .venv .venv-docs .venv-numpy1 build install log out
