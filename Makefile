# `make run` and `make test` do everything on a fresh Debian, from installing what is missing.

PREFIX     := /usr/local
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
TRIPLE     := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
VERSION    := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SOCKLEAK   := $(TARGET_DIR)/release/sockleak
STATIC     := $(TARGET_DIR)/static/sockleak
ASSETS     := $(TARGET_DIR)/assets
# For tests: programs of PyPI's.
VENV       := $(TARGET_DIR)/venv
AS_ROOT    := $(if $(filter 0,$(shell id -u)),,sudo)
# How cargo is told to run test programs as root.
RUNNER     := CARGO_TARGET_$(subst -,_,$(shell echo $(TRIPLE) | tr a-z A-Z))_RUNNER
# The HTTP server and its runtime, JUnit and CSV take a fifth of it.
MAX_SIZE   := 5500000
DIST       := sockleak-$(VERSION)-$(TRIPLE)

.PHONY: setup build run demo test check assets install static dist deb image test-kernels bench soak clean

# What the build needs. `libelf` and `zlib` have no program to look for, so their headers stand in.
setup:
	@tools/need.sh cc:gcc make:make pkg-config:pkg-config clang:clang llvm-strip:llvm \
	    /usr/include/libelf.h:libelf-dev /usr/include/zlib.h:zlib1g-dev

build: setup
	cargo build --release --locked

run: build
	$(AS_ROOT) $(SOCKLEAK) watch

demo: build
	cargo build --release --locked --example leaker
	$(AS_ROOT) tools/demo.sh $(SOCKLEAK) $(TARGET_DIR)/release/examples/leaker

# Unit tests without privilege first, then the same sources' tests against the real kernel. The
# latter fail without root; cargo itself does not need it.
test: setup
	@tools/need.sh ss:iproute2 python3:python3 tmux:tmux fish:fish elvish:elvish systemd-socket-activate:systemd \
	    promtool:prometheus prometheus-node-exporter:prometheus-node-exporter \
	    /usr/lib/python3/dist-packages/prometheus_client:python3-prometheus-client \
	    /usr/lib/python3/dist-packages/junitparser:python3-junitparser \
	    /usr/lib/python3/dist-packages/pytest:python3-pytest \
	    kubectl:kubernetes-client podman:podman runc:runc /bin/busybox:busybox-static
	@test -x $(VENV)/bin/kubernetes-validate || { \
	    python3 -m venv $(VENV) || { tools/need.sh /python3-venv:python3-venv; python3 -m venv $(VENV); }; \
	    $(VENV)/bin/pip install --quiet kubernetes-validate==1.37.0; }
	cargo test --locked --lib --bins --example assets --test cli
	cargo package --locked --allow-dirty --quiet
	cargo build --locked --examples
	$(if $(AS_ROOT),$(RUNNER)=$(AS_ROOT)) cargo test --locked --test root --test load --test fleet
	cargo test --locked --target-dir $(TARGET_DIR) --manifest-path benches/compare/Cargo.toml
	tools/fuzz.sh 200000

check: setup
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo fmt --check --manifest-path benches/compare/Cargo.toml
	cargo clippy --locked --all-targets --target-dir $(TARGET_DIR) \
	    --manifest-path benches/compare/Cargo.toml -- -D warnings
	cargo fmt --check --manifest-path fuzz/Cargo.toml

# Man pages and shell completions, from the definition of the command line.
assets: setup
	cargo run --locked --quiet --example assets -- $(ASSETS)

