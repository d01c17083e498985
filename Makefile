# Needs make and Python 3.11 or newer; everything else is fetched into .venv.
#
#   make demo    a site on http://127.0.0.1:$(PORT), with a session server it starts itself
#   make test    the test suite, against a real server it starts itself
#   make help    everything else

PYTHON ?= python3
PORT ?= 8000
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet

# What starts whole deployments or one server after the other, five minutes in all; `make matrix` and .ci/run
# leave nothing out.
LEFT_TO_CI := $(addprefix --ignore=tests/,test_deployment.py test_examples.py test_footing.py test_moving_sites.py \
  test_rolling_sites.py test_sizing.py test_whole_moves.py)

# An interpreter that is missing is never downloaded, and the machine's certificates are trusted, as pip does.
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := true

.PHONY: help demo test browser screenshots bench fuzz lint types docs matrix clean FORCE
.DEFAULT_GOAL := help

help:
	@echo "make demo    run the example site; PORT=8000"
	@echo "make test    run the tests; ARGS='-k name' goes to pytest"
	@echo "make browser look at the pages with the Chromium of this machine"
	@echo "make screenshots make the pictures of the documentation anew, with the same Chromium"
	@echo "make bench   compare the speed with what else there is, in four minutes; ARGS='--quick' tries it"
	@echo "make fuzz    try changed inputs on what reads them; ARGS='--minutes 120'"
	@echo "make lint    check formatting, rules and the directions of imports"
	@echo "make types   mypy --strict on the package"
	@echo "make docs    build the documentation into docs/_build/html"
	@echo "make matrix  run the tests on every Django, Python and redis-py found here"
	@echo "make clean   remove everything that can be made again"
	@echo
	@echo "PYTHON=python3.13 chooses the interpreter of $(VENV)."

demo: $(VENV)/.has-demo
	@exec $(BIN)/python testproject/manage.py demo --port $(PORT)

test: $(VENV)/.has-test
	@exec $(BIN)/python -m pytest -n auto --dist loadfile $(LEFT_TO_CI) $(ARGS)

browser: $(VENV)/.has-browser
	@exec $(BIN)/python -m pytest tests/test_browser.py tests/test_browser_admin.py $(ARGS)

screenshots: $(VENV)/.has-browser
	@exec $(BIN)/python -m tools.screenshots $(ARGS)

bench: $(VENV)/.has-bench
	@exec $(BIN)/python -m benchmarks $(ARGS)

fuzz: $(VENV)/.has-test
	@exec $(BIN)/python -m tools.fuzz $(ARGS)

lint types docs: $(VENV)/.has-tox
	@exec $(BIN)/tox run -e $@

matrix: $(VENV)/.has-tox
	@exec $(BIN)/tox run --skip-missing-interpreters true $(ARGS)

clean:
	rm -rf $(VENV) .tox .demo build dist docs/_build .coverage .coverage.* \
	  .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# An extra is installed again only when pyproject.toml changed.
$(VENV)/.has-demo $(VENV)/.has-test $(VENV)/.has-browser $(VENV)/.has-bench: $(VENV)/.has-%: pyproject.toml $(VENV)/.python
	@echo "Installing what \`make $*\` needs into $(VENV) ..."
	@$(PIP) --editable '.[$*]'
	@touch $@

$(VENV)/.has-tox: tox.ini $(VENV)/.python
	@$(PIP) 'tox>=4.30' 'tox-uv>=1.28'
	@touch $@

# Remembers which Python made the environment. The rule runs each time and writes only when the answer changed.
$(VENV)/.python: FORCE
	@tools/make_venv.sh '$(PYTHON)' '$(VENV)' '$(origin PYTHON)'

FORCE:
