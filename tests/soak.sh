#!/bin/sh
# A long run: a network camera, a page that is watched, a broker, recordings. Memory, threads and
# descriptors must not grow.
#
#   tests/soak.sh [MINUTES]        (default 60; MOBILENS names the binary, default: the dev build)
#
# Needs ffmpeg, mosquitto, curl, GStreamer's RTSP server (see tests/rtsp_server.py).
set -eu
cd "$(dirname "$0")/.."
minutes=${1:-60}
mobilens=${MOBILENS:-target/debug/mobilens}
dir=$(mktemp -d)
pids=
trap 'kill $pids 2>/dev/null || true; rm -rf "$dir"' EXIT
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
rtsp=$(port) mqtt=$(port) web=$(port)
# Five minutes of the bundled clip; at its end the camera goes away and is taken up again.
ffmpeg -v error -nostdin -stream_loop 29 -i assets/street.mp4 -c copy "$dir/long.mp4"
/usr/bin/python3 tests/rtsp_server.py "$dir/long.mp4" "$rtsp" >/dev/null & pids="$pids $!"
printf 'listener %s 127.0.0.1\nallow_anonymous true\n' "$mqtt" >"$dir/mosquitto.conf"
PATH="$PATH:/usr/sbin" mosquitto -c "$dir/mosquitto.conf" >/dev/null 2>&1 & pids="$pids $!"
sleep 2
"$mobilens" pipelines/rtsp_security.yaml --output /dev/null \
    --set "source.rtsp.url=rtsp://127.0.0.1:$rtsp/cam" \
    --set "sinks.0={web: {bind: \"127.0.0.1:$web\"}}" --set "sinks.1={mqtt: {url: \"mqtt://127.0.0.1:$mqtt\"}}" \
    --set "sinks.2={video: {dir: $dir/all, split_s: 60, max_mb: 100}}" \
    --set "sinks.3={clips: {dir: $dir/clips, max_mb: 100}}" 2>"$dir/said" &
run=$!
pids="$pids $run"
sleep 3
curl -sN -o /dev/null "http://127.0.0.1:$web/live.mjpeg" & pids="$pids $!"
curl -sN -o /dev/null "http://127.0.0.1:$web/events" & pids="$pids $!"
end=$(($(date +%s) + minutes * 60))
while [ "$(date +%s)" -lt "$end" ] && kill -0 $run 2>/dev/null; do
    rss=$(awk '/VmRSS/ { print $2 }' /proc/$run/status)
    threads=$(awk '/Threads/ { print $2 }' /proc/$run/status)
    echo "$(date +%s) $rss $threads $(ls /proc/$run/fd | wc -l)" >>"$dir/samples"
    sleep 5
done
curl -s "http://127.0.0.1:$web/metrics" | grep -E 'frames_total|lost_total' || true
kill -INT $run
wait $run && echo "exit 0" || echo "exit $?"
tail -n 12 "$dir/said"
du -sm "$dir/all" "$dir/clips"
python3 - "$dir/samples" <<'PYTHON'
import statistics, sys

rows = [list(map(int, line.split())) for line in open(sys.argv[1])]
began = rows[0][0]
# The first tenth is for buffers to fill.
rows = [r for r in rows if r[0] - began >= (rows[-1][0] - began) / 10]
third = len(rows) // 3
ok = True
for name, column, most in [("memory (kB)", 1, 1.05), ("threads", 2, 1.0), ("descriptors", 3, 1.0)]:
    first, last = ([r[column] for r in part] for part in (rows[:third], rows[-third:]))
    # Connections that come and go move the counts for a moment.
    first, last = statistics.median(first), statistics.median(last)
    ratio = last / first
    print(f"{name}: {first:.0f} in the first third, {last:.0f} in the last: {ratio:.3f}")
    ok &= ratio <= most
sys.exit(not ok)
PYTHON
