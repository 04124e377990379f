# What people do in this repository. `just --list` shows it.

# Build, sign, install, serve and call every example.
demo:
    cargo run -p cargo-kami -- demo

# Run all tests.
test:
    cargo test --workspace

# Check the format, and deny warnings.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Build the API documentation, and deny warnings.
docs:
    RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --workspace --no-deps

# Check licences, sources and advisories of dependencies.
deny:
    cargo deny check

# Have clients that nobody here wrote, and the conformance suite, drive the server.
clients:
    tests/clients/run

# Fuzz one target of fuzz/README.md for some seconds. Needs cargo-fuzz and a C++ compiler.
fuzz target seconds="600":
    cargo fuzz run --sanitizer none --no-cfg-fuzzing {{target}} -- -max_total_time={{seconds}} -rss_limit_mb=2048 -timeout=10

# Make many calls of good and hostile guests, and see what they leave. Needs Linux.
soak calls="1000000":
    cargo run -p kami-tests --bin soak -- --calls {{calls}}

# Measure calls, starts and memory against a native server, and write docs/PERFORMANCE.md. Needs Linux.
drive:
    cargo run --release -p kami-tests --bin drive

# Everything that must hold before a change lands.
ci:
    .ci/run
