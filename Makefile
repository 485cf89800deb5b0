# Every target sets up what it needs; nothing here must be run in an order.

# Rust's installer puts cargo here, but only new login shells know it.
export PATH := $(PATH):$(HOME)/.cargo/bin

# The agent by itself: built together with the rest it would get their features.
PROGRAMS = cargo build --release -p pipeline-cli -p local-fleet && cargo build --release -p pipeline-agent

# Where `make install` puts things; DESTDIR goes in front of it, for packages.
PREFIX = /usr/local
# The programs to install, and the same for this machine where those are for another.
BUILT = target/release
RUNS = $(BUILT)

# Most tests wait more than they compute.
TEST_THREADS = 4

.DEFAULT_GOAL := help
.PHONY: help setup build install demo fleet test lint bench agents test-agents deb test-package audit clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install the system packages that are missing (apt), check the Rust version
	@scripts/setup.sh

build: setup ## Build pipeline, keytool and the agents for every kind of device, to be installed
	cargo build --release --locked -p pipeline-cli -p keytool
	@scripts/agents.sh

# Builds nothing, so that it can run as root where root has no Rust.
install: ## Install what `make build` built, manual pages and systemd units, below PREFIX (/usr/local)
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(BUILT)/pipeline $(BUILT)/keytool
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/lib/pipeline/agents dist/agents/pipeline-agent-*
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/lib/pipeline examples/notify-mail
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/pipeline docs/*.md examples/pipeline.yaml \
		examples/alerts.yml examples/grafana.json \
		systemd/device/ssh-tunnel.service LICENSE-* dist/agents/THIRD-PARTY-LICENSES.txt
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/pipeline/schema docs/schema/*.json
	for unit in systemd/pipeline-*.service systemd/pipeline-*.timer; do \
		sed 's#/usr/\(bin/pipeline\|share/doc\)#$(PREFIX)/\1#' $$unit | \
			install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/} || exit; \
	done
	for drop_in in pipeline-sync.service.d pipeline-verify.service.d; do \
		install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/pipeline/$$drop_in systemd/$$drop_in/storage.conf || exit; \
	done
	$(RUNS)/pipeline manual $(DESTDIR)$(PREFIX)/share
	$(RUNS)/keytool manual $(DESTDIR)$(PREFIX)/share

demo: setup ## Run the main job on a real fleet on loopback, explained, in a temporary directory
	$(PROGRAMS)
	target/release/local-fleet demo

fleet: setup ## Keep a jump host and four Pis up on loopback, to play with; Ctrl-C ends it
	$(PROGRAMS)
	target/release/local-fleet up

test: setup ## Build, then run every test, the end-to-end ones on real SSH servers included
	@scripts/setup.sh busybox:busybox rdiff:rdiff ansible-inventory:ansible-core perl:perl-base unshare:util-linux pip3:python3-pip
	@scripts/checkers.sh fetch
	cargo build -p pipeline-cli -p keytool
	cargo build -p pipeline-agent
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test --workspace
	@scripts/checkers.sh tell

lint: setup ## Format, clippy, docs, who may depend on whom, licences, unused dependencies
	@scripts/lint.sh

bench: setup ## Time pipeline beside rsync on a fleet on loopback, and the report of a year
	@scripts/bench.sh
	@scripts/bench-report.sh

agents: setup ## Build the static agents for every kind of device into dist/agents
	@scripts/agents.sh

test-agents: setup ## Build the agents, and test them on ARM machines that qemu pretends to be
	@scripts/test-agents.sh

deb: setup ## Build the Debian packages into dist, for amd64 and arm64 or those that ARCH names
	@scripts/package.sh $(ARCH)

test-package: setup ## Build them twice; install, upgrade, use, remove and purge in a fresh Debian (root, network)
	@scripts/test-package.sh

audit: setup ## Look the dependencies up in the RustSec database (needs the network)
	@scripts/tool.sh cargo-deny check advisories

clean: ## Remove everything that was built
	cargo clean
	rm -rf dist
