# Three commands: `make test` checks everything, `make demo` shows the main job, `make docs` builds the site.
# Each prepares the environment in .venv first; a second call finds it ready.

PYTHON ?= >=3.11,<3.14
UV := scripts/uv
BIN := .venv/bin
READY := .venv/.ready
SITE := .venv/.site-ready
SITE_OUTPUT := docs/_build docs/generated docs/gallery docs/examples/shared

# A process for each core, but four at most: each takes up to 2 GB. All tests of a file go to one
# process, and of some folders (tests/conftest.py), so that what they share (trained classifiers, a
# wheel) is made once; worksteal makes it in every process. In the order of their names the files of the docks come last, small enough for no
# process to wait long. PYTEST="tests/cli -n 0" runs a part in this process.
SPREAD := -n logical --maxprocesses=4 --dist loadfile --no-loadscope-reorder

.DELETE_ON_ERROR:
.PHONY: demo test install system check format lint types floors unit docs linkcheck clean

demo: install
	$(BIN)/napari-why demo $(if $(DATA),--data "$(DATA)") --out demo-output

test: install check unit

install: system $(READY)

system:
	@scripts/system_libraries

$(READY): pyproject.toml CITATION.cff constraints.txt
	@test -x $(BIN)/python || $(UV) venv --quiet --python "$(PYTHON)" .venv
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e ".[all]" --group dev
	@touch $@

check: format lint types floors

format: install
	$(BIN)/ruff format --check .

lint: install
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

floors: install
	$(BIN)/lint-imports

# Also where Python is told to keep no compiled files: the processes that tests start would compile the
# source anew, each of them.
unit: install
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(SPREAD) --durations=10 $(PYTEST)

# Always whole: a page that was read before warns no more, and examples share what the first one trains.
# QUICK=1 leaves out what is computed: examples, pictures of methods, windows.
docs: system $(SITE)
	rm -rf $(SITE_OUTPUT)
	$(if $(QUICK),NAPARI_WHY_SITE=quick) $(BIN)/python -m sphinx -b html -n -W --keep-going docs docs/_build/html

# Goes online, so it is asked for by itself.
linkcheck: system $(SITE)
	NAPARI_WHY_SITE=quick $(BIN)/python -m sphinx -b linkcheck docs docs/_build/linkcheck

$(SITE): $(READY)
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt --group docs
	@touch $@

clean:
	rm -rf .venv .uv demo-output $(SITE_OUTPUT)
