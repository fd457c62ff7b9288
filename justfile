# Each recipe is a step of .ci/run, which needs nothing but bash and cargo and says what each step is for.

# All that a change must pass.
ci:
    .ci/run

# The names of the steps.
list:
    .ci/run list

# The recipes below are the steps of .ci/run.
recipes:
    .ci/run recipes

# Formatting.
fmt:
    .ci/run fmt

# Lints on every target with all features; warnings are errors.
clippy:
    .ci/run clippy

# The documentation builds without a warning, with all features and with none.
doc:
    .ci/run doc

# What the crate pulls in without features.
dependencies:
    .ci/run dependencies

# Each feature alone and none of them, with its tests.
features:
    .ci/run features

# The library and the program on the oldest promised compiler, if it is installed.
msrv:
    .ci/run msrv

# The library and the program for other systems, as far as their targets are installed.
other-systems:
    .ci/run other-systems

# Every test: README's second command.
test:
    .ci/run test

# The same, a process a test, without documentation tests. Needs cargo-nextest.
test-nextest:
    .ci/run test-nextest

# The examples that are packages of their own, with their tests.
examples:
    .ci/run examples

# Plans and settings embedded in figment, in config, in YAML, and beside their schema.
embed:
    .ci/run embed

# The gate against its oracle, step by step. Takes a number of steps, and the run to begin with.
model *arguments:
    .ci/run model {{arguments}}

# The gate under a model checker.
loom:
    .ci/run loom

# The same with more preemptions.
loom-deep preemptions:
    .ci/run loom-deep {{preemptions}}

# The gate under a scheduler of random orders. Takes a number of orders, and names of tests.
shuttle *arguments:
    .ci/run shuttle {{arguments}}

# The main job: README's first command.
readme:
    .ci/run readme

# The benchmarks build.
benches:
    .ci/run benches

# Prints the gate beside its peers: docs/PERFORMANCE.md. Takes a number of rounds, and rows.
bench-table *arguments:
    .ci/run bench-table {{arguments}}

# Counts instructions beside tokio, and holds those that hold their targets. Needs valgrind.
bench-count *arguments:
    .ci/run bench-count {{arguments}}

# The fuzz targets build on stable. Needs a C++ compiler.
fuzz-build:
    .ci/run fuzz-build

# Fuzzes a target for some seconds. Needs cargo-fuzz and a nightly toolchain.
fuzz name seconds:
    .ci/run fuzz {{name}} {{seconds}}

# The gate's tests under AddressSanitizer. Needs a nightly toolchain.
asan:
    .ci/run asan

# The gate's tests under ThreadSanitizer. Needs a nightly toolchain with rust-src.
tsan:
    .ci/run tsan

# The line of a gate under miri. Takes names of tests. Needs a nightly toolchain with miri and rust-src.
miri *tests:
    .ci/run miri {{tests}}

# What would be published builds by itself.
package:
    .ci/run package

# Mutates what computes a limit; with `gate`, the gate's engine. Needs cargo-mutants, and time.
mutants *arguments:
    .ci/run mutants {{arguments}}

# Plants bugs in the gate, and asks each layer of its tests. Takes names of bugs, and time.
planted *names:
    .ci/run planted {{names}}

# Which lines of the gate are run by no test. Needs llvm-cov.
coverage:
    .ci/run coverage
