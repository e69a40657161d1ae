#!/usr/bin/env bash
# Builds the image of deploy/Containerfile with podman or docker, whichever works. Arguments go to `build`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for engine in podman docker; do
    if command -v "$engine" >/dev/null && "$engine" info >/dev/null 2>&1; then
        exec "$engine" build --file deploy/Containerfile --tag gatepost:latest "$@" .
    fi
done
echo "container: neither podman nor docker is installed and running; start one, or build with \`make build\`" >&2
exit 1
