# Recipes for developers; `just` lists them. See CONTRIBUTING.md.

export RUST_BACKTRACE := "1"

_default:
    @just --list --unsorted

# Before each commit: format, lints, unit and quick tests, pipelines, links; under two minutes after a build
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo test --lib --quiet
    cargo test --test integration --quiet -- config:: run:: images:: overlay::
    cargo build
    target/debug/mobilens check pipelines/*.yaml
    tests/docs.sh --quick

# All that must pass before a change lands
ci:
    .ci/run

# The tests of all crates, without the long ones
test *arguments:
    cargo test {{arguments}}

# The tests, with the long ones
test-all:
    cargo test
    cargo test --lib --bins --tests -- --ignored

# A build with each Cargo feature left out, and with none
features:
    tests/features.sh

# The documentation's commands, pipelines and links
docs:
    cargo build
    tests/docs.sh

# Kernels, pixels and tracking, then the shipped models
bench:
    cargo bench -p mobilens-nn --bench kernels
    cargo bench --bench pixels
    cargo bench --bench tracking
    cargo build --release
    for model in models/*.onnx; do target/release/mobilens bench "$model" --threads 1; done

# The README's pictures
pictures:
    tests/pictures.sh

# The Debian package, in target/package (needs cargo-deb)
deb:
    cargo build --release
    packaging/build-deb.sh

# The API's documentation
doc:
    cargo doc --workspace --no-deps --open
