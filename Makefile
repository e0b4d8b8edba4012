# The recipes that people and CI run alike. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
CARGO := cargo
# One profile for programs and tests: nothing is compiled twice.
PROFILE := --release --locked

.PHONY: help up build test lint unit e2e tools test-long bench deny clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

build: ## every program, into target/release
	$(CARGO) build $(PROFILE) --workspace --bins

up: build ## the whole stack in the foreground; Ctrl-C stops it
	@exec target/release/alphaswarm up $(ARGS)

test: tools lint build unit e2e ## what CI runs
	@echo "skipped suites: none"

lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(PROFILE) --workspace --all-targets -- -D warnings

unit: ## unit and property tests of every crate
	$(CARGO) test $(PROFILE) --workspace --exclude e2e

e2e: tools build ## end-to-end tests on real Envoy and nginx
	$(CARGO) test $(PROFILE) -p e2e

tools: ## what the end-to-end tests need beside Rust: Envoy, nginx
	@bash e2e/tools.sh

test-long: build tools ## the tests that take longer than CI allows
	$(CARGO) test $(PROFILE) --workspace -- --ignored

bench: build tools ## measures, prints tables, writes target/bench/report.json
	$(CARGO) bench --locked -p benches --bench decide
	target/release/alphaswarm-bench

deny: ## licences, bans, sources, advisories (needs cargo-deny)
	cargo deny --locked check

clean: ## removes build products and the dev stack's state
	$(CARGO) clean
	rm -rf .alphaswarm
