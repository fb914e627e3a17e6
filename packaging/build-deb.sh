#!/usr/bin/env bash
# Makes the Debian package of a program that is built already; cargo-deb prints its path.
#
#   packaging/build-deb.sh [PROFILE]       (default: $PROFILE, else release)
#
# Needs cargo-deb, dpkg-dev (for the dependencies on system libraries) and binutils.
set -euo pipefail
# shellcheck source=packaging/stage.sh
. "$(dirname "$0")/stage.sh" "$@"
# A development build is packaged to be tested at once, so in little time.
fast=()
[ "$profile" = dev ] && fast=(--fast)
# cargo-deb takes the program from the release folder of its target folder, which is the staged one.
CARGO_TARGET_DIR=$stage cargo deb --quiet --locked --no-build --no-strip "${fast[@]}" --output "$stage/"
