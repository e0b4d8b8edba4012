#!/usr/bin/env bash
# Builds the other makers' servers that `alphaswarm-bench --only peers` measures: each by the build.sh in its folder, into
# target/bench/peers/<name>. What cannot be built is left out, and the file `missing` there says why: the last line of its log.
set -euo pipefail
sources=$(cd "$(dirname "$0")" && pwd)
target=$(cd "$sources/../.." && pwd)/target/bench/peers

for source in "$sources"/*/build.sh; do
    name=$(basename "$(dirname "$source")")
    folder=$target/$name
    mkdir -p "$folder"
    echo "building $name (log: $folder/build.log)"
    if bash "$source" "$folder" >"$folder/build.log" 2>&1; then
        rm -f "$folder/missing"
    else
        reason=$(tail -n 1 "$folder/build.log" | cut -c 1-300)
        echo "${reason:-its build.sh failed without a word}" | tee "$folder/missing" | sed 's/^/  left out: /'
    fi
done
