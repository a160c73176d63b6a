#!/bin/sh
# Puts a process whose first thread has ended into a control group of its own and kills the group.
# usage: cgroup-kill.sh SURVIVOR
# Exit status: 0 the process is dead, as cgroup.kill promises; 1 it lives on; 2 the test could not run.
set -u
survivor=$1

give_up() {
	echo "cgroup-kill.sh: $1" >&2
	exit 2
}

# Reads a condition again and again, for about as many tenths of a second as its first argument says.
within() {
	tenths=$1
	shift
	while [ "$tenths" -gt 0 ]; do
		"$@" && return 0
		sleep 0.1
		tenths=$((tenths - 1))
	done
	"$@"
}
leader_ended() { grep -q '^State:.*zombie' "/proc/$pid/status"; }
box_is_empty() { grep -q '^populated 0' "$box/cgroup.events"; }

root=$(mktemp -d) && mount -t cgroup2 cgroup2 "$root" || give_up "cannot mount cgroup2"
box=$root/box
trap 'rmdir "$box"; umount "$root"; rmdir "$root"' EXIT
mkdir "$box" || give_up "cannot create a control group"

(echo 0 >"$box/cgroup.procs" && exec "$survivor") &
pid=$!
within 100 leader_ended || give_up "$survivor did not start"

echo "pid $pid runs in control group box; its first thread has ended"
echo "\$ echo 1 > box/cgroup.kill"
echo 1 >"$box/cgroup.kill" || give_up "cannot write cgroup.kill"

if within 20 box_is_empty; then
	echo "box/cgroup.events: populated 0, pid $pid is dead"
	exit 0
fi
echo "box/cgroup.events: populated 1, pid $pid is still alive"
# A signal to the whole process reaches the other thread; only cgroup.kill's did not.
kill -KILL "$pid"
within 100 box_is_empty || give_up "pid $pid does not die"
exit 1
