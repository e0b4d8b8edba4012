#!/usr/bin/env bash
# Ory Oathkeeper, the version of go.mod: into the folder $1. Its makers build it without cgo, too.
set -euo pipefail
cd "$(dirname "$0")"
folder=$1

if ! command -v go >/dev/null; then
    echo "Go is needed (go)"
    exit 1
fi
if ! CGO_ENABLED=0 go build -trimpath -o "$folder/oathkeeper" github.com/ory/oathkeeper; then
    echo "go build failed: see build.log"
    exit 1
fi
