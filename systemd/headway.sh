#!/bin/sh
# /usr/local/sbin/headway: the command for root, with the scheduler's settings and as the scheduler's user. `headway logs`
# finds the whole output of tasks that ran on this machine.
set -ea
. /etc/headway/headway.env
. /etc/headway/scheduler.env
HEADWAY_HOME=/var/lib/headway-worker
exec setpriv --reuid=headway --regid=headway --groups=headway-worker /opt/headway/bin/headway "$@"
