#!/usr/bin/env bash
# Tiles against the whole picture alone, on two clips with hand-checked frames (tests/goldens/tiles): recall of
# detections must be higher, that of tracks not lower, and no more tracks may be false. With the shipped SSDLite in int8 at a
# threshold of 0.3, for the clip's own classes and for all classes.
#
#   tests/tiles.sh [BINARY] [KEY=VALUE ...]     (default: $MOBILENS, else target/debug/mobilens)
#
# KEY=VALUE are settings of the run with tiles, as gating.tiles.merge=nms. Needs ../shared/data/video beside the
# checkout (MOBILENS_SHARED names another folder than ../shared); without the clips the test is skipped, and says so,
# or fails under MOBILENS_CI.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:-${MOBILENS:-target/debug/mobilens}}")
clips=${MOBILENS_SHARED:-../shared}/data/video
if [ ! -d "$clips" ]; then
    echo "SKIPPED tests/tiles.sh: $clips does not exist"
    # In CI nothing may be missing.
    [ -z "${MOBILENS_CI:-}" ]
    exit
fi
python3 tests/tiles.py "$binary" "$clips" "${@:2}"
