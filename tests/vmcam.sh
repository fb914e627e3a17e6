#!/usr/bin/env bash
# The camera source against real V4L2 devices, in a virtual machine.
#
#   tests/vmcam.sh [BINARY]          (default: target/debug/mobilens)
#
# Needs ../shared/vmcam beside the checkout (MOBILENS_SHARED names another folder than ../shared);
# without it the test is skipped, and says so, or fails under MOBILENS_CI.
# VMCAM_CACHE names a writable folder that keeps the machine's kernel between runs.
set -uo pipefail
cd "$(dirname "$0")/.."
here=$PWD
binary=$(realpath "${1:-target/debug/mobilens}")
vmcam=${MOBILENS_SHARED:-../shared}/vmcam/vmcam
if [ ! -x "$vmcam" ]; then
    echo "SKIPPED tests/vmcam.sh: $vmcam does not exist"
    # In CI nothing may be missing.
    [ -z "${MOBILENS_CI:-}" ]
    exit
fi
export VMCAM_CACHE=${VMCAM_CACHE:-$here/target/vmcam}
mkdir -p "$VMCAM_CACHE"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# run NAME EXPECTED_EXIT [VMCAM OPTIONS] -- [MOBILENS OPTIONS]
run() {
    local name=$1 expected=$2 options=()
    shift 2
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    mkdir -p "$work/$name"
    timeout 240 "$vmcam" --timeout 120 --with "$here/tests/data/tiny" --out "$work/$name/" "${options[@]}" \
        "$binary" "$here/tests/data/tiny/camera.yaml" "$@" \
        >"$work/$name.jsonl" 2>"$work/$name.err"
    local got=$?
    check "$name: exit $expected" [ "$got" = "$expected" ] || sed 's/^/    /' "$work/$name.err" | tail -5
}

check() {
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok      $what"
    else
        failed=$((failed + 1))
        echo "FAILED  $what"
        return 1
    fi
}

# says NAME PATTERN: exactly one line of the program's own, and it fits.
says() {
    local lines
    lines=$(grep -c '^mobilens: ' "$work/$1.err")
    check "$1: one line like \"$2\"" [ "$lines" = 1 ] && check "$1: the line fits" grep -q "^mobilens: .*$2" "$work/$1.err" ||
        sed 's/^/    /' "$work/$1.err" | tail -8
}

# The last picture that was written.
last() { find "$work/$1" -name '*.png' | sort | tail -n 1; }
frames() { grep -c '"type":"frame"' "$work/$1.jsonl"; }
ended() { tail -n 1 "$work/$1.jsonl" | grep -q '"type":"end"'; }

# near PICTURE X Y R G B: the pixel is within 24 codes of the colour on each channel.
near() {
    local rgb
    rgb=$(convert "$1" -format "%[fx:int(255*p{$2,$3}.r+.5)] %[fx:int(255*p{$2,$3}.g+.5)] %[fx:int(255*p{$2,$3}.b+.5)]" info:)
    set -- $rgb "$4" "$5" "$6"
    local i
    for i in 1 2 3; do
        local a=${!i} j=$((i + 3))
        local b=${!j}
        [ $((a - b)) -le 24 ] && [ $((b - a)) -le 24 ] || { echo "    got $rgb, expected $4 $5 $6"; return 1; }
    done
}

# vivid's test pattern: eight bars at 75 % (white, yellow, cyan, green, magenta, red, blue, black).
bars() {
    local picture=$1 width=$2 y=$3 i=0 colour
    for colour in "191 191 191" "191 191 0" "0 191 191" "0 191 0" "191 0 191" "191 0 0" "0 0 191" "0 0 0"; do
        check "$(basename "$picture"): bar $i is $colour" near "$picture" $((width * (2 * i + 1) / 16)) "$y" $colour
        i=$((i + 1))
    done
}

picture_sink=(--set 'sinks.1.images.dir=/out')

# Listed with the rates that are no whole numbers, and formats whose name has a bit too many.
timeout 240 "$vmcam" --timeout 120 "$binary" devices >"$work/devices" 2>"$work/devices.err"
check "devices: exit 0" [ $? = 0 ]
check "devices: the camera" grep -q '^/dev/video0  vivid' "$work/devices"
check "devices: its rates" grep -qx '  YUYV 640x480  25 15 12.5 10 5 4 2 1 fps' "$work/devices"
check "devices: each format has a name" [ "$(grep -c '^   ' "$work/devices")" = 0 ]

