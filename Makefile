# The programs that stead and its tests run, and the Debian packages that have them.
PACKAGES := iptables iproute2 procps kmod util-linux e2fsprogs strace \
	mmdebstrap systemd-container squashfs-tools git curl tmux groff-base musl-tools
NEEDED := groff iptables-nft iptables-legacy ip sysctl modprobe unshare nsenter chattr strace \
	mmdebstrap systemd-nspawn mksquashfs git curl tmux musl-gcc
# What the test of the page of the history opens it with. Not every system has it as a package.
BROWSER := chromium-headless-shell
# Where none can be had, these tests are left out and named.
OPENED := test(/^history_page::/)
WITHOUT = $(shell command -v $(BROWSER) >/dev/null || command -v chromium >/dev/null || echo 'and not $(OPENED)')
# Programs of cargo that `make lint` runs, at the versions that their settings here are for.
LINTERS := cargo-deny@0.20.2 cargo-machete@0.9.2 typos-cli@1.52.0
# Runs one of them, or names what is left out without it.
check = @if command -v $(1) >/dev/null; then echo "$(2)"; $(2); else echo "SKIPPED, without $(1), which \`make setup\` installs: $(2)"; fi
# What `make fuzz` runs, and for how many seconds each.
TARGETS ?= $(basename $(notdir $(wildcard fuzz/targets/*.rs)))
SECONDS_EACH ?= 600
# Namespaces with tables and mounts of their own are root's to make.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo "sudo env PATH=$$PATH")

# The target that needs nothing of the host but its kernel.
STATIC := $(shell uname -m)-unknown-linux-musl
# What is installed, and below what. DESTDIR is put before all of it.
PROGRAM ?= target/$(STATIC)/release/stead
PREFIX ?= /usr/local
TO = $(DESTDIR)$(PREFIX)
complete = install -d $(dir $(TO)/share/$(2)) && $(PROGRAM) completions $(1) >$(TO)/share/$(2)

# The tests that boot a host.
BOOTED := binary(hosts)
# The tests that take a sample of what can go wrong, unless they are told to take all of it.
WALKS := test(/^killed::/) or test(/^power::/) or test(/^confirm::unconfirmed_run_/) or test(/^unit::recover_rolls_back_/) or test(/^rehearse::rehearse_leaves_nothing_/) or test(/every_run_ends_at/) or binary(fuzz)

.DEFAULT_GOAL := help
.PHONY: help setup linters fuzz-specs build install package demo test test-fast test-host test-exhaustive programs bench bench-proxy bench-watch bench-resolve bench-instructions fuzz lint docs guide packages browser runner binder packager counter static

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

setup: packages static runner packager browser linters ## install what building, testing and linting need: Debian packages, a target of rustup, five programs of cargo; says which
	@echo "All that building and testing need is there."

build: ## build the program, one static file: target/*-linux-musl/release/stead; installs nothing
	@[ -d "$$(rustc --print target-libdir --target $(STATIC))" ] && command -v musl-gcc >/dev/null || { \
		echo "the target $(STATIC) of rustup or musl-gcc is missing: \`make setup\` installs both"; exit 1; }
	cargo build --release --package stead --target $(STATIC)

install: ## put the program, its pages, completions and unit below PREFIX (/usr/local), after `make build`
	@test -x $(PROGRAM) || { echo "there is no $(PROGRAM): \`make build\` makes it"; exit 1; }
	install -D -s -m 755 $(PROGRAM) $(TO)/bin/stead
	install -d $(TO)/share/man/man1
	$(PROGRAM) man --out $(TO)/share/man/man1 2>/dev/null
	$(call complete,bash,bash-completion/completions/stead)
	$(call complete,zsh,zsh/$(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)/_stead)
	$(call complete,fish,fish/vendor_completions.d/stead.fish)
	install -d $(TO)/lib/systemd/system
	sed 's|@PROGRAM@|$(PREFIX)/bin/stead|' packaging/stead-recover.service.in >$(TO)/lib/systemd/system/stead-recover.service
	test -e $(DESTDIR)/etc/stead/import-ignore.kdl || \
		install -D -m 644 packaging/import-ignore.kdl $(DESTDIR)/etc/stead/import-ignore.kdl
	@[ -n "$(DESTDIR)" ] || echo 'Installed. `systemctl enable stead-recover` rolls an interrupted run back at each boot.'

package: ## make a Debian package of what `make build` has built: target/debian/stead_*.deb
	rm -rf target/package
	$(MAKE) --no-print-directory install DESTDIR=target/package PREFIX=/usr
	cargo deb --no-build --package stead $(DEB)

demo: packages ## rehearse an example on a clone of this machine, reboot included
	cargo build --profile demo --package stead
	$(AS_ROOT) env STEAD=target/demo/stead examples/demo

test: packages runner packager browser programs ## run all tests
	@if $(AS_ROOT) target/debug/test-host check; then \
		$(AS_ROOT) target/debug/test-host build && $(AS_ROOT) cargo nextest run --workspace --filterset 'all() $(WITHOUT)'; \
	else \
		echo "SKIPPED, all tests on booted hosts:"; \
		cargo nextest list --package e2e --filterset '$(BOOTED)' --message-format oneline; \
		$(AS_ROOT) cargo nextest run --workspace --filterset 'not $(BOOTED) $(WITHOUT)'; \
	fi

test-fast: packages runner browser programs ## run the tests that boot no host
	$(AS_ROOT) cargo nextest run --workspace --filterset 'not $(BOOTED) $(WITHOUT)'

test-host: packages programs ## build the images of the test hosts that are missing, and boot each once
	$(AS_ROOT) target/debug/test-host build --boot

test-exhaustive: packages runner programs ## kill, refuse and cut the power at every call, where `make test` takes a sample; before a release, up to an hour
	$(AS_ROOT) target/debug/test-host build
	$(AS_ROOT) env STEAD_EXHAUSTIVE=1 cargo nextest run --workspace --profile exhaustive --filterset '$(WALKS)'

# One build for all tests and for the programs that they run: without the tests the features of some packages are others.
programs:
	cargo build --workspace --bins --tests

bench-proxy: packages programs ## measure kube-proxy in userspace and in iptables mode, on a test host; a figure, no test
	$(AS_ROOT) target/debug/test-host bench-proxy

bench-watch: packages programs ## measure how soon the watch restores a policy, and what it costs, on a test host; a figure, no test
	$(AS_ROOT) target/debug/test-host bench-watch

bench: build ## measure plans, an apply and an import of that program against the least that their work costs; figures, no test
	cargo build --release --package e2e
	$(AS_ROOT) target/release/test-host bench --stead $(abspath $(PROGRAM))
	install -s -m 755 $(PROGRAM) target/release/stead
	if $(AS_ROOT) target/release/test-host check; then $(AS_ROOT) target/release/test-host bench-host; fi

bench-resolve: ## measure how long a spec of 100,000 resources takes, against the parser alone; a figure, no test
	cargo bench --package stead --bench resolve

bench-instructions: counter ## count the instructions of the parts of a plan, and hold them against the last count; a figure, no test
	cargo bench --profile measure --package stead --bench instructions

fuzz: ## run the fuzz targets, ten minutes each, with nightly Rust and cargo-fuzz
	@for target in $(TARGETS); do \
		mkdir -p fuzz/target/corpus/$$target && \
		cargo +nightly fuzz run $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(SECONDS_EACH) -timeout=20 || exit 1; \
	done

fuzz-specs: runner ## feed random text to the parser and the resolver, for ten minutes
	STEAD_FUZZ_SECONDS=600 cargo nextest run --package stead --test fuzz --success-output final

lint: ## check formatting, lints, docs, licences, unused dependencies and spelling
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --document-private-items
	$(call check,cargo-deny,cargo deny --locked check -D warnings licenses bans sources)
	$(call check,cargo-machete,cargo machete --with-metadata)
	$(call check,typos,typos)

docs: packages runner packager programs ## update the generated pages, and the output of commands in the README and the guide
	$(AS_ROOT) env UPDATE=1 cargo nextest run --workspace --test-threads 1 \
		--filterset 'test(/^(reference|documents)::/) or $(BOOTED) and test(/^(newcomer|screens)::/)'

guide: binder ## make a book of docs/guide: target/guide/index.html
	mdbook build docs/guide

packages:
	@for program in $(NEEDED); do \
		PATH="$$PATH:/usr/sbin:/sbin" command -v $$program >/dev/null && continue; \
		echo "$$program is missing; installing the packages: $(PACKAGES)"; \
		$(AS_ROOT) apt-get update -qq && \
		$(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PACKAGES); \
		exit; \
	done

browser:
	@command -v $(BROWSER) >/dev/null || command -v chromium >/dev/null || { \
		echo "there is no browser; installing the package: $(BROWSER)"; \
		$(AS_ROOT) apt-get update -qq && \
		$(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(BROWSER); \
	} || echo "SKIPPED, for want of a browser: $(OPENED)"

runner:
	@command -v cargo-nextest >/dev/null || { \
		echo "cargo-nextest is missing; installing it with cargo"; \
		cargo install --locked cargo-nextest; \
	}

linters:
	@for tool in $(LINTERS); do \
		name=$${tool%@*}; program=$${name%-cli}; version=$${tool#*@}; \
		$$program --version 2>/dev/null | grep -qF "$$version" || { \
			echo "$$name $$version is missing; installing it with cargo"; \
			cargo install --locked $$name --version $$version || exit 1; \
		}; \
	done

binder:
	@command -v mdbook >/dev/null || { \
		echo "mdbook is missing; installing it with cargo"; \
		cargo install --locked mdbook; \
	}

counter:
	@command -v valgrind >/dev/null || $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq valgrind
	@version=$$(cargo pkgid gungraun | sed 's/.*@//'); \
	gungraun-runner --version 2>/dev/null | grep -qF " $$version" || { \
		echo "gungraun-runner $$version is missing; installing it with cargo"; \
		cargo install --locked gungraun-runner --version $$version; \
	}

static:
	@[ -d "$$(rustc --print target-libdir --target $(STATIC))" ] || { \
		echo "the target $(STATIC) is missing; installing it with rustup"; \
		rustup target add $(STATIC); \
	}

packager:
	@command -v cargo-deb >/dev/null || { \
		echo "cargo-deb is missing; installing it with cargo"; \
		cargo install --locked cargo-deb; \
	}
