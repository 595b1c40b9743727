# make demo    install, train on real images, end by saying where the report is
# make test    install with the test extras, lint, types, layers, tests
# make check   what make test runs, without installing
# make bench   timings as ratios, side by side in one run
# make bench-models  every family of networks against torchvision's and timm's
# make bench-steps   where a training step's time goes, network by network, and how near to the machine's peak
# make bench-peers   training against Keras, Lightning, fastai and the plain loop, to the same accuracy
# make bench-loading photographs to batches against Pillow in a torch DataLoader, first and later epochs
# make bench-streaming  tar shards to batches against memory and WebDataset, and the memory that streaming takes
# make bench-curves  seconds to an accuracy of the recipe `fast`, over three seeds
# make proofs  the long proofs: every network through every check, kills and resumes, full training runs
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

LENIENT := $(addprefix --disable-error-code=,arg-type assignment call-overload comparison-overlap import-not-found \
	import-untyped index list-item misc name-defined no-any-return no-untyped-call operator return-value type-var union-attr \
	var-annotated)

.PHONY: demo test check bench bench-models bench-steps bench-peers bench-loading bench-streaming bench-curves proofs clean

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
	$(BIN)/mypy $(LENIENT) benchmarks/*.py  # that they call what there is; their packages need not be here
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto  # a process a core, one thread each

bench: $(VENV)/test $(VENV)-peers/made
	$(BIN)/python benchmarks/training.py --keras $(VENV)-peers/bin/python

bench-models: $(VENV)-reference/made
	$(VENV)-reference/bin/python benchmarks/models.py

bench-steps: $(VENV)/test
	$(BIN)/python benchmarks/steps.py

bench-peers: $(VENV)/test $(VENV)-peers/made $(VENV)-peers-torch/made
	$(BIN)/python benchmarks/peers.py \
		--keras-python $(VENV)-peers/bin/python --torch-python $(VENV)-peers-torch/bin/python

bench-loading: $(VENV)/test
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/loading.py --reduced
	$(BIN)/python benchmarks/loading.py --files 1300000

bench-streaming: $(VENV)/test
	$(BIN)/python benchmarks/streaming.py
	$(BIN)/python benchmarks/streaming.py --memory

bench-curves: $(VENV)/test
	$(BIN)/python benchmarks/curves.py --recipe fast

proofs: $(VENV)/test
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m proof
	$(BIN)/python benchmarks/imagenet_photos.py
	$(BIN)/python benchmarks/corpora.py --fuzz 10000
	$(BIN)/python benchmarks/kills.py
	$(BIN)/python benchmarks/terms.py
	$(BIN)/python benchmarks/ranks.py
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

# Keras brings its own NumPy and protobuf: an environment of its own, with all its backends.
$(VENV)-peers/made:
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/pip install --quiet tensorflow-cpu==2.21.0 keras==3.15.1
	$(VENV)-peers/bin/pip install --quiet -c constraints.txt torch==2.13.0 'jax[cpu]==0.10.2'
	touch $@

# torchvision before fastai, and without its dependencies, which would replace this torch.
$(VENV)-peers-torch/made:
	$(PYTHON) -m venv $(VENV)-peers-torch
	$(VENV)-peers-torch/bin/pip install --quiet -c constraints.txt -e .
	$(VENV)-peers-torch/bin/pip install --quiet --no-deps torchvision==0.28.0
	$(VENV)-peers-torch/bin/pip install --quiet -c constraints.txt lightning==2.6.6 fastai==2.8.12
	touch $@

# torchvision and timm beside this torch: without their dependencies, which would replace it.
$(VENV)-reference/made:
	$(PYTHON) -m venv $(VENV)-reference
	$(VENV)-reference/bin/pip install --quiet -c constraints.txt -e . pyyaml huggingface_hub
	$(VENV)-reference/bin/pip install --quiet --no-deps torchvision==0.28.0 timm==1.0.31
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-peers $(VENV)-peers-torch $(VENV)-reference build dist .mypy_cache .ruff_cache .pytest_cache
