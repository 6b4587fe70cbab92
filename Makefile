# make run    set up, then execute the whole series          make full     the published configuration
# make test   set up, then pass the tests                    make publish  write notebooks, figures and tables back
# make setup  the set-up alone                               make colab REPO=owner/name  point badges at your fork
# make bench  measure this machine                           make campaign SECONDS=n  train missing published runs
# make test-all  the slow tests, too                        make explorer  a page of every mistake of the published nets
# make course  student's and teacher's notebooks, lesson plan, cheat sheet
SHELL := /bin/bash
PYTHON ?= python3
PROFILE ?= auto
DATASET ?= auto
ARGS ?=
SECONDS ?= 0
VENV := .venv
BIN := $(VENV)/bin
REGENERATE := $(BIN)/python -m helpers.regenerate
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: run full publish campaign test test-all setup lint bench explorer course colab clean
.DELETE_ON_ERROR:

run: $(VENV)/.ready
	$(REGENERATE) --profile $(PROFILE) --dataset $(DATASET) $(ARGS)

full: $(VENV)/.ready
	$(REGENERATE) --profile full --dataset $(DATASET) $(ARGS)

publish: $(VENV)/.ready
	$(REGENERATE) --profile full --dataset cifar10 --publish $(ARGS)

# Without SECONDS it shows how far each run has come; the README's tables follow what it published.
campaign: $(VENV)/.ready
	$(BIN)/python -m helpers.results.campaign $(SECONDS) $(ARGS)
	$(if $(filter-out 0,$(SECONDS)),$(REGENERATE) --publish-data)

test: $(VENV)/.ready-for-tests lint
	$(BIN)/python -m pytest $(ARGS)

test-all: $(VENV)/.ready-for-tests lint
	$(BIN)/python -m pytest -m "" $(ARGS)

lint: $(VENV)/.ready-for-tests
	$(BIN)/ruff check helpers tests notebooks docs
	$(BIN)/ruff format --check helpers tests docs

bench: $(VENV)/.ready-for-tests
	$(BIN)/python tests/benchmarks $(ARGS)

# The first call asks the nets about all test images: some minutes on two cores.
explorer: $(VENV)/.ready
	$(BIN)/python docs/explorer/answers.py
	$(BIN)/python docs/explorer/page.py

course: $(VENV)/.ready
	$(BIN)/python docs/course/make.py

setup: $(VENV)/.ready

colab: $(VENV)/.ready
	$(BIN)/python -m helpers.colab --stamp "$(REPO)"
	@touch $(wildcard $(VENV)/.ready $(VENV)/.ready-for-tests)

# A set-up that is current is skipped: the stamps are newer than what they were made from.
$(VENV)/.ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, but $(PYTHON) is $$($(PYTHON) -V 2>&1); try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment; on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

$(VENV)/.ready-for-tests: $(VENV)/.ready tests/requirements.txt
	$(BIN)/python -m pip install --quiet --requirement tests/requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache
