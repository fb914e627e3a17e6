#!/usr/bin/env bash
# Vehicles in labelled photographs from a drone, found by pipelines/ssd_drone.yaml at its own threshold: of
# 44, at least 43, with at most 8 false, in float32 and int8, whose recall and precision are within .01 and
# .025 of one another (a single box of 44 is .023). Four of the false ones are vehicles at the edge of a
# picture that the labels leave out.
#
#   tests/aerial.sh [BINARY]       (default: target/debug/mobilens)
#
# Needs ../shared/data/aerial beside the checkout (MOBILENS_SHARED names another folder than ../shared) and
# pillow; without the pictures the test is skipped, and says so, or fails under MOBILENS_CI.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:-target/debug/mobilens}")
data=${MOBILENS_SHARED:-../shared}/data/aerial
if [ ! -d "$data" ]; then
    echo "SKIPPED tests/aerial.sh: $data does not exist"
    # In CI nothing may be missing.
    [ -z "${MOBILENS_CI:-}" ]
    exit
fi
python3 tests/aerial.py "$binary" "$data" --least 43 --most 8
