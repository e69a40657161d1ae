# shellcheck shell=bash
# Sourced by the other scripts: what could not be done is said at once, and once more at the end.

# The list that `make test` prints at its end; without it, saying so has to do.
skip() {
    printf 'SKIPPED %s\n' "$*" >&2
    [ -z "${GATEPOST_SKIPS:-}" ] || printf '%s\n' "$*" >>"$GATEPOST_SKIPS"
}

# Whether a cargo subcommand is there; installed if it can be. Unoptimised: that takes a third of the time to build, and
# these tools have little to do here.
have_cargo_tool() {
    cargo "$1" --version >/dev/null 2>&1 && return
    printf 'installing cargo-%s\n' "$1" >&2
    cargo install --debug --locked --quiet "cargo-$1" </dev/null
}
