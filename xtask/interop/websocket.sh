#!/usr/bin/env bash
# WebSocket against Python's `websockets`, in both directions. It installs that into a folder of its own, and does
# without where it cannot, which it says in one line.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if ! { python3 -m venv "$folder" && "$folder/bin/pip" install -q 'websockets>=14'; } >/dev/null 2>&1; then
    echo "skipped: websocket needs python3 with venv, and a package index"
    exit 0
fi
cargo build -q -p amps-transport --all-features --example websocket_echo
"$folder/bin/python" xtask/interop/websocket.py "${CARGO_TARGET_DIR:-target}/debug/examples/websocket_echo"
