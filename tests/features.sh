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
said=$(mktemp)
trap 'rm -f "$said"' EXIT
# A feature, and a command that needs it.
while read -r feature command; do
    status=0
    # shellcheck disable=SC2086
    target/debug/mobilens $command >/dev/null 2>"$said" || status=$?
    cat "$said"
    if [ "$status" != 2 ] || [ "$(wc -l <"$said")" != 1 ] || ! grep -q "Cargo feature \`$feature\`" "$said"; then
        echo "expected one line that names the feature $feature, and exit status 2 (not $status)"
        failed=yes
    fi
done <<END
web check pipelines/web_security.yaml
store events some.db --json
store analyze some.jsonl pipelines/ssd_counting.yaml --store some.db
END
# The program with all features again.
cargo build --quiet
[ -z "${failed:-}" ]
