#!/usr/bin/env bash
# `make demo`: a real pipeline to its end, what came of it, and where everything is. Needs no server and leaves no process.
set -euo pipefail
cd "$(dirname "$0")/.."
export HEADWAY_HOME="$PWD/.demo" PATH="$PWD/.venv/bin:$PATH"

say() {
    printf '$ %s\n' "$*"
    "$@"
    printf '\n'
}

say headway run examples/penguins.py --param out=.demo/penguins
run=$(headway runs list --limit 1 --json | grep -oP '"run_id": "\K[^"]+')
say headway logs "$run" report
say headway why "$run" report
cat <<END
The pipeline      examples/penguins.py, and more beside it
Its results       .demo/penguins/report.md, penguins.db
Runs and output   .demo/headway.db, .demo/logs
More              export HEADWAY_HOME=$HEADWAY_HOME, then: .venv/bin/headway --help
On servers        the same file, with HEADWAY_BROKER_URL and HEADWAY_DATABASE_URL: see README.md
END
