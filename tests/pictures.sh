#!/usr/bin/env bash
# Makes the documentation's pictures anew: assets/page.jpg, events.jpg, result.jpg, counting.jpg and segmentation.jpg.
#
#   tests/pictures.sh [NAME...]      (default: page events result counting segmentation)
#
# All are taken from shipped pipelines and the bundled clip, at frames that are named below. result.jpg and
# segmentation.jpg are what the `images` sink writes; counting.jpg is such a frame above the heat map of
# `mobilens plot`. page.jpg is the web page in a headless browser while the clip runs as a live camera
# would, again and again; once the wanted frame comes and the rate is right, the server is paused, so that
# the browser still shows that frame when the picture is taken. events.jpg is the page's Events view with an event of
# the clip.
#
# Needs python3 and, for page, events and counting, chromium. MOBILENS names the program (default: the dev build).
set -euo pipefail
cd "$(dirname "$0")/.."
mobilens=$(realpath -m "${MOBILENS:-target/debug/mobilens}")
result_frame=39
counting_frame=157
counting_scene=(137 186) # its first and last frame
segmentation_frame=30
page_frames=(162 164) # the first and the last that will do: live sources may drop one

fail() {
    echo "tests/pictures.sh: $*" >&2
    exit 1
}
[ $# -gt 0 ] || set -- page events result counting segmentation
for name; do
    case $name in
        page | events | counting) command -v chromium >/dev/null || fail "chromium is not installed" ;;
        result | segmentation) ;;
        *) fail "there is no picture '$name'" ;;
    esac
done
[ -x "$mobilens" ] || fail "$mobilens is not there: cargo build, or MOBILENS=PROGRAM"

dir=$(mktemp -d)
server='' browser='' script=''
cleanup() {
    for pid in $script $server $browser; do
        if kill "$pid" 2>/dev/null; then
            # The server may be paused.
            kill -CONT "$pid" 2>/dev/null || true
            wait "$pid" || true
        fi
    done
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# annotated FRAME FOLDER PIPELINE [OPTION...]: a folder with the pipeline's annotated frames up to FRAME
annotated() {
    local frame=$1 folder=$2 pipeline=$3
    shift 3
    "$mobilens" "pipelines/$pipeline.yaml" --headless --pace fast --frames $((frame + 1)) --output "$folder.jsonl" \
        --set "sinks.1.images={dir: $folder, format: jpeg, quality: 95}" "$@" 2>"$dir/said" ||
        fail "$pipeline: $(tail -n 1 "$dir/said")"
}

# frame FOLDER PIPELINE FRAME: the file of that frame
frame() { printf '%s/%s_%06d.jpg' "$1" "$2" "$3"; }

# browse COMMAND...: the Python program below, with a browser that listens on two pipes
browse() {
    mkfifo "$dir/commands" "$dir/answers"
    # DBus, updates and QUIC have no part in this.
    chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$dir/profile" \
        --remote-debugging-pipe about:blank 3<"$dir/commands" 4>"$dir/answers" >/dev/null 2>"$dir/chromium" &
    browser=$!
    python3 - "$dir/commands" "$dir/answers" "$@" <<'PYTHON' &
import base64, json, os, re, signal, sys, time, urllib.request

commands, answers = open(sys.argv[1], "wb", 0), open(sys.argv[2], "rb")
action, arguments = sys.argv[3], sys.argv[4:]
serial, session = 0, {}
CLIP_FRAMES = 250
# What the page is to show, in frames/s, and how often the clip is played until it does.
RATE, ROUNDS = 20, 12


def fail(why):
    sys.exit(f"tests/pictures.sh: {why}")


def call(method, **parameters):
    """One command of the DevTools protocol, and its answer; messages end with a zero byte."""
    global serial
    serial += 1
    message = {"id": serial, "method": method, "params": parameters, **session}
    commands.write(json.dumps(message).encode() + b"\0")
    while True:
        text = bytearray()
        while (byte := answers.read(1)) != b"\0":
            if not byte:
                fail("chromium ended")
            text += byte
        answer = json.loads(text)
        if answer.get("id") == serial:
            if "error" in answer:
                fail(f"chromium: {method}: {answer['error']['message']}")
            return answer["result"]


def open_page(url, width, height, scale):
    target = call("Target.createTarget", url="about:blank")["targetId"]
    session["sessionId"] = call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False)
    call("Page.navigate", url=url)


def value(expression):
    """The value of a JavaScript expression; promises are waited for."""
    found = call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
    return found["result"].get("value")


def save(path, quality):
    shot = call("Page.captureScreenshot", format="jpeg", quality=quality)
    with open(path, "wb") as file:
        file.write(base64.b64decode(shot["data"]))


def live_page(url, server, first, last, path):
    """The web page at one of these frames of the clip, in a round where the rate is that of a live camera."""
    open_page(url, 1024, 408, 1.25)
    arrivals, run = [], 0
    for line in urllib.request.urlopen(url + "events", timeout=60):
        record = json.loads(line[5:]) if line.startswith(b"data:") else {"type": "none"}
        if record["type"] != "frame":
            continue
        now = time.monotonic()
        arrivals = [time_s for time_s in arrivals if now - time_s < 2] + [now]
        round_, frame = divmod(record["frame"], CLIP_FRAMES)
        if round_ > ROUNDS:
            fail(f"fewer than {RATE} frames/s in {ROUNDS} rounds of the clip: the machine is busy")
        seen = [track["label"] for track in record["tracks"] if track["state"] == "seen"]
        run = run + 1 if len(seen) >= 2 else 0
        # From the second round on the list of events is full. The picture may be a frame or two behind its
        # record, so there are two boxes in some frames before, too.
        if round_ > 0 and int(first) <= frame <= int(last) and run >= 3 and len(arrivals) >= 2 * RATE:
            break
    # The browser shows a picture when the next one begins.
    time.sleep(0.03)
    os.kill(int(server), signal.SIGSTOP)
    time.sleep(0.5)
    state = value("document.querySelector('.state').textContent")
    events = value("document.querySelectorAll('#events li').length")
    print(f"page: frame {frame} of round {round_ + 1}, {', '.join(seen)}; {events} events; {state}")
    rate = re.match(r"([\d.]+) frames/s", state)
    if not rate or float(rate[1]) < RATE or not events:
        fail("the page shows no events, or too low a rate: the machine is busy")
    save(path, 90)


def events_view(url, path):
    """The Events view, once all pictures are there."""
    open_page(url + "#events", 1024, 640, 1)
    loaded = "document.querySelectorAll('.cards img').length > 5 && [...document.images].every(i => i.complete || !i.src)"
    for _ in range(600):
        if value(loaded):
            break
        time.sleep(0.1)
    else:
        fail("the Events view has no pictures")
    save(path, 65)


def stacked(above, below, width, height, path):
    """Two pictures of that size, one above the other."""
    sheet = os.path.join(os.path.dirname(path), "sheet.html")
    with open(sheet, "w") as file:
        file.write("<body style='margin: 0'>")
        file.writelines(f"<img style='display: block' src='{picture}'>" for picture in (above, below))
    open_page("file://" + sheet, int(width), 2 * int(height), 1)
    value("Promise.all([...document.images].map(picture => picture.decode()))")
    save(path, 90)


{"page": live_page, "events": events_view, "stacked": stacked}[action](*arguments)
session.clear()
call("Browser.close")
PYTHON
    script=$!
    wait "$script"
    wait "$browser" || true
    script='' browser=''
    rm -rf "$dir/commands" "$dir/answers" "$dir/profile"
}