# At a rate that the slow machine keeps up with: what it is late for, a camera drops.
slowly=(--set source.camera.fps=5)
run yuyv 0 -- --frames 45 "${slowly[@]}" "${picture_sink[@]}"
check "yuyv: 30 frames and more" [ "$(frames yuyv)" -ge 30 ]
check "yuyv: the rate asked for" grep -q '"fps":5.0' "$work/yuyv.jsonl"
check "yuyv: the size asked for" grep -q '"width":640,"height":480' "$work/yuyv.jsonl"
bars "$(last yuyv)" 640 440

# Recorded pictures as a camera: left half red, right half blue.
mkdir "$work/jpegs"
for i in 1 2 3; do
    convert -size 320x480 xc:'rgb(200,30,30)' -size 320x480 xc:'rgb(30,30,200)' +append -quality 95 "$work/jpegs/$i.jpg"
done
run mjpeg 0 --feed "MJPG 640 480 5 $work/jpegs" -- --frames 60 "${picture_sink[@]}"
check "mjpeg: 30 frames and more" [ "$(frames mjpeg)" -ge 30 ]
check "mjpeg: red at the left" near "$(last mjpeg)" 100 240 200 30 30
check "mjpeg: blue at the right" near "$(last mjpeg)" 500 240 30 30 200

# NV12 planes: grey 126 with the chroma of red.
python3 - "$work/nv12.raw" <<'PY'
import sys
open(sys.argv[1], "wb").write(bytes([81]) * (640 * 480) + bytes([90, 240]) * (320 * 240))
PY
run nv12 0 --feed "NV12 640 480 30 $work/nv12.raw" -- --frames 20 "${picture_sink[@]}"
check "nv12: red" near "$(last nv12)" 320 240 254 0 0

