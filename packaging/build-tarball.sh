#!/usr/bin/env bash
# Makes a tarball of a program that is built already, to be unpacked anywhere, and prints its path.
#
#   packaging/build-tarball.sh [PROFILE]   (default: $PROFILE, else release)
#
#   tar -xf mobilens-VERSION-ARCH-linux.tar.gz && mobilens-VERSION-ARCH-linux/bin/mobilens --help
#   tar -xf mobilens-VERSION-ARCH-linux.tar.gz -C /usr/local --strip-components 1
set -euo pipefail
# shellcheck source=packaging/stage.sh
. "$(dirname "$0")/stage.sh" "$@"
name=mobilens-$version-$(uname -m)-linux
root=$stage/$name
rm -rf "$root"
put() { install -D -m "$1" -t "$root/$2" "${@:3}"; }
put 755 bin "$stage/release/mobilens"
put 644 share/mobilens/pipelines pipelines/*.yaml
put 644 share/mobilens/models models/*.yaml models/*.onnx models/README.md
put 644 share/mobilens/assets assets/street.mp4
put 644 share/man/man1 "$stage"/man/*.1
put 644 share/bash-completion/completions "$stage/completions/mobilens"
put 644 share/zsh/site-functions "$stage/completions/_mobilens"
put 644 share/fish/vendor_completions.d "$stage/completions/mobilens.fish"
put 644 share/doc/mobilens README.md CHANGELOG.md LICENSE NOTICE packaging/mobilens.service
tar -czf "$root.tar.gz" --owner=0 --group=0 --sort=name -C "$stage" "$name"
echo "$root.tar.gz"
