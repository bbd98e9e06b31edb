# Every target is a thin name for a script or a cargo command; `make` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

STACK := deploy/local/stack.sh
CARGO := cargo
SERVICES := collector validator asset-lookup enricher aggregator anomaly-detector health-scorer tsdb-sink auditor
IMAGES := $(SERVICES) topics fleet-sim
VERSION ?= dev

.PHONY: help up down status logs clean build fmt lint doc test e2e check deny shellcheck k8s-check bench bench-restore chaos chaos-run chaos-short chaos-brokers chaos-compare chaos-failover chaos-build images

##@ Local stack
up: ## Start Kafka, PostgreSQL, every service and a simulated fleet, and show them at work
	@$(STACK) up

status: ## Show services, rates, lag, rows, latest alerts and lowest scores
	@$(STACK) status

logs: ## Follow the logs, of one service with SERVICE=name
	@$(STACK) logs $(SERVICE)

down: ## Stop everything; data stays
	@$(STACK) down

clean: ## Stop everything and remove its data
	@$(STACK) clean

##@ Develop
build: ## Build everything, as released
	@$(STACK) install
	$(CARGO) build --workspace --release --locked

fmt: ## Format the code
	$(CARGO) fmt --all

lint: ## Clippy, warnings denied
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

doc: ## Build the documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked

##@ Prove
test: ## All tests, on a real Kafka and a real PostgreSQL of their own
	@$(STACK) install
	@$(STACK) with-test-services $(CARGO) test --workspace --locked --no-fail-fast -- --quiet

e2e: ## The end-to-end tests alone
	@$(STACK) install
	@$(STACK) with-test-services $(CARGO) test -p e2e --locked -- --quiet

check: ## Formatting, lints, documentation, licences, manifests, shell scripts
	$(CARGO) fmt --all --check
	@$(MAKE) lint
	@$(MAKE) doc
	@$(MAKE) deny
	@$(MAKE) k8s-check
	@$(MAKE) shellcheck

deny: ## Licences, bans, sources and, where reachable, advisories of the dependencies
	@deploy/local/deny.sh

shellcheck: ## The shell scripts
	@if command -v shellcheck >/dev/null; then \
	  shellcheck -a -x -P SCRIPTDIR deploy/local/*.sh .ci/run && echo "shellcheck: clean"; \
	else echo "shellcheck: skipped, it is not installed"; fi

k8s-check: ## Render the Kubernetes manifests and refuse unknown fields
	@if [ -x deploy/k8s/check.sh ]; then deploy/k8s/check.sh; else echo "k8s-check: skipped, there are no manifests yet"; fi

bench: ## Events per CPU-second of each stage beside a bare librdkafka loop, and raw-to-alert latency
	@$(STACK) install
	$(CARGO) build --release --locked -p bench -p topics $(addprefix -p ,$(SERVICES))
	@target/release/bench all

bench-restore: ## A million keys of 2 KB restored by eight instances, in both modes of state; 25 s is the limit
	@$(STACK) install
	$(CARGO) build --release --locked -p bench
	$(CARGO) build --release --locked -p chassis --example counter
	@target/release/bench restore --floors
	@target/release/bench restore --floors --state rolling

chaos: chaos-run chaos-brokers chaos-compare ## Strike the fleet, prove that nothing is lost or doubled, and Kafka Streams beside it; SEED= DURATION=3m CHAOS=

chaos-run: chaos-build ## Strike the whole fleet; SEED= replays, DURATION=3m, CHAOS="--short"
	@target/release/chaos run $(if $(SEED),--seed $(SEED)) $(if $(DURATION),--duration $(DURATION)) $(CHAOS)

chaos-brokers: chaos-build ## The same with three brokers, which are struck too; SEED= DURATION=3m
	@target/release/chaos run --three-brokers --records-per-second 500 $(if $(SEED),--seed $(SEED)) $(if $(DURATION),--duration $(DURATION))

chaos-short: ## Strike the whole fleet for a minute and a half, with what `make test` has built
	@$(STACK) install
	$(CARGO) build --workspace --bins --tests --locked
	@target/debug/chaos run --short --seed $(or $(SEED),1)

chaos-compare: chaos-build ## The same blows for our stages and for Kafka Streams', side by side; SEED=
	@deploy/local/peer.sh
	@target/release/chaos compare --short --records-per-second 1000 $(if $(SEED),--seed $(SEED))

chaos-failover: chaos-build ## How long a partition waits when its member dies or restarts; needs an idle machine
	@target/release/chaos failover

chaos-build:
	@$(STACK) install
	$(CARGO) build --release --locked -p chaos -p topics $(addprefix -p ,$(filter-out collector,$(SERVICES)))

##@ Release
images: ## Build a container image of every service; VERSION=dev
	@for name in $(IMAGES); do \
	  docker build --build-arg SERVICE=$$name --tag gpu-health-monitor/$$name:$(VERSION) .; \
	done

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
