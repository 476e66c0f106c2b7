#!/usr/bin/env bash
# Rehearse a release: virtual devices that really run it, in place of the fleet. Give the provider
# (selfhosted, aws, azure, gke); run it in the project's folder. Exit code: that of the deploy.
set -euo pipefail
provider=${1:?usage: rehearse.sh PROVIDER}
work=$(mktemp -d)
# Nothing that edgectl does from here on leaves this machine, and the project's journal has none of it.
export EDGECTL_REHEARSAL=$work

edgectl emulate "$provider" --dir "$work/emulator" --devices 2 --info "$work/info.json" \
    >"$work/emulator.log" 2>&1 &
emulator=$!
end() {
    kill "$emulator" 2>/dev/null || true
    wait "$emulator" 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT

for _ in $(seq 600); do
    [ -s "$work/info.json" ] && break
    kill -0 "$emulator" 2>/dev/null || { cat "$work/emulator.log" >&2; exit 1; }
    sleep 0.5
done
[ -s "$work/info.json" ] || { echo "the emulator did not come up" >&2; cat "$work/emulator.log" >&2; exit 1; }

# What the emulator wants in the environment of everybody who talks to it.
while IFS= read -r line; do
    export "${line?}"
done < <(python3 -c '
import json, sys
for name, value in json.load(open(sys.argv[1])).get("env", {}).items():
    print(f"{name}={value}")' "$work/info.json")

edgectl train --provider "$provider"
edgectl register --provider "$provider"
edgectl package
edgectl deploy --provider "$provider" --junit "${JUNIT:-$work/verdict.xml}"
edgectl status --provider "$provider"
# Nothing has changed, so nothing may change now.
edgectl plan --provider "$provider" --detailed-exitcode
