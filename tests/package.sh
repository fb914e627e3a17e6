#!/usr/bin/env bash
# The package, the tarball and `cargo install` give a program that finds its models and pipelines from an
# empty folder and writes the checkout's bytes; the package goes again without a trace.
#
#   tests/package.sh [PROFILE]        (default: dev; what Cargo built in it is packaged)
#
# Installs and removes the Debian package on this machine. Needs root, dpkg, cargo-deb and man; without them
# the test is skipped, and says so, or fails under MOBILENS_CI=1.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-dev}
target=${CARGO_TARGET_DIR:-target}
skip() {
    echo "SKIPPED tests/package.sh: $1"
    [ "${MOBILENS_CI:-}" = 1 ] && exit 1
    exit 0
}
fail() {
    echo "FAILED: $1"
    exit 1
}
[ "$(id -u)" = 0 ] || skip "only root may install packages"
for tool in dpkg dpkg-shlibdeps cargo-deb man strip; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
done
if dpkg -s mobilens >/dev/null 2>&1; then
    skip "the package mobilens is installed here already"
fi
# A development build finds this checkout too, and the environment may name a folder: neither may help.
unset MOBILENS_DATA_DIR

work=$(mktemp -d)
trap 'dpkg -P mobilens >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
mkdir "$work/empty"
traces() { find /etc /opt /usr /var -xdev -iname '*mobilens*' 2>/dev/null | sort; }
traces >"$work/before"
# from_empty PROGRAM ARGUMENT...: runs in an empty folder, which must stay empty.
from_empty() {
    (cd "$work/empty" && "$@") || return
    [ -z "$(ls -A "$work/empty")" ] || fail "$1 left files in the current folder"
}
# same_records WHAT PROGRAM DATA: the program finds the pipeline in its data folder and gives the checkout's bytes.
same_records() {
    from_empty "$2" pipelines/ssd_replay.yaml --headless --frames 50 >"$work/got" 2>"$work/said" || {
        cat "$work/said"
        fail "$1: the run failed"
    }
    cmp "$work/expected_50" "$work/got"
    grep -q " $3/pipelines/ssd_replay.yaml" "$work/said" || {
        cat "$work/said"
        fail "$1: the pipeline is not the one in $3"
    }
    echo "$1: the checkout's bytes, from any folder"
}

deb=$(packaging/build-deb.sh "$profile")
case $profile in
dev) built=$target/debug/mobilens ;;
*) built=$target/$profile/mobilens ;;
esac
"$built" pipelines/ssd_replay.yaml --headless >"$work/expected" 2>/dev/null
"$built" pipelines/ssd_replay.yaml --headless --frames 50 >"$work/expected_50" 2>/dev/null
[ "$(grep -c '"type":"frame"' "$work/expected")" -gt 100 ] || fail "the checkout's run has no frames"
grep -E '"/|\.\./' "$work/expected" && fail "records name the folders of this machine"

dpkg-deb -f "$deb" Depends
dpkg-deb -f "$deb" Depends | tr ',' '\n' | grep -vE '^ *(libc6|libgcc-s1)( |$)' && fail "it depends on more than the C library"
dpkg -i "$deb"
from_empty mobilens /usr/share/mobilens/pipelines/ssd_replay.yaml --headless >"$work/got" 2>/dev/null
cmp "$work/expected" "$work/got"
same_records "package" /usr/bin/mobilens /usr/share/mobilens
from_empty mobilens check /usr/share/mobilens/pipelines/*.yaml /etc/mobilens/pipeline.yaml

for page in $(dpkg -L mobilens | grep /man1/); do
    # Read from a pipe, a page is not put into man's cache.
    zcat "$page" | man --warnings --local-file - >"$work/page" 2>"$work/said"
    if [ -s "$work/said" ] || ! grep -q SYNOPSIS "$work/page"; then
        cat "$work/said"
        fail "$page does not render"
    fi
done
man -w mobilens mobilens-check mobilens-eval-detection >/dev/null

bash -euc '
    . /usr/share/bash-completion/completions/mobilens
    complete -p mobilens >/dev/null
    COMP_WORDS=(mobilens eval det) COMP_CWORD=2
    _mobilens mobilens det eval
    [ "${COMPREPLY[*]}" = detection ]
' || fail "bash does not complete \"mobilens eval det\""
for shell in zsh fish; do
    script=$(dpkg -L mobilens | grep -E "/(_mobilens|mobilens\.fish)$" | grep "/$shell/")
    if command -v "$shell" >/dev/null; then
        "$shell" -n "$script"
    fi
done

if command -v systemd-analyze >/dev/null; then
    # It would read the manual page, of which man keeps a copy; that it is there was seen above.
    systemd-analyze verify --man=no /usr/lib/systemd/system/mobilens.service
else
    echo "SKIPPED: systemd-analyze is not installed"
fi
# The unit's own command, as a user without rights; the clip plays where there is no camera.
read -ra command < <(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/mobilens.service)
from_empty setpriv --reuid nobody --regid nogroup --clear-groups env -i \
    "${command[@]}" --input /usr/share/mobilens/assets/street.mp4 --set sinks.0.web.bind=127.0.0.1:0 --frames 10 \
    2>"$work/said" || {
    cat "$work/said"
    fail "the unit's command does not run"
}
[ "$(stat -c %a /etc/mobilens/environment)" = 640 ] || fail "secrets can be read by all"

# Installed again, it keeps what the administrator wrote.
echo "# changed" >>/etc/mobilens/pipeline.yaml
dpkg -i "$deb" >/dev/null
tail -1 /etc/mobilens/pipeline.yaml | grep -qx '# changed' || fail "an upgrade overwrites the configuration"

dpkg -L mobilens >"$work/files"
if command -v systemctl >/dev/null; then
    systemctl --quiet enable mobilens.service
fi
# What systemd makes for a unit with a user of its own.
mkdir -p /var/lib/private/mobilens
touch /var/lib/private/mobilens/records.jsonl
ln -s private/mobilens /var/lib/mobilens
dpkg -r mobilens
left=$(traces | grep -vxFf "$work/before" | grep -v '^/var/lib/dpkg/info/' | tr '\n' ' ')
[ "$left" = "/etc/mobilens /var/lib/mobilens /var/lib/private/mobilens " ] || fail "removed, it leaves $left"
find /etc/mobilens -type f | sort | tr '\n' ' ' | grep -qx '/etc/mobilens/environment /etc/mobilens/pipeline.yaml '
[ -f /var/lib/mobilens/records.jsonl ] || fail "removing deletes the state"
dpkg -P mobilens
traces | diff "$work/before" - || fail "purged, it leaves files"
while read -r file; do
    case $file in
    *mobilens*) [ ! -e "$file" ] || fail "purged, it leaves $file" ;;
    esac
done <"$work/files"
echo "removed without a trace"

tarball=$(packaging/build-tarball.sh "$profile")
mkdir "$work/unpacked"
tar -xf "$tarball" -C "$work/unpacked" --strip-components 1
same_records "tarball" "$work/unpacked/bin/mobilens" "$work/unpacked/share/mobilens"

cargo install --quiet --path . --profile "$profile" --root "$work/installed" --target-dir "$target" --locked --no-track
same_records "cargo install" "$work/installed/bin/mobilens" "$PWD"
