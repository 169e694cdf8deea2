# Copyright (C) nginx-cycles authors
#
#   make demo     see it work: installs what it needs, shows real requests
#   make test     every test, from nothing
#   make build    build/ngx_http_cycles_module.so for the installed nginx
#
# NGINX_SRC is a configured or plain tree of nginx instead of nginx-dev's;
# SKIP_DEPS=1 leaves apt alone.  Everything made is under build/.

SHELL       = /bin/bash

BUILD      := $(CURDIR)/build
NGINX_SRC  ?= /usr/share/nginx/src
NGINX      ?= /usr/sbin/nginx
JOBS       ?= 2

MODULE      = $(BUILD)/ngx_http_cycles_module.so
ASAN        = $(BUILD)/asan
ASAN_MODULE = $(ASAN)/ngx_http_cycles_module.so
VENV        = $(BUILD)/venv
NODE        = $(BUILD)/node
SDKS        = $(BUILD)/sdks
RUST        = $(BUILD)/rust

export BUILD

DEPS        = $(if $(SKIP_DEPS),:,tools/apt-deps.sh)

.PHONY: all build deps demo test bench lint fuzz api-fuzz nginx-tests clean
.PHONY: build-asan unit unit-asan campaign soak crash model fuzzers
.PHONY: package package-test matrix test-plain FORCE

all: build


# what others make by themselves

$(VENV)/.done: tools/requirements.txt tools/python-env.sh
	@tools/python-env.sh $(VENV)
	@touch $@

$(NODE)/.done: tools/node/package.json tools/node-env.sh
	@tools/node-env.sh $(NODE)
	@touch $@

$(SDKS)/.done: tools/sdks/package.json tools/sdks-env.sh $(NODE)/.done
	@tools/sdks-env.sh $(SDKS) $(NODE)
	@touch $@

$(RUST)/.done: $(wildcard t/api/rust/Cargo.* t/api/rust/src/*) \
               tools/rust-env.sh
	@tools/rust-env.sh $(RUST)
	@touch $@

$(BUILD)/promtool/promtool: tools/promtool.sh
	@tools/promtool.sh $(@D)
	@touch -c $@

$(ASAN)/nginx: tools/build-nginx-asan.sh
	@tools/build-nginx-asan.sh $(ASAN)
	@touch $@


# the module

build:
	@tools/build-module.sh $(NGINX_SRC) $(BUILD)/objs $(MODULE)

build-asan: $(ASAN)/nginx
	@tools/build-module.sh $(ASAN)/src $(ASAN)/objs-module $(ASAN_MODULE)

deps:
	$(DEPS) build demo test bench peers lint fuzz


# the parts that know no nginx, and their tests: optimized, and once more
# with sanitizers

PLAIN    := $(foreach file,$(wildcard src/*.c src/*/*.c), \
                $(if $(filter ngx_%,$(notdir $(file))),,$(file)))
