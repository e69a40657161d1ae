#!/usr/bin/env bash
# Builds every fuzz target and runs each for SECONDS.
#
# cargo-fuzz needs compiler flags that are nightly's; RUSTC_BOOTSTRAP lets the stable compiler take them, so that one
# toolchain does for everything. No sanitizer: the parsers are safe Rust, and what is looked for is panics, endless loops and
# memory out of proportion.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/skips.sh
source scripts/skips.sh

seconds="${1:?usage: scripts/fuzz.sh SECONDS}"

if [ ! -f fuzz/Cargo.toml ]; then
    skip "fuzz targets (there are none)"
    exit 0
fi
if ! have_cargo_tool fuzz; then
    skip "fuzz targets (cargo-fuzz is not installed and could not be)"
    exit 0
fi

export RUSTC_BOOTSTRAP=1
cargo fuzz build --sanitizer none
failed=()
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
for target in $(cargo fuzz list); do
    # Seeds are in the repository; what the fuzzer finds goes to fuzz/corpus, which is not.
    corpus=("fuzz/corpus/$target")
    mkdir -p "${corpus[0]}"
    [ ! -d "fuzz/seeds/$target" ] || corpus+=("fuzz/seeds/$target")
    if cargo fuzz run --sanitizer none "$target" "${corpus[@]}" -- \
        -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 </dev/null >"$log" 2>&1; then
        runs="$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
        printf 'fuzzed %s for %s s, %s inputs: nothing found\n' "$target" "$seconds" "$runs"
    else
        failed+=("$target")
        printf 'fuzzed %s:\n' "$target"
        tail -n 60 "$log"
    fi
done
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'fuzzing found something in: %s (see fuzz/artifacts)\n' "${failed[*]}" >&2
    exit 1
fi
