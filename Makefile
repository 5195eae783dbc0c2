# The two commands of the README are `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CACHE ?= $(CURDIR)/.cache

.PHONY: help demo demo-stop test check unit fuzz advisories bench scale tidy clean

help: ## Say what can be made
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Set up this machine, build the example images for two platforms, one as a task of Koji, show the result
	@scripts/setup.sh demo
	@scripts/demo.sh "$(CACHE)"

demo-stop: ## Stop what the demo started: registry, Koji hub and builder
	@scripts/demo-koji.sh stop "$(CACHE)/demo"
	@scripts/registry.sh stop "$(CACHE)/demo/registry"

test: ## Run every test, the real ones included
	@scripts/setup.sh test
	@scripts/test.sh "$(CACHE)"

check: ## Formatting, lints and layout only
	cargo fmt --all --check
	cargo xtask tidy
	cargo clippy --workspace --all-targets -- -D warnings

unit: ## The tests that need nothing but Rust
	OSBS_TEST_SKIP_REAL=1 cargo test --workspace

fuzz: ## Run fuzz targets: TARGET=dockerfile (default: all), SECONDS=600 each
	@scripts/setup.sh test
	@scripts/fuzz.sh "$(CACHE)" "$(or $(SECONDS),60)" $(TARGET)

advisories: ## Ask the network whether a dependency has a known hole
	@scripts/supply-chain.sh "$(CACHE)" advisories

bench: ## Race the worker's job against buildah, podman, Docker and BuildKit; time a log line's way to Koji
	@scripts/setup.sh test
	cargo build --release --package osbs
	@bench/run.sh "$(CACHE)"
	@bench/figures.py --write
	@bench/koji_latency.py --write

scale: ## Play a day of 10,000 images on 20 clusters; write docs/scale.md and its plots
	cargo build --release --package osbs-reactor --example scale
	@mkdir -p "$(CACHE)"
	target/release/examples/scale >"$(CACHE)/scale.json"
	target/release/examples/scale 150 >"$(CACHE)/scale-150.json"
	@bench/scale.py "$(CACHE)/scale.json" "$(CACHE)/scale-150.json" --write

tidy: ## Layout only
	cargo xtask tidy

clean: demo-stop ## Remove what was built, and the demo's data
	rm -rf "$(CACHE)" target
