#!/usr/bin/env bash
# WebSocket against Python's `websockets`, in both directions: a part of `cargo xtask interop`, which installs that and
# says with which Python. It does without where there is none, which it says in one line.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${AMPS_TEST_PYTHON:-python3}
if ! "$python" -c 'import websockets' >/dev/null 2>&1; then
    echo "skipped: there is no websockets for $python on this machine"
    exit 0
fi
cargo build -q --workspace --all-features --example websocket_echo
"$python" xtask/interop/websocket.py "${CARGO_TARGET_DIR:-target}/debug/examples/websocket_echo"
