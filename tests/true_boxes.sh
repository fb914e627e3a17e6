#!/usr/bin/env bash
# How many of 100 hand-made boxes of cars and people (tests/goldens) the shipped SSDLite finds with the picture
# stretched to a square and in a rectangle of the same number of pixels: the rectangle must find at least as many,
# in int8 and in float32, at score thresholds of 0.3 and 0.4.
#
#   tests/true_boxes.sh [BINARY]     (default: $MOBILENS, else target/debug/mobilens)
#
# Needs ffmpeg and ../shared/data/video beside the checkout (MOBILENS_SHARED names another folder than ../shared);
# without the clips the test is skipped, and says so, or fails under MOBILENS_CI.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:-${MOBILENS:-target/debug/mobilens}}")
clips=${MOBILENS_SHARED:-../shared}/data/video
if [ ! -d "$clips" ]; then
    echo "SKIPPED tests/true_boxes.sh: $clips does not exist"
    # In CI nothing may be missing.
    [ -z "${MOBILENS_CI:-}" ]
    exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 tests/true_boxes.py "$binary" "$work" assets "$clips"
