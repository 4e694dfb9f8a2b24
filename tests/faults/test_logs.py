"""Output of tasks when the machine that ran them is gone."""

import os
import re
import shutil
import signal
from pathlib import Path

from cluster import Cluster
from processes import children_of, wait_for_lines

TICKS = """\
from headway import DAG, shell

with DAG("ticks") as dag:
    shell("tick", 'n=0; while true; do n=$((n + 1)); echo "tick $n"; sleep 0.2; done', infra_retries=0)
"""


def test_the_output_of_a_host_that_is_gone_is_there(fresh_vhost: str, fresh_database: str, tmp_path: Path) -> None:
    """Worker and spawner killed and their home away: up to its last second, what a task wrote is shown elsewhere."""
    host, here = tmp_path / "host", tmp_path / "here"
    with Cluster(here, fresh_vhost, fresh_database) as cluster:
        cluster.start_scheduler()
        cluster.start_logkeeper()
        worker = cluster.start_worker("w1", HEADWAY_HOME=str(host))
        cluster.sync(("ticks.py", TICKS))
        run_id = cluster.headway("trigger", "ticks").splitlines()[0]
        log = host / "logs" / run_id / "tick.1.log"
        wait_for_lines(log, 12)
        for pid in (worker.pid, *children_of(worker.pid)):
            os.kill(pid, signal.SIGKILL)
        shutil.move(host, tmp_path / "away")
        written = (tmp_path / "away" / log.relative_to(host)).read_text().splitlines()

        def shown() -> list[str]:
            return re.findall(r"^tick \d+$", cluster.headway("logs", run_id, "tick"), re.MULTILINE)

        cluster.wait_for(lambda: len(shown()) >= len(written) - 5)
        assert shown() == written[: len(shown())]
