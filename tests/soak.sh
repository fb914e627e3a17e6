#!/bin/sh
# A long run with faults: four streams, all sinks, and every half minute something goes wrong. What is
# done, and what must hold, stands in tests/soak.py.
#
#   tests/soak.sh [SECONDS [PATTERN]]    (default 3600, and all faults, else those that match; MOBILENS
#                                        names the binary, default: the dev build)
#
# Needs ffmpeg, mosquitto with its clients, curl, GStreamer's RTSP server (see tests/rtsp_server.py), and
# root for the faults of the disk.
set -eu
cd "$(dirname "$0")/.."
exec python3 tests/soak.py "${MOBILENS:-target/debug/mobilens}" "${1:-3600}" "${2:-.}"
