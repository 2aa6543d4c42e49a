# The two commands of the README are `make demo` and `make test`; each makes what it needs from nothing.
# Python 3.11 to 3.13 is the one prerequisite. `make help` lists the rest.
SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# pip reads the range of every dependency from pyproject.toml and the exact version from constraints.txt.
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: help demo demo-full dev test unit fuzz long fmt lint types imports unused check cov kafka prometheus bench docs verify-docker verify-testnet constraints clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.run ## Run all of Laurel on this machine, and compare the outcome with what is expected.
	$(BIN)/laurel demo $(ARGS)

demo-full: $(VENV)/.run ## The same with 100 000 events; at the end the database is lost, and a backup takes over.
	$(BIN)/laurel demo --full $(ARGS)

dev: $(VENV)/.run ## Keep the whole stack up until Ctrl-C.
	$(BIN)/laurel dev $(ARGS)

test: $(VENV)/.dev ## Run all tests (a real Kafka and PostgreSQL 15 too, where found), shared by N=3 processes.
	$(BIN)/pytest -n $(or $(N),3) --dist loadscope --max-worker-restart=0 $(ARGS)

# Bytecode is kept even where the shell says not to: compiling anew is a quarter of the work.
unit: $(VENV)/.dev ## Run the tests that need no server: a few seconds.
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --unit --hypothesis-profile=unit -q $(ARGS)

fuzz: $(VENV)/.dev ## Look for records that Laurel cannot take, for FUZZ=60 seconds.
	$(BIN)/python tests/fuzz.py --seconds $(or $(FUZZ),60)

long: $(VENV)/.dev .cache/kafka/.fetched ## Run what takes too long for every run: 1 200 MB of compressed garbage through a worker of 700 MB, and some hundred histories of chance, undisturbed and killed.
	LONG_TESTS=1 LAUREL_REQUIRE_ALL_PARTS=1 $(BIN)/pytest tests/e2e/test_large_messages.py tests/processor/batch/test_equality.py tests/chaos/test_random_kills.py $(ARGS)

cov: $(VENV)/.dev ## Run tests and say which lines of each package they reach (ARGS="tests/store").
	rm -f .cache/coverage/.coverage*
	mkdir -p .cache/coverage
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine -q
	@for package in processor minter store ops sandbox demo; do \
	  printf '%-10s %s %%\n' $$package "$$($(BIN)/coverage report --include="$$package/*" --format=total)"; done
	$(BIN)/coverage html -q -d .cache/coverage/html

fmt: $(VENV)/.dev ## ruff: fix what can be fixed, and format.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: $(VENV)/.dev ## ruff: rules and format.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy --strict.
	$(BIN)/mypy

imports: $(VENV)/.dev ## The import rules of docs/architecture.md.
	$(BIN)/lint-imports --no-cache

unused: $(VENV)/.dev ## vulture: code that nothing but tests calls.
	$(BIN)/vulture

check: lint types imports unused ## All that needs no server.

kafka: .cache/kafka/.fetched ## Fetch Apache Kafka's jars for the tests (Java 17 and Maven).

.cache/kafka/.fetched: third_party/kafka/pom.xml
	rm -rf $(@D)
	mvn -q -B -f $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(@D)
	touch $@

prometheus: .cache/prometheus/.fetched ## Fetch Debian's Prometheus and promtool for the tests; nothing is installed.

# Beside the machine's own programs: installing the package would start a server at port 9090.
.cache/prometheus/.fetched:
	rm -rf $(@D)
	mkdir -p $(@D)/package
	cd $(@D)/package && apt-get -q download prometheus
	dpkg -x $(@D)/package/prometheus_*.deb $(@D)
	rm -r $(@D)/package
	touch $@

bench: $(VENV)/.dev .cache/quix/.made ## Print the benchmarks' ratios (half an hour; never part of the tests).
	$(BIN)/python -m benchmarks

# An environment of its own: Quix Streams wants older confluent-kafka and pydantic than Laurel has.
.cache/quix/.made: benchmarks/quix-requirements.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check -q install --only-binary ':all:' -r $<
	touch $@

docs: $(VENV)/.dev ## Write docs/cli.md, docs/metrics.md and docs/events from the code.
	$(BIN)/python docs/generate.py

verify-docker: ## Build the images, start docker-compose.yml's whole stack, and see one event become a token (Docker 25, Compose 2.24).
	deploy/verify-docker.sh

verify-testnet: $(VENV)/.run ## Mint, read and revoke a token on TON's testnet: WORDS=wallet.words CONFIG=testnet-global.config.json METADATA=https://...
	$(BIN)/python deploy/verify_testnet.py --words "$(WORDS)" --config "$(CONFIG)" --metadata "$(METADATA)" $(ARGS)

constraints: ## Resolve constraints.txt anew from pyproject.toml.
	rm -rf .cache/resolve && $(PYTHON) -m venv .cache/resolve
	.cache/resolve/bin/python -m pip -q install ./third_party/crc16
	.cache/resolve/bin/python -m pip -q install -e '.[sandbox,dev,spark]'
	.cache/resolve/bin/python -m pip freeze --exclude-editable | grep -v '^crc16' > constraints.txt
	rm -rf .cache/resolve

clean: ## Remove what these targets made.
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Laurel needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# The library of the local TON network comes in wheels for Python 3.11 only, and loads in later ones as it is.
EMULATOR := $$(awk '/^pytvm==/' constraints.txt)
SITE := $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

# crc16 first: with the shim in place pip has no reason to build the C source of that name (docs/adr/0003-crc16-shim.md).
$(VENV)/.run: $(VENV)/.python pyproject.toml constraints.txt third_party/crc16/pyproject.toml third_party/crc16/crc16.py
	@echo "Fetching some 90 Python packages into $(VENV), once: a minute or two without a word, more on a slow line."
	$(PIP) install ./third_party/crc16
	$(PIP) install --only-binary ':all:' -c constraints.txt -e '.[sandbox]'
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then \
	  $(PIP) install --python-version 3.11 --only-binary ':all:' --no-deps --upgrade --target "$(SITE)" "$(EMULATOR)"; fi
	@echo "The packages are there."
	touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Fetching what the tests need as well, once: half a minute or so."
	$(PIP) install --only-binary ':all:' -c constraints.txt -e '.[sandbox,dev]'
	touch $@
