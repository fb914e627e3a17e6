# shellcheck shell=bash
# Sourced by the scripts beside it: puts what every package holds beside the sources into
# $stage: the program without debug information, its manual pages and its completions.
#
# Takes the program that Cargo built in the profile $1, $PROFILE or else release.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
profile=${1:-${PROFILE:-release}}
target=${CARGO_TARGET_DIR:-target}
stage=target/package
case $profile in
dev) built=$target/debug/mobilens ;;
*) built=$target/$profile/mobilens ;;
esac
if [ ! -x "$built" ]; then
    echo "$built is missing; build it: cargo build --profile $profile" >&2
    exit 1
fi
# shellcheck disable=SC2034 # for the scripts that source this one
version=$("$built" --version | cut -d ' ' -f 2)
rm -rf "$stage/release" "$stage/man" "$stage/completions"
mkdir -p "$stage/release" "$stage/completions"
strip -o "$stage/release/mobilens" "$built"
"$built" man "$stage/man"
"$built" completions bash >"$stage/completions/mobilens"
"$built" completions zsh >"$stage/completions/_mobilens"
"$built" completions fish >"$stage/completions/mobilens.fish"
