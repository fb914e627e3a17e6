#!/bin/sh
# The web page in a headless browser: the picture moves, events appear, what is switched off is gone.
# Needs chromium and python3 with pillow; MOBILENS names the binary (default: the dev build).
set -eu
cd "$(dirname "$0")/.."
mobilens=${MOBILENS:-target/debug/mobilens}
if ! command -v chromium >/dev/null; then
    echo "SKIPPED: chromium is not installed"
    # In CI nothing may be missing.
    [ -z "${MOBILENS_CI:-}" ]
    exit
fi
dir=$(mktemp -d)
"$mobilens" pipelines/web_security.yaml --set 'sinks.0={web: {bind: "127.0.0.1:0"}}' \
    --set 'source.camera={device: /dev/nowhere}' --output /dev/null 2>"$dir/said" &
run=$!
trap 'kill $run 2>/dev/null || true; rm -rf "$dir"' EXIT
for _ in $(seq 600); do
    grep -q 'watch at' "$dir/said" && break
    sleep 0.1
done
page=$(sed -n 's/.*watch at \(.*\)/\1/p' "$dir/said")
browse() {
    timeout 180 chromium --headless=new --no-sandbox --disable-gpu --user-data-dir="$dir/profile" \
        --window-size=1100,620 --timeout=6000 "$@" 2>/dev/null
}
browse --screenshot="$dir/one.png" "$page"
browse --screenshot="$dir/two.png" "$page"
browse --screenshot="$dir/bare.png" "$page#show=masks"
browse --dump-dom "$page" >"$dir/dom.html"
python3 - "$dir" <<'PYTHON'
import re, sys
from PIL import Image

folder = sys.argv[1]
one, two, bare = (Image.open(f"{folder}/{name}.png").convert("RGB") for name in ["one", "two", "bare"])
picture = (15, 82, 770, 400)
moved = sum(a != b for a, b in zip(one.crop(picture).getdata(), two.crop(picture).getdata()))
print("pixels of the picture that changed:", moved)
assert moved > 20_000, "the picture does not move"
yellow = lambda p: p[0] > 200 and p[1] > 200 and p[2] < 90
lines = [sum(map(yellow, shot.crop((380, 90, 410, 390)).getdata())) for shot in (one, bare)]
print("yellow pixels where the line is, switched on and off:", lines)
assert lines[0] > 300 and lines[1] < 30, "the line cannot be switched off"
dom = open(f"{folder}/dom.html").read()
events = len(re.findall(r"<li", dom))
state = re.search(r'class="state[^>]*>([^<]*)', dom).group(1)
print(f"{events} events; {state}")
assert events > 0 and "frames/s" in state
PYTHON
echo "the page works"
