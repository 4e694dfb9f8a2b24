"""`python -m simulation.mutants`: plant one bug at a time in a copy of the code, and count the seeds until it is found.

What the simulation does not find is not simulated: so these are faults that somebody could write. docs/proof.md has
the numbers.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = ("src", "protocol", "broker", "scheduler", "worker", "cli", "tests")
SEEDS_MAX: Final = 1_000


class Mutant(NamedTuple):
    """One bug: in a file, `old` becomes `new`."""

    name: str
    file: str
    old: str
    new: str


MUTANTS: Final = (
    Mutant(
        "events are acked before they are committed",
        "scheduler/service.py",
        "        confirmed = self._relay.confirmed(at_least",
        "        if taken.last is not None:\n            self._broker.ack_through(taken.last)\n"
        "        confirmed = self._relay.confirmed(at_least",
    ),
    Mutant(
        "`finished` is believed without its token",
        "scheduler/core/finding.py",
        "    if attempt.token != event.token:",
        "    if attempt.token != event.token and 'exit_code' not in event.__struct_fields__:",
    ),
    Mutant(
        "the deadline of a queued attempt is not written",
        "scheduler/core/assignment.py",
        'set_timer(draft, task, "queued_deadline"',
        'None and set_timer(draft, task, "queued_deadline"',
    ),
    Mutant(
        "an attempt is granted to whoever asks",
        "scheduler/core/attempts.py",
        "    if attempt.state is AttemptState.RUNNING and (attempt.worker, attempt.boot) == holder:",
        "    if attempt.state is AttemptState.RUNNING:",
    ),
    Mutant(
        "the outbox is not looked into for rows that nobody publishes",
        "scheduler/service.py",
        "        if self._in_doubt:\n            self._relay.post(rows)\n        self._relay.adopt(rows)\n",
        "",
    ),
    Mutant(
        "the outbox is not published at the start",
        "scheduler/service.py",
        "self._relay.post(self._patiently(self._store.unsent))",
        "self._patiently(self._store.unsent)",
    ),
    Mutant(
        "a worker forgets its spool",
        "worker/core/machine.py",
        "        self._bench.outbox.load(spooled)\n",
        "",
    ),
    Mutant(
        "a worker obeys a grant without a lease",
        "worker/core/orders.py",
        "    if not bench.lease.holds(now):",
        "    if False and not bench.lease.holds(now):",
    ),
    Mutant(
        "a worker obeys a grant from before its lease",
        "worker/core/orders.py",
        "    if order.heard < bench.lease.began:",
        "    if False and order.heard < bench.lease.began:",
    ),
    Mutant(
        "a grant is repeated to a boot that is about to be called lost",
        "scheduler/core/attempts.py",
        '    if draft.fact("was_lost", ',
        '    if False and draft.fact("was_lost", ',
    ),
    Mutant(
        "what the broker refused is not published again",
        "worker/core/outbox.py",
        "        self._waiting.add(message_id)\n        return True",
        "        return True",
    ),
    Mutant(
        "a lease is counted from its confirm",
        "worker/core/lease.py",
        "        self._renewed = sent\n",
        "        self._renewed = sent + self._seconds\n",
    ),
    Mutant(
        "leases do not begin anew after an absence of the scheduler",
        "scheduler/core/workers.py",
        "    heard = max(worker.last_heartbeat, event.listening_since)",
        "    heard = worker.last_heartbeat",
    ),
    Mutant(
        "a grant is obeyed as often as it comes",
        "worker/core/orders.py",
        "    (Phase.RUNNING, Grant): _ignore,",
        "    (Phase.RUNNING, Grant): _start,",
    ),
    Mutant(
        "an operator's event counts each time that it comes",
        "scheduler/decider.py",
        "                if work.snapshot.messages[envelope.message_id]:",
        "                if False and work.snapshot.messages[envelope.message_id]:",
    ),
)


def main() -> int:
    """Try the mutants whose names hold what the command line says, or all; return 1 if one lives."""
    alive = 0
    for mutant in MUTANTS:
        if all(word in mutant.name for word in sys.argv[1:]):
            found = try_out(mutant)
            alive += "nothing broken" in found
            print(f"{mutant.name}: {found}", flush=True)  # noqa: T201
    return int(bool(alive))


def try_out(mutant: Mutant) -> str:
    """Plant a bug in a copy, and return what the simulation says of it."""
    with TemporaryDirectory() as folder:
        for name in COPIED:
            shutil.copytree(ROOT / name, Path(folder) / name, symlinks=True)
        file = Path(folder) / mutant.file
        text = file.read_text("utf-8")
        if text.count(mutant.old) != 1:
            return f"its place in {mutant.file} has changed: mend this mutant"
        file.write_text(text.replace(mutant.old, mutant.new), "utf-8")
        path = os.pathsep.join(str(Path(folder) / name) for name in ("src", "tests"))
        done = subprocess.run(
            [sys.executable, "-m", "simulation", "--seeds", str(SEEDS_MAX)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        return (done.stdout or done.stderr).strip().splitlines()[0 if done.stdout else -1]


if __name__ == "__main__":
    sys.exit(main())
