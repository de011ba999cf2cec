# The commands of the project; `make` alone lists them.

# A Go that knows toolchains (1.21 or later) fetches the version that go.mod names.
# Where the PATH has none, tools/install-deps puts Debian's backport here.
ifeq ($(shell go version 2>/dev/null | grep -cE ' go1\.(2[1-9]|[3-9][0-9])'),0)
export PATH := /usr/local/go/bin:/usr/lib/go-1.23/bin:$(PATH)
endif
export GOTOOLCHAIN ?= auto
export CGO_ENABLED := 0

FUZZTIME ?= 100000x

.PHONY: help demo test check build lint fuzz bench clean deps deps-all

help:
	@echo 'make demo    run the main job on this machine and show it (as root; installs what it needs)'
	@echo 'make test    unit tests, tests on a real kernel, a quick story (as root; under 15 minutes)'
	@echo 'make check   everything there is: lint, test, kernel 6.12, the whole story, fuzzing'
	@echo 'make build   static programs in bin/'
	@echo 'make lint    gofmt, go vet, staticcheck, govulncheck'
	@echo 'make fuzz    every fuzz target for FUZZTIME ($(FUZZTIME))'
	@echo 'make bench   figures, as a table and in out/bench/results.json'
	@echo 'make clean   remove bin/, out/ and .cache/'

demo: deps build
	bin/mip6-demo

test: deps build
	@go run ./integration/cmd/testreport test

check: deps-all lint build
	@go run ./integration/cmd/testreport check
	@FUZZTIME=$(FUZZTIME) tools/fuzz

deps:
	@tools/install-deps

deps-all:
	@tools/install-deps --all

# cmd/NAME becomes bin/NAME, integration/cmd/NAME bin/mip6-NAME.
build:
	@mkdir -p bin
	@for d in cmd/*/ integration/cmd/*/; do \
		[ -f "$$d/main.go" ] || continue; \
		name=$$(basename $$d); case $$d in integration/*) name=mip6-$$name;; esac; \
		echo "build bin/$$name"; \
		go build -trimpath -o bin/$$name ./$$d || exit 1; \
	done

lint:
	@tools/lint

fuzz:
	@FUZZTIME=$(FUZZTIME) tools/fuzz

bench: deps build
	bin/mip6-bench

clean:
	rm -rf bin out .cache