install: build assets
	install -D $(SOCKLEAK) $(DESTDIR)$(PREFIX)/bin/sockleak
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 $(ASSETS)/man/*.1
	install -D -m 644 $(ASSETS)/completions/sockleak.bash \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/sockleak
	install -D -m 644 $(ASSETS)/completions/_sockleak \
	    $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_sockleak
	install -D -m 644 $(ASSETS)/completions/sockleak.fish \
	    $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/sockleak.fish

# One binary for every kernel: `static` makes it, `dist` packs it, `test-kernels` proves it.
#
# Copied, because building the tests may link target/<triple>/release/sockleak anew, and what is
# tested has to be what is shipped. An empty root shows that it needs nothing.
static: setup
	tools/static.sh --bin sockleak
	install -D $(TARGET_DIR)/$(TRIPLE)/release/sockleak $(STATIC)
	@tools/need.sh file:file
	@file $(STATIC) | grep -o 'static-pie linked'
	@size=$$(stat -c %s $(STATIC)); echo "$$size bytes"; test $$size -le $(MAX_SIZE)
	@empty=$$(mktemp -d); cp $(STATIC) $$empty; \
	    $(AS_ROOT) chroot $$empty /sockleak --version; code=$$?; rm -r $$empty; exit $$code

dist: static assets
	rm -rf $(TARGET_DIR)/dist
	mkdir -p $(TARGET_DIR)/dist/$(DIST)
	cp -r $(STATIC) README.md CHANGELOG.md docs deploy LICENSE-* $(ASSETS)/man $(ASSETS)/completions \
	    $(TARGET_DIR)/dist/$(DIST)
	cd $(TARGET_DIR)/dist && tar --sort=name --owner=0 --group=0 --numeric-owner \
	    --mtime=@$$(git log -1 --format=%ct) -cf - $(DIST) | gzip -9n >$(DIST).tar.gz
	cd $(TARGET_DIR)/dist && sha256sum $(DIST).tar.gz >$(DIST).tar.gz.sha256
	rm -r $(TARGET_DIR)/dist/$(DIST)

# A Debian package of the static binary. Its units are there, and are not enabled.
deb: static assets
	command -v cargo-deb >/dev/null || cargo install --quiet --locked cargo-deb@3.8.0
	rm -rf target/stage
	mkdir -p target/stage
	cp -r $(STATIC) $(ASSETS)/man $(ASSETS)/completions target/stage
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) cargo deb --no-build --no-strip --output $(TARGET_DIR)/deb/
	@ls -l $(TARGET_DIR)/deb/*.deb

# An image of the static binary, with podman or docker.
ENGINE := $(or $(shell command -v podman),docker)
image: static
	rm -rf $(TARGET_DIR)/image
	mkdir -p $(TARGET_DIR)/image
	cp $(STATIC) deploy/container/Dockerfile $(TARGET_DIR)/image
	$(AS_ROOT) $(ENGINE) build --tag sockleak:$(VERSION) $(TARGET_DIR)/image

test-kernels: static
	SOCKLEAK=$(STATIC) tests/vm/kernels.sh

# Runs sockleak side by side with the tools that people use today, in a network namespace of its own.
# It takes half an hour. `make bench QUICK=1` takes five minutes, and does not write docs/performance.md.
# `make bench AGAINST=OTHER` compares with another sockleak instead, and takes ten.
bench: build
	@tools/need.sh ss:iproute2 lsof:lsof /usr/sbin/tcpstates:libbpf-tools bpftrace:bpftrace \
	    watch:procps
	$(if $(AGAINST),,CARGO_TARGET_DIR=$(abspath $(TARGET_DIR)) cargo bench --locked --quiet --bench table -- \
	    $(if $(QUICK),--measurement-time 2))
	cargo build --release --locked --quiet --manifest-path benches/compare/Cargo.toml \
	    --target-dir $(TARGET_DIR)
	$(AS_ROOT) $(TARGET_DIR)/release/compare --sockleak $(SOCKLEAK) \
	    --criterion $(TARGET_DIR)/criterion --json $(TARGET_DIR)/bench.json \
	    $(if $(QUICK),--quick) \
	    $(if $(AGAINST),--against $(AGAINST),$(if $(QUICK),,--page docs/performance.md))

# Compares `watch` with the truth under mixed churn, for MINUTES (10).
MINUTES := 10
soak: build
	@tools/need.sh python3:python3
	$(AS_ROOT) python3 -B benches/soak.py $(SOCKLEAK) $(MINUTES)

clean:
	cargo clean
