#!/bin/sh
# site.sh [PREFIX]
# Makes on this host what Waybill needs beside its files: the user that the daemon runs as, the spool, and the group that
# lets the front end, and nobody else, leave mail in it. To run it again changes nothing. As root.
set -eu
prefix=${1-/usr}
spool=/var/spool/waybill

if ! getent group waybill >/dev/null; then
	groupadd --system waybill
fi
if ! getent passwd waybill >/dev/null; then
	useradd --system --gid waybill --home-dir "$spool" --no-create-home --shell /usr/sbin/nologin --comment "Waybill mail" waybill
fi
# A spool that a daemon used as another user (root, perhaps) becomes this one's; dropped mail stays its sender's.
if [ -d "$spool" ] && [ "$(stat -c %U "$spool")" != waybill ]; then
	find "$spool" -xdev -path "$spool/drop" -prune -o -exec chown -h waybill:waybill {} +
fi
# Everybody may reach the socket in it; what is in the queue is the daemon's alone.
install -d -o waybill -g waybill -m 755 "$spool"
install -d -o waybill -g waybill -m 700 "$spool/queue" "$spool/hold" "$spool/bad"
# The front end writes here, readers are the daemon and it; sticky, so that no user removes another one's mail.
install -d -o waybill -g waybill -m 1770 "$spool/drop"
chgrp waybill "$prefix/sbin/sendmail"
chmod 2755 "$prefix/sbin/sendmail"
