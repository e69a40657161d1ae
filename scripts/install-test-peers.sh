#!/usr/bin/env bash
# Installs the real clients, servers and suites that the tests run against, into .cache/peers:
#
#   node/       Node 22, the MCP conformance suite, the Inspector, the TypeScript SDKs, npm's reference servers
#   py-*/       one virtual environment for each file in testing/peers/python
#
# Every version is pinned under testing/peers. The script does nothing when what is there was made from the same pins.
# What cannot be installed is named at the end and in .cache/peers/skipped.txt; with --strict (or CI=true) that is an
# error, otherwise the tests that need it say that they were skipped.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
pins="$root/testing/peers"
peers="$root/.cache/peers"
strict="${CI:-false}"
[ "${1:-}" = "--strict" ] && strict=true

say() { printf '%s\n' "test peers: $*" >&2; }
skipped=()
skip() { skipped+=("$*"); say "SKIPPED $*"; }

sha() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1; }
# The key of one part: what it is made from. A changed pin, and nothing else, makes that part anew.
key_of() { cat "$@" | sha; }
is_current() { [ "$(cat "$1/.made-from" 2>/dev/null)" = "$2" ]; }

mkdir -p "$peers"

# --- Debian packages: only where apt is there and may be used -----------------------------------------------------------
missing=()
for pair in nginx:nginx jq:jq; do
    PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if command -v python3 >/dev/null && ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    missing+=(python3-venv)
fi
if [ "${#missing[@]}" -gt 0 ]; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        say "installing Debian packages: ${missing[*]}"
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"; } \
            >"$peers/apt.log" 2>&1 || skip "Debian packages ${missing[*]} (apt-get failed, see .cache/peers/apt.log)"
    else
        skip "Debian packages ${missing[*]} (needs apt-get and root; install them by hand)"
    fi
fi

# --- npm ------------------------------------------------------------------------------------------------------------------
install_node() {
    local home="$peers/node" key
    key="$(key_of "$pins"/node/package.json "$pins"/node/package-lock.json "$pins"/node/.npmrc)"
    if is_current "$home" "$key"; then return; fi
    if ! command -v npm >/dev/null; then
        skip "Node 22, conformance suite, Inspector, TypeScript SDKs and servers (npm is not installed; any version will do)"
        return
    fi
    say "installing npm packages (about half a minute)"
    rm -rf "$home"
    mkdir -p "$home"
    cp "$pins"/node/package.json "$pins"/node/package-lock.json "$pins"/node/.npmrc "$home/"
    # The machine's own Node may be older than the packages ask for; they run under the Node that comes with them.
    if (cd "$home" && npm ci --engine-strict=false) >"$peers/npm.log" 2>&1 &&
        "$home/node_modules/.bin/node" --version >/dev/null; then
        printf '%s\n' "$key" >"$home/.made-from"
    else
        skip "npm packages (npm ci failed, see .cache/peers/npm.log)"
    fi
}

# --- PyPI -------------------------------------------------------------------------------------------------------------------
install_python() {
    local name="$1" requirements="$pins/python/$1.txt" home="$peers/py-$1" key
    key="$(key_of "$requirements")"
    if is_current "$home" "$key"; then return; fi
    if ! command -v python3 >/dev/null; then
        skip "Python environment $name (python3 is not installed)"
        return
    fi
    say "installing Python environment $name"
    rm -rf "$home"
    if python3 -m venv "$home" >"$peers/py-$name.log" 2>&1 &&
        "$home/bin/pip" install --disable-pip-version-check --quiet -r "$requirements" >>"$peers/py-$name.log" 2>&1; then
        printf '%s\n' "$key" >"$home/.made-from"
    else
        skip "Python environment $name (see .cache/peers/py-$name.log)"
    fi
}

install_node
for requirements in "$pins"/python/*.txt; do
    install_python "$(basename "$requirements" .txt)"
done

if [ "${#skipped[@]}" -eq 0 ]; then
    rm -f "$peers/skipped.txt"
    say "all there"
    exit 0
fi
printf '%s\n' "${skipped[@]}" >"$peers/skipped.txt"
say "${#skipped[@]} part(s) skipped; tests that need them will say so"
[ "$strict" = true ] && exit 1
exit 0
