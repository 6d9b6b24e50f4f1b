# What people and CI run. `make` alone lists the targets.
# Every target first sets up .venv from the lock file it needs, and again when that file or pyproject.toml changes.

PYTHON ?= python3
HOST = 127.0.0.1
PORT = 8000
KEYS =
RELEASES = $(if $(wildcard work/releases/CURRENT),work/releases,work/demo/releases)
UV_VERSION := 0.13.9

BIN := .venv/bin
CREATED := .venv/created
DEMO := .venv/demo.installed
DEV := .venv/dev.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo train serve test lint bench break lock clean given-data

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(DEMO) ## Train on MovieLens and serve the result; ONCE=1 stops after one answer
	$(BIN)/watchnext demo --to work/demo $(if $(filter-out 0,$(ONCE)),--once)

# INGEST= has more options of `watchnext ingest`: make train DATA=log.csv INGEST='--user-column who --items items.csv'
train: given-data $(DEMO) ## Make a release in work/releases out of your watch log: DATA=log.csv; INGEST=options
	$(BIN)/watchnext ingest "$(DATA)" --to work/corpus $(INGEST)
	$(BIN)/watchnext train work/corpus --to work/export --refit
	$(BIN)/watchnext index work/export --to work/index
	$(BIN)/watchnext publish work/export work/index --to work/releases

serve: $(DEMO) ## Serve work/releases, or the demo's; RELEASES=, HOST=, PORT= and KEYS= change what, where and for whom
	$(BIN)/watchnext serve "$(RELEASES)" --host "$(HOST)" --port "$(PORT)" $(if $(KEYS),--keys "$(KEYS)",--without-keys)

test: lint ## Everything CI checks: lint, then the tests with branch coverage
	$(BIN)/pytest --cov --cov-report=term:skip-covered

lint: $(DEV) ## Format, lint, types, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV) ## Run every benchmark in its quick form
	@set -e; for name in $(filter-out _%,$(basename $(notdir $(wildcard benchmarks/*.py)))); do \
		echo "== $$name"; $(BIN)/python -m "benchmarks.$$name" --quick; \
	done

break: $(DEV) ## Break a real server in every way, in the quick forms
	@set -e; for name in $(filter-out _%,$(basename $(notdir $(wildcard reliability/*.py)))); do \
		echo "== $$name"; $(BIN)/python -m "reliability.$$name" --quick; \
	done

# Versions stay as they are unless pyproject.toml rules them out; UPGRADE=1 takes the newest of all.
# dev.txt holds everything that the project needs, and the other locks take their versions from it. The systems that it
# is measured against have environments of their own; torch's numpy and pandas are older, and hnswlib is compiled there.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"
lock: $(CREATED) ## Write requirements/*.txt anew from pyproject.toml; UPGRADE=1 takes newer versions
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(COMPILE) $(if $(filter-out 0,$(UPGRADE)),--upgrade) pyproject.toml --extra dev -o requirements/dev.txt
	echo hatchling | $(COMPILE) - -c requirements/dev.txt -o requirements/build.txt
	$(COMPILE) pyproject.toml --extra serve --extra redis -c requirements/dev.txt -o requirements/serve.txt
	$(COMPILE) pyproject.toml requirements/build.txt --extra train --extra serve --extra demo --extra baselines --extra tune \
		-c requirements/dev.txt -o requirements/demo.txt
	printf 'tensorflow-recommenders==0.7.7\ntf-keras\n' | $(COMPILE) - --excludes requirements/benchmark-tfrs.excludes \
		-c requirements/dev.txt -o requirements/benchmark-tfrs.txt
	echo 'rectools[torch]==0.19.0' | $(COMPILE) - -o requirements/benchmark-sasrec.txt
	printf 'numpy\npybind11\nsetuptools\nwheel\n' | $(COMPILE) - -c requirements/dev.txt \
		-o requirements/benchmark-index.build.txt
	printf 'hnswlib==0.8.0\nusearch==2.26.6\n' | $(COMPILE) - -c requirements/dev.txt -o requirements/benchmark-index.txt

clean: ## Remove .venv and all caches; what was made in work/ stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

given-data:
	@test -n "$(DATA)" || { echo "make train: no watch log given. Run: make train DATA=log.csv" >&2; exit 2; }

# TensorFlow has no wheels for later versions of Python yet.
$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
		echo "watchnext needs Python 3.11, 3.12 or 3.13, but $(PYTHON) is: $$($(PYTHON) --version 2>&1)" >&2; \
		echo "Name one of these, for example: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	@touch $@

# A stamp is removed before pip starts and written after it ended well, so an interrupted install leaves none.
# dev.txt holds all of demo.txt in the same versions, so the larger install serves for both.
define install
	@rm -f $(DEMO) $(DEV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r $<
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(1)
endef

$(DEMO): requirements/demo.txt pyproject.toml $(CREATED)
	$(call install,$(DEMO))

$(DEV): requirements/dev.txt pyproject.toml $(CREATED)
	$(call install,$(DEMO) $(DEV))
