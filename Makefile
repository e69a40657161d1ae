# What one does with this project, one target each. `make` alone lists them. The longer ones are scripts in scripts/.

SHELL := bash
# Cargo.lock is part of the project: nothing here changes it.
CARGO := cargo
LOCKED := --locked
# Passed on: `make serve ARGS="-c gatepost.yaml"`, `make bench ARGS="--only call-32"`.
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install serve build test test-integration test-contract test-e2e test-perf install-peers \
        lint check security-scan fuzz crash bench docs container

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# --- use it ---------------------------------------------------------------------------------------------------------------

serve: ## build and start the gate over this folder, or what ARGS says
	$(CARGO) run --release $(LOCKED) -p gatepost-cli -- serve $(ARGS)

install: ## build with optimisation and put `gatepost` into ~/.cargo/bin
	$(CARGO) install $(LOCKED) --path crates/cli

build: ## build target/release/gatepost
	$(CARGO) build --release $(LOCKED) -p gatepost-cli

container: ## build the container image with podman or docker
	scripts/container.sh $(ARGS)

# --- is it right? -----------------------------------------------------------------------------------------------------------

check: lint test ## what CI runs

lint: ## formatting, clippy, docs, dependencies, shell scripts: no warnings
	scripts/lint.sh

test: ## install what tests need, run everything, say what was skipped and why
	scripts/test.sh all

test-integration: ## whole-path tests against our own fixtures
	scripts/test.sh integration

test-contract: install-peers ## the MCP conformance suite, directly and through the gate
	scripts/test.sh contract

test-e2e: install-peers ## real clients and servers from npm and PyPI
	scripts/test.sh e2e

test-perf: build ## half a minute of the benchmark: prints ratios, asserts no times
	$(CARGO) run --release $(LOCKED) -p gatepost-bench -- run --quick $(ARGS)

install-peers: ## install the real clients and servers that tests run against (.cache/peers)
	scripts/install-test-peers.sh

fuzz: ## fuzz every parser for five minutes each, or SECONDS=n
	scripts/fuzz.sh $(or $(SECONDS),300)

crash: ## kill -9 at random points under load, ROUNDS=n (500): nothing acknowledged is lost
	GATEPOST_CRASH_ROUNDS=$(or $(ROUNDS),500) $(CARGO) test --release $(LOCKED) -p gatepost-audit --test crash -- --nocapture
	GATEPOST_CRASH_ROUNDS=$(or $(ROUNDS),500) $(CARGO) test --release $(LOCKED) -p gatepost-cli --test crash -- --nocapture

security-scan: ## known vulnerabilities, licences, banned crates, sources of every dependency
	scripts/security-scan.sh

# --- look closer ------------------------------------------------------------------------------------------------------------

bench: build ## the side-by-side benchmark: direct, nginx, Gatepost (about ten minutes)
	$(CARGO) run --release $(LOCKED) -p gatepost-bench -- run $(ARGS)

docs: ## the API documentation, into target/doc
	$(CARGO) doc --workspace --no-deps --lib $(LOCKED)
	@echo "open target/doc/gatepost_gateway/index.html"
