#!/usr/bin/env bash
# The unit in packaging/ is one that systemd takes, the Containerfile names what is there, and the program
# needs nothing but glibc.
#
#   tests/deploy.sh [BINARY]          (default: target/debug/mobilens)
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:-target/debug/mobilens}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

grep -q '^ExecStart=/usr/bin/mobilens /etc/mobilens/pipeline.yaml$' packaging/mobilens.service
if command -v systemd-analyze >/dev/null; then
    # The program and its manual page are not installed here; all else must be in order.
    sed "s#=/usr/bin/mobilens#=$binary#" packaging/mobilens.service >"$work/mobilens.service"
    systemd-analyze verify --man=no "$work/mobilens.service"
    echo "systemd takes the unit"
    # Exposure times ten: at most 3.0 of 10.
    systemd-analyze security --offline=true --threshold=30 --no-pager "$work/mobilens.service" >"$work/exposure" ||
        { cat "$work/exposure"; exit 1; }
    tail -n 1 "$work/exposure"
    for setting in Type=notify WatchdogSec=60 LimitNOFILE=65536 MemoryMax=75%; do
        grep -qxF "$setting" packaging/mobilens.service || { echo "the unit lacks $setting"; exit 1; }
    done
else
    echo "SKIPPED: systemd-analyze is not installed"
    # In CI nothing may be missing.
    [ -z "${MOBILENS_CI:-}" ]
fi

root=$work/root
shared=/usr/local/share/mobilens
mkdir -p "$root/usr/local/bin" "$root$shared" "$root/tmp" "$root/dev"
touch "$root/dev/null"
sed -n 's/^COPY \([a-z]*\) \(.*\)$/\1 \2/p' Containerfile | while read -r from to; do
    cp -r "$from" "$root$to"
done
cp "$binary" "$root/usr/local/bin/"
ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
if [ "$(id -u)" = 0 ]; then
    chroot "$root" /usr/local/bin/mobilens check "$shared/pipelines/rtsp_security.yaml"
    chroot "$root" /usr/local/bin/mobilens pipelines/ssd_replay.yaml --frames 30 >"$work/records" 2>"$work/said"
    grep -c '"type":"frame"' "$work/records"
    # The container's own command: there is no camera here, so the clip plays in its stead.
    python3 - Containerfile >"$work/command" <<'PYTHON'
import json, re, sys
text = open(sys.argv[1]).read().replace("\\\n", "")
print("\0".join(json.loads(re.search(r"^CMD (\[.*\])$", text, re.M).group(1))), end="")
PYTHON
    mapfile -d '' -t command <"$work/command"
    MOBILENS_TOKEN=open-sesame chroot "$root" /usr/local/bin/mobilens "${command[@]}" --frames 30 2>"$work/said" || { cat "$work/said"; exit 1; }
    grep 'watch at http://0.0.0.0:8080/' "$work/said"
    # A token that was forgotten opens the page to nobody.
    code=0
    MOBILENS_TOKEN='' chroot "$root" /usr/local/bin/mobilens "${command[@]}" --frames 30 2>"$work/said" || code=$?
    [ "$code" = 2 ] && grep 'environment variable MOBILENS_TOKEN is empty' "$work/said"
    ldd "$binary" | grep -vE 'linux-vdso|libgcc_s|libc\.so|libm\.so|libdl|libpthread|ld-linux' && {
        echo "it needs more than glibc"
        exit 1
    }
    echo "it runs in an empty root"
else
    echo "SKIPPED: only root may change the root"
fi
