#!/usr/bin/env bash
# An environment with what router.py needs, and the messages generated from check.proto: into the folder $1.
set -euo pipefail
cd "$(dirname "$0")"
folder=$1

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "Python 3.10 or newer is needed (python3)"
    exit 1
fi
if ! cmp -s requirements.txt "$folder/installed"; then
    rm -rf "$folder/venv" "$folder/installed"
    if ! python3 -m venv "$folder/venv"; then
        echo "Python has no venv (Debian, Ubuntu: apt install python3-venv)"
        exit 1
    fi
    if ! "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: -r requirements.txt; then
        echo "pip cannot install requirements.txt: see build.log"
        exit 1
    fi
    cp requirements.txt "$folder/installed"
fi
mkdir -p "$folder/generated"
"$folder/venv/bin/python" -m grpc_tools.protoc -I . --python_out="$folder/generated" --grpc_python_out="$folder/generated" check.proto