UNITS    := $(patsubst t/unit/%.c,%,$(wildcard t/unit/*.c))
FUZZERS  := $(patsubst t/fuzz/%.c,%,$(wildcard t/fuzz/*.c))

WARN      = -std=gnu99 -Wall -Wextra -Werror -Wno-unused-parameter
LIBS      = -ljansson -lsqlite3 -lcrypto -lz -lpthread -lm
O2        = -g -O2
SANITIZE  = -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined \
            -fno-sanitize-recover=undefined

U  = $(BUILD)/unit
UA = $(BUILD)/unit-asan

.SECONDARY:

# what another compiler made is made anew

$(U)/compiler $(UA)/compiler: FORCE
	@mkdir -p $(@D)
	@echo "$(CC)" | cmp -s - $@ || echo "$(CC)" > $@

FORCE:

$(U)/%.o: %.c $(U)/compiler
	@mkdir -p $(@D)
	$(CC) $(WARN) $(O2) -Isrc -It/unit -MMD -MP -MT $@ -c -o $@ $<

$(UA)/%.o: %.c $(UA)/compiler
	@mkdir -p $(@D)
	$(CC) $(WARN) $(SANITIZE) -Isrc -It/unit -MMD -MP -MT $@ -c -o $@ $<

$(U)/libcycles.a: $(PLAIN:%.c=$(U)/%.o)
	rm -f $@
	ar rcs $@ $^

$(UA)/libcycles.a: $(PLAIN:%.c=$(UA)/%.o)
	rm -f $@
	ar rcs $@ $^

$(U)/%: $(U)/t/unit/%.o $(U)/libcycles.a
	$(CC) $(O2) -o $@ $^ $(LIBS)

$(UA)/%: $(UA)/t/unit/%.o $(UA)/libcycles.a
	$(CC) $(SANITIZE) -o $@ $^ $(LIBS)

# what a test of another language asks for prices

$(U)/price_lines: $(U)/t/pricing/price_lines.o $(U)/libcycles.a
	$(CC) $(O2) -o $@ $^ $(LIBS)

# the ledger by itself, for the benchmark

$(U)/bench_ledger: $(U)/bench/ledger.o $(U)/libcycles.a
	$(CC) $(O2) -o $@ $^ $(LIBS)

# and its clients and provider

$(U)/load: $(U)/bench/load.o
	$(CC) $(O2) -o $@ $^

# random operations, for a model in another language

$(U)/model_ops: $(U)/t/ledger/model_ops.o $(U)/libcycles.a
	$(CC) $(O2) -o $@ $^ $(LIBS)

$(UA)/model_ops: $(UA)/t/ledger/model_ops.o $(UA)/libcycles.a
	$(CC) $(SANITIZE) -o $@ $^ $(LIBS)

unit: $(UNITS:%=$(U)/%) $(U)/price_lines $(U)/model_ops $(U)/bench_ledger \
      $(U)/load
unit-asan: $(UNITS:%=$(UA)/%) $(FUZZERS:%=$(UA)/fuzz/%) $(UA)/model_ops


# the fuzzers: with a driver of their own for the suite, and with libFuzzer

F  = $(BUILD)/fuzz

CLANG     = clang -std=gnu99 -g -O1 -fno-omit-frame-pointer
FUZZED    = address,undefined -fno-sanitize-recover=undefined

$(UA)/fuzz/%: $(UA)/t/fuzz/%.o $(UA)/t/lib/fuzz.o $(UA)/libcycles.a
	@mkdir -p $(@D) $(F)
	$(CC) $(SANITIZE) -o $@ $^ $(LIBS)

$(F)/%.o: %.c
	@mkdir -p $(@D)
	$(CLANG) -fsanitize=fuzzer-no-link,$(FUZZED) -Isrc -MMD -MP -MT $@ \
	    -c -o $@ $<

$(F)/libcycles.a: $(PLAIN:%.c=$(F)/%.o)
	rm -f $@
	ar rcs $@ $^

$(F)/fuzz-%: $(F)/t/fuzz/%.o $(F)/libcycles.a
	$(CLANG) -fsanitize=fuzzer,$(FUZZED) -o $@ $^ $(LIBS)

fuzzers: $(FUZZERS:%=$(F)/fuzz-%)

-include $(shell find $(U) $(UA) $(F) -name '*.d' 2>/dev/null)


# the tests: each file by its name, and again as asan:NAME

SUITES   := $(sort $(shell find t -name '*.py' ! -path 't/lib/*' \
                     ! -path 't/fuzz/*' ! -path 't/package/*' \
                     ! -name 'conftest.py' \
                     ! -name '_*.py' 2>/dev/null) \
                   $(shell find t -name '*.t' 2>/dev/null))
# the package is for the nginx of the distribution

ONCE     := t/examples/test_package.py

TESTS    ?= $(UNITS:%=t/unit/%.c) $(UNITS:%=asan:t/unit/%.c) \
            $(FUZZERS:%=asan:t/fuzz/%.c) \
            $(patsubst %,asan:%,$(filter-out $(ONCE),$(SUITES))) $(SUITES)

test:
	@$(DEPS) build test
	@$(MAKE) --no-print-directory -j $(JOBS) $(VENV)/.done $(SDKS)/.done \
	    $(RUST)/.done $(BUILD)/promtool/promtool
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory build-asan
	@$(MAKE) --no-print-directory -j $(JOBS) -s unit unit-asan
	prove -j $(JOBS) --timer --failures --comments --exec t/run $(TESTS)

# the same but for the sanitizers, for a release whose nginx is to be tested

test-plain: TESTS = $(UNITS:%=t/unit/%.c) $(SUITES)

test-plain:
	@$(DEPS) build test
	@$(MAKE) --no-print-directory -j $(JOBS) $(VENV)/.done $(SDKS)/.done \
	    $(RUST)/.done $(BUILD)/promtool/promtool
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory -j $(JOBS) -s unit
	prove -j $(JOBS) --timer --failures --comments --exec t/run $(TESTS)

demo:
	@$(DEPS) build demo
	@$(if $(OPENAI_API_KEY),:,$(MAKE) --no-print-directory $(NODE)/.done)
	@$(MAKE) --no-print-directory build
	@python3 demo/demo.py

# peers are what is not ours: not with BENCH_PEERS=0, nor with BENCH_QUICK=1

PEERS     = $(if $(BENCH_QUICK)$(filter 0,$(BENCH_PEERS)),,peers)

bench:
	@$(DEPS) build bench $(PEERS)
	@$(if $(PEERS),$(MAKE) --no-print-directory $(NODE)/.done,:)
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory -s $(U)/bench_ledger $(U)/load
	@python3 bench/bench.py $(BENCH)

lint:
	@$(DEPS) build lint
	@tools/lint.sh

# a Debian package for the nginx of this machine

package:
	@$(DEPS) build package
	@tools/package.sh $(BUILD)/package

# in roots of other releases, which only root can make: the package is built
# and installed; the suite, but for what runs with sanitizers, is run

RELEASES ?= bookworm trixie forky

package-test:
	@tools/package-test.sh $(RELEASES)

matrix:
	@tools/matrix.sh $(RELEASES)

# FUZZ=NAME is one of them

fuzz:
	@$(DEPS) build fuzz
	@$(MAKE) --no-print-directory -j $(JOBS) -s fuzzers
	@tools/fuzz.sh $(FUZZ)

# half an hour of requests and reloads, for each authority

soak:
	@$(DEPS) build test
	@$(MAKE) --no-print-directory $(VENV)/.done
	@$(MAKE) --no-print-directory build
	SOAK_SECONDS=$${SOAK_SECONDS:-1800} SOAK_RELOAD=$${SOAK_RELOAD:-20} \
	    TEST_LIMIT=7200 t/run t/lifecycle/test_soak.py

# ten thousand requests with everything that can fail, for each authority

campaign:
	@$(DEPS) build test
	@$(MAKE) --no-print-directory $(VENV)/.done
	@$(MAKE) --no-print-directory build
	FAULTS_REQUESTS=$${FAULTS_REQUESTS:-10000} TEST_LIMIT=3600 \
	    t/run t/lifecycle/test_faults.py

# kill -9 at any moment, and what a power failure may leave, CRASH times in
# each way

CRASH    ?= 200
CRASHES   = t/ledger/test_kill.py t/lifecycle/test_crash.py

crash:
	@$(DEPS) build test
	@$(MAKE) --no-print-directory $(VENV)/.done
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory -s $(U)/ledger_fold_crash \
	    $(U)/ledger_crash $(U)/ledger_power
	$(U)/ledger_fold_crash $(CRASH)
	$(U)/ledger_crash $(CRASH)
	$(U)/ledger_power $(CRASH)
	CRASH_ROUNDS=$(CRASH) TEST_LIMIT=7200 \
	    prove --timer --failures --comments --exec t/run $(CRASHES)

# a hundred thousand operations of four processes, and a model of them;
# MODEL_SEED repeats a run, but for the order in which they come

model:
	@$(DEPS) build test
	@$(MAKE) --no-print-directory $(VENV)/.done
	@$(MAKE) --no-print-directory -s $(U)/ledger_model $(U)/model_ops
	$(U)/ledger_model 100000 $(MODEL_SEED)
	MODEL_OPERATIONS=$${MODEL_OPERATIONS:-100000} TEST_LIMIT=1800 \
	    t/run t/ledger/test_model.py

# API_FUZZ_SEED repeats a run

api-fuzz:
	@$(DEPS) build test
	@$(MAKE) --no-print-directory $(VENV)/.done
	@$(MAKE) --no-print-directory build
	API_FUZZ_CASES=$${API_FUZZ_CASES:-10000} TEST_LIMIT=1800 \
	    t/run t/api/test_fuzz.py

# NGINX_TESTS_DIR is a checkout of nginx's own test suite; that is written for
# the newest nginx, so it runs on the installed one and on a newer one

nginx-tests:
	@$(DEPS) build test
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory build-asan
	@tools/nginx-tests.py "$(NGINX_TESTS_DIR)" $(NGINX) $(MODULE)
	@tools/nginx-tests.py "$(NGINX_TESTS_DIR)" $(ASAN)/nginx $(ASAN_MODULE)

clean:
	rm -rf $(BUILD)
