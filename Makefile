# `make serve` sets up and serves; `make test` sets up and checks everything.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
VENV := .venv
DEV := .venv-dev
export BENTOML_DO_NOT_TRACK := True

.PHONY: serve test install install-dev install-others lint types check models wheel bento bento-gpu image image-gpu footprint bench proto page clean

serve: install
	$(VENV)/bin/cxrserve serve

# The tests run from the development environment; the service they start runs from the serving
# one, so that they prove it needs no torch.
test:
	$(MAKE) --jobs=3 --output-sync=target install install-dev install-others
	$(MAKE) page || echo "no ONNX Runtime Web: the tests of reading on the device are skipped" >&2
	$(MAKE) lint types
	CXRSERVE_SERVING_PYTHON=$(abspath $(VENV))/bin/python $(DEV)/bin/python -m pytest

# What tests run beside the service. Without it they say that they are skipped.
install-others:
	.ci/debian-packages
	.ci/debian-binaries prometheus haproxy || \
		echo "no Prometheus, no HAProxy: the tests that run them are skipped" >&2
	load_tests/peers/environments triton perf_analyzer callers || \
		echo "no Triton, perf_analyzer or Locust: the tests that ask them are skipped" >&2

lint:
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .

types:
	$(DEV)/bin/mypy

install: $(VENV)/.installed
install-dev: $(DEV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	.ci/virtual-environment $(PYTHON) $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(DEV)/.installed: pyproject.toml constraints.txt constraints-dev.txt
	.ci/virtual-environment $(PYTHON) $(DEV)
	$(DEV)/bin/python -m pip install --quiet --constraint constraints.txt \
		--constraint constraints-dev.txt --editable '.[train,dev]'
	@touch $@

# Remakes the committed packages from DATA, a folder with a manifest.csv (docs/training.md): about
# three hours on two cores. A stopped run goes on where it was; each recipe builds on those before it.
RECIPES := lungs-unet nih14-efficientnet-lite0 chexml-efficientnet-lite0 chexml-teacher \
	tb-mobilenetv2 nih14-densenet121 chexml-resnet50-start chexml-resnet50 nih14-mobilenetv2 nih14-cnn
CANDIDATES := triage-efficientnet-lite0 triage-mobilenetv2 triage-mobilenetv2-128 triage-plain-cnn
TEACHERS := nih14-efficientnet-lite0 chexml-efficientnet-lite0 chexml-teacher chexml-resnet50-start

models: install-dev
	set -e; for recipe in $(RECIPES) $(CANDIDATES); do \
		$(DEV)/bin/cxrserve train --recipe $$recipe --data $(DATA); done
	set -e; for recipe in $(filter-out $(TEACHERS),$(RECIPES)); do \
		$(DEV)/bin/cxrserve evaluate --recipe $$recipe --data $(DATA); \
		$(DEV)/bin/cxrserve export --recipe $$recipe --data $(DATA); done
	$(DEV)/bin/cxrserve select --selection triage --data $(DATA)

# docs/container.md: the images without torch and with it.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BENTOML := $(abspath $(VENV))/bin/python -m bentoml
REVISION = org.opencontainers.image.revision=$$(git -C $(CURDIR) rev-parse HEAD)

# setuptools keeps in build/ what was deleted here.
wheel: install
	rm -rf build dist
	$(VENV)/bin/python -m pip wheel --quiet --no-deps --wheel-dir dist .

bento: wheel
	$(BENTOML) build --output tag

bento-gpu: wheel
	$(BENTOML) build --bentofile bentofile.gpu.yaml --output tag

# From /: BentoML takes no template from outside the folder that it is started in (its issue 5566).
image: bento
	cd / && $(BENTOML) containerize cxrserve:latest --image-tag cxrserve:$(VERSION) --opt label=$(REVISION)

image-gpu: bento-gpu
	cd / && $(BENTOML) containerize cxrserve-gpu:latest --image-tag cxrserve-gpu:$(VERSION) --opt label=$(REVISION)

# Prints the table of docs/footprint.md.
footprint: install
	$(VENV)/bin/python load_tests/footprint.py

# The service, its peers, both offline limits, and what is asked of ours alone (docs/benchmark.md);
# about three hours, on a machine that does nothing else.
BENCH := $(DEV)/bin/python -m load_tests.bench
bench: install install-dev
	load_tests/peers/environments
	$(BENCH) --model nih14-densenet121 --cores one --offline-gate --out load_tests/results/densenet121-one-core.json
	$(BENCH) --model nih14-densenet121 --cores all --offline-gate --out load_tests/results/densenet121-all-cores.json
	$(BENCH) --model triage --cores one --offline-gate --out load_tests/results/triage-one-core.json
	$(BENCH) --model triage --scenario burst --out load_tests/results/burst.json
	$(BENCH) --model nih14-densenet121 --scenario overload --out load_tests/results/overload.json
	$(BENCH) --model nih14-densenet121 --scenario agreement --out load_tests/results/agreement.json
	$(BENCH) --model nih14-densenet121 --scenario soak --out load_tests/results/soak.json

# Brings ONNX Runtime Web, with which the page reads films on its user's own device (docs/page.md).
page: install
	$(VENV)/bin/python -m cxrserve.page.vendor

# Remakes the code of src/cxrserve/v1 from its proto file.
proto: install-dev
	$(DEV)/bin/python -m grpc_tools.protoc -Isrc --python_out=src --pyi_out=src \
		--grpc_python_out=src cxrserve/v1/radiology.proto

clean:
	rm -rf $(VENV) $(DEV) dist build runs
