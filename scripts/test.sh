#!/usr/bin/env bash
# Runs tests: `all`, or one kind of them:
#
#   integration   tests/ of every crate, against our own fixtures
#   contract      test binaries named conformance*: the MCP conformance suite
#   e2e           test binaries named peers*: real clients and servers
#
# `all` also runs the documentation's examples and the fuzz targets for a moment, goes on when something fails, and ends with
# what was skipped and why.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# shellcheck source=scripts/skips.sh
source scripts/skips.sh

kind="${1:-all}"
# For this long each fuzz target runs in `all`, in seconds.
fuzz_seconds=5

cargo_tests() {
    if [ "$nextest" = yes ]; then
        cargo nextest run --workspace --locked --no-fail-fast --profile "${NEXTEST_PROFILE:-$profile}" "$@"
    else
        cargo test --workspace --locked --no-fail-fast "$@"
    fi
}

nextest=no
cargo nextest --version >/dev/null 2>&1 && nextest=yes
profile=default
[ "${CI:-false}" = true ] && profile=ci

case "$kind" in
    all) ;;
    integration)
        if [ "$nextest" = yes ]; then
            cargo_tests -E 'kind(test) and not binary(/^(conformance|peers)/)'
        else
            cargo_tests --test '*'
        fi
        exit
        ;;
    contract) cargo_tests --test 'conformance*'; exit ;;
    e2e) cargo_tests --test 'peers*'; exit ;;
    *)
        echo "usage: scripts/test.sh [all | integration | contract | e2e]" >&2
        exit 2
        ;;
esac

GATEPOST_SKIPS="$(mktemp)"
export GATEPOST_SKIPS
trap 'rm -f "$GATEPOST_SKIPS"' EXIT
failed=()
step() {
    local name="$1"
    shift
    printf '\n== %s\n' "$name" >&2
    "$@" || failed+=("$name")
}

tests() {
    # A test whose peer is missing would fail, which is right where everything can be installed. Elsewhere what needs peers is
    # left out as a whole, and said to be.
    if [ "${CI:-false}" = true ] || [ ! -s .cache/peers/skipped.txt ]; then
        cargo_tests
    elif [ "$nextest" = yes ]; then
        skip "test binaries named conformance* and peers* (their peers are not all installed: see above)"
        cargo_tests -E 'not binary(/^(conformance|peers)/)'
    else
        cargo_tests
    fi
}

step "test peers" scripts/install-test-peers.sh
[ ! -s .cache/peers/skipped.txt ] || while read -r line; do skip "$line"; done <.cache/peers/skipped.txt
step "tests" tests
# cargo test runs them with the rest.
[ "$nextest" = no ] || step "documentation's examples" cargo test --workspace --doc --locked --quiet
step "fuzz targets, $fuzz_seconds s each" scripts/fuzz.sh "$fuzz_seconds"

printf '\n== summary\n'
if [ -s "$GATEPOST_SKIPS" ]; then
    echo "skipped:"
    sed 's/^/  /' "$GATEPOST_SKIPS"
else
    echo "nothing was skipped"
fi
if [ "${#failed[@]}" -gt 0 ]; then
    echo "FAILED:"
    printf '  %s\n' "${failed[@]}"
    exit 1
fi
echo "everything passed"
