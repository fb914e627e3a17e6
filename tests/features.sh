#!/usr/bin/env bash
# The program builds with each Cargo feature left out, and with none; what is left out is refused in one
# line with exit status 2.
set -euo pipefail
cd "$(dirname "$0")/.."

features=$(sed -n "s/^default = \\[\\(.*\\)\\]\$/\\1/p" Cargo.toml | tr -d "\",")
for left_out in $features; do
    rest=$(for feature in $features; do [ "$feature" = "$left_out" ] || printf '%s,' "$feature"; done)
    echo "without $left_out"
    cargo check --quiet --lib --bins --no-default-features --features "${rest%,}"
done
echo "without any"
cargo build --quiet --no-default-features
status=0
message=$(target/debug/mobilens check pipelines/web_security.yaml 2>&1 >/dev/null) || status=$?
# The program with all features again.
cargo build --quiet
echo "$message"
[ "$status" = 2 ] && [ "$(wc -l <<<"$message")" = 1 ] && grep -q 'Cargo feature `web`' <<<"$message"