# A size that is not asked for by name, and drivers' times while somebody sets the clock.
python3 - "$work/red.raw" <<'PY'
import sys
open(sys.argv[1], "wb").write(bytes([81, 90, 81, 240]) * (352 * 288 // 2))
PY
run clock 0 --feed "YUYV 352 288 5 $work/red.raw" \
    --bg "sleep 4; date -s '2031-01-01 00:00:00'; sleep 2; date -s '2001-01-01 00:00:00'" -- --frames 50 "${slowly[@]}"
check "unusual size: the nearest there is" grep -q '"width":352,"height":288' "$work/clock.jsonl"
times=$(grep '"type":"frame"' "$work/clock.jsonl" | grep -o '"pts_ms":[0-9.]*' | cut -d: -f2)
check "clock: media time goes on and does not jump" \
    awk 'NR > 1 && ($1 <= last || $1 > last + 2000) { bad = 1 } { last = $1 } END { exit bad || NR < 40 }' <<<"$times"

run unplugged 1 --bg 'sleep 3; echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind' -- --set source.camera.reconnect=never
says unplugged "camera /dev/video0: it was unplugged"
check "unplugged: the records end whole" ended unplugged

run stalled 1 --with /usr/bin/v4l2-ctl --bg 'sleep 3; v4l2-ctl -c percentage_of_dropped_buffers=100' -- --set source.camera.reconnect=never
says stalled "camera /dev/video0: it gave no frame for 5 s"
check "stalled: the records end whole" ended stalled

# Lost and taken up again: unplugged for a while, stalled for a while, busy at the beginning.
vivid=/sys/bus/platform/drivers/vivid
taken_up() {
    check "$1: it was lost" grep -q '"kind":"source","phase":"new","name":"lost"' "$work/$1.jsonl" &&
        check "$1: it came back" grep -q '"kind":"source","phase":"end","name":"back"' "$work/$1.jsonl" &&
        check "$1: frames after that" awk '/"name":"back"/ { back = 1 } back && /"type":"frame"/ { n++ } END { exit n < 5 }' "$work/$1.jsonl" ||
        { sed 's/^/    /' "$work/$1.err" | tail -8; cut -c1-150 "$work/$1.jsonl" | tail -3; }
    check "$1: time goes on" awk '/"type":"frame"/ { match($0, /"pts_ms":[0-9.]*/); t = substr($0, RSTART + 9, RLENGTH - 9) + 0; if (n++ && t <= last) exit 1; last = t }' "$work/$1.jsonl"
}
run replugged 0 --bg "sleep 3; echo vivid.0 >$vivid/unbind; sleep 3; echo vivid.0 >$vivid/bind; sleep 12; kill -INT \$PID" -- "${slowly[@]}"
taken_up replugged
# Another program keeps the old number: the camera comes back under another one.
run renumbered 0 --with /usr/bin/v4l2-ctl \
    --bg "sleep 3; exec 9</dev/video0; echo vivid.0 >$vivid/unbind; sleep 2; echo vivid.0 >$vivid/bind; sleep 12; kill -INT \$PID" -- "${slowly[@]}"
taken_up renumbered
check "renumbered: it says so" grep -q 'camera /dev/video0 is now /dev/video[1-9]' "$work/renumbered.err"
run stalled_once 0 --with /usr/bin/v4l2-ctl --bg "sleep 3; v4l2-ctl -c percentage_of_dropped_buffers=100; sleep 8
v4l2-ctl -c percentage_of_dropped_buffers=0; sleep 12; kill -INT \$PID" -- "${slowly[@]}" --set source.camera.stall_ms=2000
taken_up stalled_once
run waited 0 --with /usr/bin/v4l2-ctl --pre 'v4l2-ctl --stream-mmap --stream-count=60 >/dev/null 2>&1 & sleep 2' \
    --bg "sleep 25; kill -INT \$PID" -- "${slowly[@]}" --set source.camera.reconnect=always
taken_up waited

run interrupted 0 --with /usr/bin/v4l2-ctl \
    --bg 'sleep 3; v4l2-ctl -c percentage_of_dropped_buffers=100; sleep 2; kill -INT $PID' --
check "interrupted while no frame comes: the records end whole" ended interrupted
check "interrupted: it says so" grep -q '"reason":"interrupted"' "$work/interrupted.jsonl"

# Headless it would be waited for.
once=(--set source.camera.reconnect=lost)
run busy 1 --with /usr/bin/v4l2-ctl --pre 'v4l2-ctl --stream-mmap --stream-count=100000 >/dev/null 2>&1 & sleep 2' -- "${once[@]}"
says busy "camera /dev/video0: another program is using it"

# In the very mode that would be asked for, which nokhwa opens without a word.
run busy_same 1 --with /usr/bin/v4l2-ctl --pre 'v4l2-ctl --set-fmt-video=width=640,height=480,pixelformat=YUYV
v4l2-ctl --set-parm=25; v4l2-ctl --stream-mmap --stream-count=100000 >/dev/null 2>&1 & sleep 2' -- "${once[@]}"
says busy_same "camera /dev/video0: another program is using it"

head -c 307200 /dev/zero >"$work/grey.raw"
run unreadable 1 --feed "GREY 640 480 30 $work/grey.raw" -- "${once[@]}"
says unreadable "camera /dev/video0: it gives GREY, but only"

run missing 1 --no-camera -- "${once[@]}"
says missing "camera /dev/video0: there is no such device"

# Left behind by another program in modes that nokhwa cannot read: set right, and read.
run fractional 0 --with /usr/bin/v4l2-ctl \
    --pre 'v4l2-ctl --set-fmt-video=width=1280,height=720,pixelformat=YUYV; v4l2-ctl --set-parm=12.5' -- --frames 20
check "fractional rate: frames come" [ "$(frames fractional)" -ge 5 ]
# The size asked for has the same fractional rate at its head: the best whole one is taken.
run fractional_here 0 --with /usr/bin/v4l2-ctl \
    --pre 'v4l2-ctl --set-fmt-video=width=1280,height=720,pixelformat=YUYV; v4l2-ctl --set-parm=12.5' -- \
    --frames 10 --set source.camera.width_px=1280 --set source.camera.height_px=720
check "fractional rate: the size asked for" grep -q '"width":1280,"height":720,"fps":10.0' "$work/fractional_here.jsonl"
run unknown 0 --with /usr/bin/v4l2-ctl \
    --pre 'v4l2-ctl --set-fmt-video=width=640,height=480,pixelformat=UYVY' -- --frames 20
check "unknown format: frames come" [ "$(frames unknown)" -ge 5 ]

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