# serve PIPELINE [OPTION...]: runs it, without a camera on the clip, and sets url to its page
serve() {
    local pipeline=$1
    shift
    "$mobilens" "pipelines/$pipeline.yaml" --set 'source.camera={device: /dev/nowhere}' \
        --set 'sinks.0={web: {bind: "127.0.0.1:0", quality: 95}}' "$@" --output /dev/null 2>"$dir/said" &
    server=$!
    url=''
    while [ -z "$url" ]; do
        kill -0 "$server" 2>/dev/null || fail "$pipeline: $(tail -n 1 "$dir/said")"
        sleep 0.1
        url=$(sed -n 's/.*watch at \(.*\)/\1/p' "$dir/said")
    done
}

# The server may be paused.
stop_server() {
    kill -CONT "$server"
    kill "$server"
    wait "$server" || true
    server=''
}

page() {
    serve web_security
    browse page "$url" "$server" "${page_frames[@]}" "$dir/page.jpg"
    stop_server
}

events() {
    local store="{store: {path: $dir/events.db}}" clips="{clips: {dir: $dir/clips}}"
    "$mobilens" pipelines/ssd_counting.yaml --headless --pace fast --set stream=web_security --output /dev/null \
        --set "sinks.1=$store" --set "sinks.2=$clips" 2>"$dir/said" || fail "ssd_counting: $(tail -n 1 "$dir/said")"
    # What is served sees nothing of its own.
    serve web_security --set "sinks.1=$store" --set "sinks.2=$clips" --set detect.score_threshold=1
    browse events "$url" "$dir/events.jpg"
    stop_server
}

result() {
    annotated "$result_frame" "$dir/result" ssd_replay
    cp "$(frame "$dir/result" ssd_replay "$result_frame")" "$dir/result.jpg"
}

counting() {
    annotated "$counting_frame" "$dir/counting" ssd_counting
    # The heat map is of that frame's scene, on the frame without boxes.
    annotated "$counting_frame" "$dir/plain" ssd_replay --set detect.score_threshold=1
    "$mobilens" pipelines/ssd_counting.yaml --headless --pace fast --output "$dir/all.jsonl" 2>"$dir/said" ||
        fail "ssd_counting: $(tail -n 1 "$dir/said")"
    python3 - "$dir/all.jsonl" "${counting_scene[@]}" >"$dir/records.jsonl" <<'PYTHON'
import json, sys

path, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for line in open(path):
    record = json.loads(line)
    if record["type"] == "run" or record["type"] == "frame" and first <= record["frame"] <= last:
        print(line, end="")
PYTHON
    "$mobilens" plot "$dir/records.jsonl" -o "$dir/heat.png" \
        --background "$(frame "$dir/plain" ssd_replay "$counting_frame")"
    browse stacked "$(frame "$dir/counting" ssd_counting "$counting_frame")" "$dir/heat.png" 640 272 "$dir/counting.jpg"
}

segmentation() {
    annotated "$segmentation_frame" "$dir/masks" deeplab_replay --set model.input_px=513 \
        --set 'segment.safe_ground={avoid: [person, bicycle, motorbike, car, bus], margin_px: 8}' \
        --set 'overlay.colours={person: "#e6194b", car: "#0082c8"}'
    cp "$(frame "$dir/masks" deeplab_replay "$segmentation_frame")" "$dir/segmentation.jpg"
}

for name; do
    "$name"
    cp "$dir/$name.jpg" "assets/$name.jpg"
    echo "assets/$name.jpg: $(stat -c %s "assets/$name.jpg") bytes"
done
