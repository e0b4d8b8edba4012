# The recipes that people and CI run alike. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
CARGO := cargo
# One profile for programs and tests: nothing is compiled twice.
PROFILE := --release --locked

.PHONY: help up build test lint unit e2e module tools test-long bench bench-peers fuzz chaos soak deny clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The libraries, too: one of them is Envoy's module.
build: ## every program, into target/release
	$(CARGO) build $(PROFILE) --workspace --bins --lib

up: build ## the whole stack in the foreground, Ctrl-C stops it: PACKAGING=module decides inside Envoy
	@exec target/release/alphaswarm up $(if $(PACKAGING),--packaging $(PACKAGING)) $(ARGS)

test: tools lint build ## what CI runs: formatting, clippy, every test on real parts
	@rm -f target/skipped
	$(CARGO) test $(PROFILE) --workspace
	$(MAKE) --no-print-directory module
	@if [ -s target/skipped ]; then echo "skipped:"; sort -u target/skipped; else echo "skipped suites: none"; fi

lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(PROFILE) --workspace --all-targets -- -D warnings

# `--workspace` stands in every recipe, also where one crate would do: cargo unifies features over what is selected, and
# another selection would build half of the dependencies a second time.
unit: tools ## unit and property tests only
	$(CARGO) test $(PROFILE) --workspace --lib

e2e: tools build ## end-to-end tests only: real Envoy, nginx, our programs
	$(CARGO) test $(PROFILE) --workspace --test edge

# Stacks decide inside Envoy; what these suites expect is the same.
SUITES := good_tokens:: bad_tokens:: spoofing:: step_up:: revocation:: policy_reload:: moves_by_hand:: driven_moves:: \
	assertions:: cell_bound:: up::
module: tools build ## the end-to-end suites of the decision once more, decided inside Envoy
	ALPHASWARM_PACKAGING=module $(CARGO) test $(PROFILE) --workspace --test edge -- $(SUITES)

tools: ## what the end-to-end tests need beside Rust
	@bash e2e/tools.sh

test-long: build tools ## the tests that take longer than CI allows
	$(CARGO) test $(PROFILE) --workspace -- --ignored < /dev/null

# Estimates of an older run must not end up in this one's report. `--workspace` as above: nothing is built twice.
bench: build ## measures, prints tables, writes target/bench/report.md with plots and report.json (about half an hour)
	rm -rf target/criterion
	$(CARGO) bench --locked --workspace --bench decide
	target/release/alphaswarm-bench $(ARGS)

bench-peers: build ## measures other makers' servers beside ours (about 15 minutes; needs Go 1.24 and Python)
	bash benches/peers/build.sh
	target/release/alphaswarm-bench --only peers $(ARGS)

# The same seed and length give the same faults at the same times. The last line is JSON; not 0 unless it says ok.
SEED := 1
MINUTES := 30
chaos: build ## faults of every kind under load, with an oracle: SEED=1 MINUTES=30 RATE=700
	@exec target/release/alphaswarm-chaos run --seed $(SEED) --minutes $(MINUTES) $(if $(RATE),--rate $(RATE)) $(ARGS)

soak: build ## memory and descriptors under load, rotations and moves: SEED=1 MINUTES=30 RATE=1000
	@exec target/release/alphaswarm-chaos soak --seed $(SEED) --minutes $(MINUTES) $(if $(RATE),--rate $(RATE)) $(ARGS)

# cargo-fuzz brings libFuzzer and AddressSanitizer, which need a nightly compiler. What a run learns stays in
# fuzz/corpus, what it finds in fuzz/artifacts. Leaks are looked for once, at the end: after every input it takes longer
# than the input.
FUZZ := token jwks check differential
RUNS := 1000000
MAX_LEN := 4096
fuzz: ## fuzzes FUZZ="token jwks check differential", RUNS=1000000 each (needs nightly and cargo-fuzz)
	cargo +nightly fuzz build
	@set -e; for target in $(FUZZ); do \
	  fuzz/target/*/release/seeds $$target fuzz/corpus/$$target; \
	  cargo +nightly fuzz run $$target -- -runs=$(RUNS) -max_len=$(MAX_LEN) -timeout=60 -detect_leaks=0 -rss_limit_mb=1024 -print_final_stats=1; \
	done

deny: ## licences, bans, sources, advisories (needs cargo-deny)
	cargo deny --locked check

clean: ## removes build products and the dev stack's state
	$(CARGO) clean
	rm -rf .alphaswarm
