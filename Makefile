# make run    set up, then execute the whole series          make full     the published configuration
# make test   set up, then pass the tests                    make publish  write notebooks, figures and tables back
# make setup  the set-up alone                               make colab REPO=owner/name  point badges at your fork
# make bench  measure this machine                           make campaign SECONDS=n  train missing published runs
# make test-all  the slow tests, too                         make book     a site of the notebooks in docs/_build/html
# make lock   pin what requirements.txt asks for today       make test-book  build it and look at it in a browser
# make check-gpu  what a GPU does with all of it             make explorer  a page of every mistake of the published nets
# make course  student's and teacher's notebooks, lesson plan, cheat sheet
# LOCKED=1 beside any of them sets up the versions of requirements.lock, which were tested, in place of the newest.
# Without REPO, make colab asks git where this repository came from.
SHELL := /bin/bash
PYTHON ?= python3
PROFILE ?= auto
DATASET ?= auto
ARGS ?=
SECONDS ?= 0
LOCKED ?=
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := $(if $(LOCKED),requirements.lock,requirements.txt)
READY := $(VENV)/.ready$(if $(LOCKED),-locked)
REGENERATE := $(BIN)/python -m helpers.regenerate
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: run full publish campaign test test-all test-book check-gpu setup lint bench book lock explorer course colab clean
.DELETE_ON_ERROR:

run: $(READY)
	$(REGENERATE) --profile $(PROFILE) --dataset $(DATASET) $(ARGS)

full: $(READY)
	$(REGENERATE) --profile full --dataset $(DATASET) $(ARGS)

publish: $(READY)
	$(REGENERATE) --profile full --dataset cifar10 --publish $(ARGS)

# Without SECONDS it shows how far each run has come; the tables of docs/results.md follow what it published.
campaign: $(READY)
	$(BIN)/python -m helpers.results.campaign $(SECONDS) $(ARGS)
	$(if $(filter-out 0,$(SECONDS)),$(REGENERATE) --publish-data)

test: $(READY)-for-tests lint
	$(BIN)/python -m pytest $(ARGS)

test-all: $(READY)-for-tests lint
	$(BIN)/python -m pytest -m "" $(ARGS)

lint: $(READY)-for-tests
	$(BIN)/ruff check helpers tests notebooks docs
	$(BIN)/ruff format --check helpers tests docs

check-gpu: $(READY)-for-tests
	$(BIN)/python tests/check_gpu.py

bench: $(READY)-for-tests
	$(BIN)/python tests/benchmarks $(ARGS)

# Made from the committed notebooks; nothing is executed.
book: $(READY)-for-book
	$(BIN)/python -m sphinx -c docs -d docs/_build/doctrees --fail-on-warning --keep-going --quiet . docs/_build/html $(ARGS)
	@echo "The book's first page is docs/_build/html/index.html"

# The first call asks the nets about all test images: some minutes on two cores.
explorer: $(READY)
	$(BIN)/python docs/explorer/answers.py
	$(BIN)/python docs/explorer/page.py

course: $(READY)
	$(BIN)/python docs/course/make.py

test-book: $(READY)-for-book $(READY)-for-tests
	$(BIN)/python -m pytest -m slow -n 0 tests/test_book.py $(ARGS)

lock: $(READY)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --custom-compile-command "make lock" \
		--output-file requirements.lock requirements.txt $(ARGS)

setup: $(READY)

colab: REPO ?= $(shell git remote get-url origin 2>/dev/null | sed -nE 's#\.git$$##; s#^.*github\.com[:/]##p')
colab: $(READY)
	$(BIN)/python docs/stamp.py "$(REPO)"
	@touch $(wildcard $(READY) $(READY)-for-tests $(READY)-for-book)

# A set-up that is current is skipped: the stamps are newer than what they were made from. A set-up of other versions
# takes the place of the one before.
$(READY): $(REQUIREMENTS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, but $(PYTHON) is $$($(PYTHON) -V 2>&1); try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment; on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@rm -f $(VENV)/.ready*
	$(BIN)/python -m pip install --quiet --requirement $(REQUIREMENTS)
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

$(READY)-for-tests: $(READY) tests/requirements.txt
	$(BIN)/python -m pip install --quiet --requirement tests/requirements.txt
	@touch $@

$(READY)-for-book: $(READY) docs/requirements.txt
	$(BIN)/python -m pip install --quiet --requirement docs/requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache docs/_build
