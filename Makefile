# make demo    install, train on real images, end by saying where the report is
# make test    install with the test extras, lint, types, layers, tests
# make check   what make test runs, without installing
# make bench   timings as ratios, side by side in one run
# make proofs  the long proofs: every network through every check, kills and resumes, full training runs
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check bench proofs clean

demo: $(VENV)/demo
	$(BIN)/sightline data get cifar10
	$(BIN)/sightline train cifar10
	@echo "The newest folder under runs/ holds the bundle and its report.html."

test: $(VENV)/test
	$(MAKE) check

check:
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

bench: $(VENV)/test $(VENV)-peers/made
	$(BIN)/python benchmarks/training.py --keras $(VENV)-peers/bin/python

proofs: $(VENV)/test
	$(BIN)/pytest -m proof
	$(BIN)/python benchmarks/kills.py
	$(BIN)/python benchmarks/claim.py

# A stamp a set of extras: made again when the dependencies change.
$(VENV)/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[export,tensorboard]'
	touch $@

$(VENV)/test: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[export,tensorboard,test]'
	touch $@

# Keras brings its own NumPy and protobuf: an environment of its own.
$(VENV)-peers/made:
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/pip install --quiet tensorflow-cpu==2.21.0 keras==3.15.1
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-peers build dist .mypy_cache .ruff_cache .pytest_cache
