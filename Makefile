# Every target works from a clean checkout; only python3 (>= 3.11) and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOWEST_STAMP := .lowest/.installed
# of the user, not of a clone: installing takes a minute, and changes with these alone
SNAKEMAKE := snakemake==9.27.1
SNAKEMAKE_HOME := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tgo-spectra-tests/$(subst ==,-,$(SNAKEMAKE))-python$(shell $(PYTHON) -c "import platform; print(platform.python_version())")
SNAKEMAKE_STAMP := $(SNAKEMAKE_HOME)/.installed
OUT ?= demo-output
LOWEST := README.md $(addprefix tests/test_,$(addsuffix .py,20_netcdf 20_writing 22_malformed \
	30_reader_nomad 33_reader_acs 69_kinds 70_maps 75_exchange 92_golden 95_demo))

# compiled modules are kept, whatever the environment says: tests start Python often.
# Those of others are compiled when they are imported: all of them take half a minute
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help venv environments demo test suite test-shared test-lowest test-cluster check format docs picture bench validate golden clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --editable . --group check --group test
	touch $@

$(LOWEST_STAMP): pyproject.toml .ci/lowest.py
	$(PYTHON) -m venv .lowest
	$(PYTHON) .ci/lowest.py > .lowest/pins.txt
	.lowest/bin/python -m pip install --quiet --no-compile --requirement .lowest/pins.txt
	.lowest/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

$(SNAKEMAKE_STAMP):
	$(PYTHON) -m venv --clear $(SNAKEMAKE_HOME)
	$(SNAKEMAKE_HOME)/bin/python -m pip install --quiet --no-compile $(SNAKEMAKE)
	touch $@

venv: $(STAMP) ## create .venv with the package and the test tools

environments: $(STAMP) $(LOWEST_STAMP) ## those of the tests, side by side with make -j2

demo: $(STAMP) ## simulate an archive, retrieve it in parallel, map it (offline)
	$(BIN)/tgo-spectra demo --out $(OUT)

check: $(STAMP) ## ruff, strict mypy, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# the checks run beside the tests, which go on when a check fails
test: $(STAMP) ## what continuous integration runs: checks, tests, doctests, examples
	@$(MAKE) --no-print-directory --jobs 2 --keep-going check suite \
		|| { echo "make test: not all is well, see the lines above that begin with make[1]: ***"; exit 1; }

suite: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 3 -m "not cluster"

test-shared: $(STAMP) ## the tests that need real line lists and samples in ../shared
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 3 -m shared

test-cluster: $(STAMP) $(SNAKEMAKE_STAMP) ## as root: the examples of job scripts on a real Slurm of one node
	tests/cluster/slurm.sh install
	PATH="$$PATH:$(SNAKEMAKE_HOME)/bin" $(BIN)/python -m pytest -q tests/test_82_slurm.py

# kernels of its own: those of another numba would take the place of .venv's
test-lowest: $(LOWEST_STAMP) ## open, fit, write, map, damage, at the lowest versions of everything
	NUMBA_CACHE_DIR="$(CURDIR)/.lowest/kernels" OMP_NUM_THREADS=1 .lowest/bin/python -m pytest -q -n 3 $(LOWEST)

format: $(STAMP) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## build the documentation: spelling, links within it, examples executed, warnings are errors
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/codespell *.md docs examples tgo_spectra
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/links.py docs/_build/html

picture: $(STAMP) ## draw the layers of the package for the page on its architecture
	$(BIN)/python docs/picture.py

bench: $(STAMP) ## timings as ratios to peers, installed in .bench; one table at the end
	$(BIN)/python tests/benchmarks/peers.py
	$(BIN)/python -m pytest -q -s --override-ini=testpaths=tests/benchmarks --override-ini=python_files='bench_*.py' tests/benchmarks

validate: $(STAMP) ## the validation campaign (about two hours on two cores, goes on where it was stopped), writes its report
	OMP_NUM_THREADS=1 $(BIN)/python tests/validation/campaign.py 1000

golden: $(STAMP) ## make the golden files again: WHY="reason", and NAMES="so_oe ..." or all
	OMP_NUM_THREADS=1 $(BIN)/python tests/golden/remake.py --why "$(WHY)" $(NAMES)

clean: ## remove build products and the environment
	rm -rf $(VENV) .bench .lowest .snakemake $(SNAKEMAKE_HOME) .validation docs/_build docs/auto_examples demo-output .pytest_cache .mypy_cache .ruff_cache
