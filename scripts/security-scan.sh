#!/usr/bin/env bash
# What is known about our dependencies: vulnerabilities (RustSec), licences, banned crates, where they come from.
#
# A scan that could not ask for vulnerabilities fails: it must not look like one that found none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/skips.sh
source scripts/skips.sh

if ! have_cargo_tool deny; then
    echo "security-scan: NOT DONE, cargo-deny is not installed and could not be (cargo install --locked cargo-deny)" >&2
    exit 1
fi
cargo deny --locked check bans licenses sources
if ! cargo deny --locked fetch db; then
    echo "security-scan: licences, bans and sources are fine; known vulnerabilities were NOT CHECKED, because the RustSec" \
        "advisory database cannot be reached from here" >&2
    exit 1
fi
cargo deny --locked check --disable-fetch advisories
