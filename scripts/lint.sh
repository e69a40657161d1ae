#!/usr/bin/env bash
# Everything that can be said about the sources without running them. All of it is said, even when the first part fails.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# shellcheck source=scripts/skips.sh
source scripts/skips.sh

failed=()
step() {
    local name="$1"
    shift
    printf '\n== %s\n' "$name" >&2
    "$@" || failed+=("$name")
}

documentation() {
    # Of libraries only: the binary and the library `gatepost` would be written to the same place.
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --lib --no-deps --locked --quiet
}

dependencies() {
    # Without advisories: a new one must not fail an old commit. `make security-scan` asks for them.
    if have_cargo_tool deny; then
        cargo deny --locked check --hide-inclusion-graph bans licenses sources
    else
        skip "cargo deny: licences, banned crates, sources (cargo-deny is not installed and could not be)"
    fi
}

shell_scripts() {
    if command -v shellcheck >/dev/null; then
        shellcheck --external-sources scripts/*.sh .ci/run
    else
        skip "shellcheck (not installed)"
    fi
}

step "cargo fmt" cargo fmt --all --check
[ ! -f fuzz/Cargo.toml ] || step "cargo fmt, fuzz targets" cargo fmt --manifest-path fuzz/Cargo.toml --check
step "cargo clippy" cargo clippy --workspace --all-targets --locked --quiet --keep-going -- -D warnings
step "cargo doc" documentation
step "cargo deny" dependencies
step "shellcheck" shell_scripts

if [ "${#failed[@]}" -gt 0 ]; then
    printf '\nlint FAILED:\n' >&2
    printf '  %s\n' "${failed[@]}" >&2
    exit 1
fi
printf '\nlint: no complaints\n' >&2
