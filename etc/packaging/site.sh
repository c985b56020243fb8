#!/bin/sh
# site.sh [PREFIX]
# Makes on this host what Waybill needs beside its files: the user that the daemon runs as, the spool, and the group that
# lets the front end, and nobody else, leave mail in it; and rules, where there is a sendmail.cf. To run it again changes
# nothing. As root.
set -eu
prefix=${1-/usr}
spool=/var/spool/waybill

if ! getent group waybill >/dev/null; then
	groupadd --system waybill
fi
if ! getent passwd waybill >/dev/null; then
	useradd --system --gid waybill --home-dir "$spool" --no-create-home --shell /usr/sbin/nologin --comment "Waybill mail" waybill
fi
# In a spool that is root's, root may change owners: first of what a daemon that ran as root has left there (dropped mail
# stays its sender's), last of the directory itself. In one that is the daemon's user's, that user could have put a link to
# anything in the place of a directory: there we work with their rights alone.
case $(stat -c %U "$spool" 2>/dev/null || echo root) in
root)
	install -d -m 755 "$spool"
	find "$spool" -xdev -mindepth 1 -path "$spool/drop" -prune -o \( -type d -o -links 1 \) -exec chown -h waybill:waybill {} +
	install -d -o waybill -g waybill -m 1770 "$spool/drop"
	chown -h waybill:waybill "$spool"
	;;
waybill) ;;
*)
	echo "site.sh: $spool belongs to $(stat -c %U "$spool"), which is neither root nor waybill" >&2
	exit 73
	;;
esac
as="setpriv --reuid waybill --regid waybill --clear-groups"
# Everybody may reach the socket in it; what is in the queue is the daemon's alone.
$as install -d -m 755 "$spool"
$as install -d -m 700 "$spool/queue" "$spool/hold" "$spool/bad"
# The front end writes here, readers are the daemon and it; sticky, so that no user removes another one's mail.
$as install -d -m 1770 "$spool/drop"
chgrp waybill "$prefix/sbin/sendmail"
chmod 2755 "$prefix/sbin/sendmail"

# Without rules the front end would go by the sendmail.cf that an earlier mail system left, into a queue where no daemon
# is, and the daemon by the rules that are built in.
rules=/etc/waybill/waybill.rules
install -d -m 755 /etc/waybill
if [ ! -e "$rules" ] && { [ -e /etc/mail/sendmail.cf ] || [ -e /etc/mail/submit.cf ]; }; then
	"$prefix/sbin/waybill" rules default >"$rules.new"
	mv "$rules.new" "$rules"
	echo "waybill: mail goes by $rules now, which is new, and not by /etc/mail/sendmail.cf;" >&2
	echo "waybill: $prefix/share/doc/waybill/moving-from-sendmail.md tells how to keep, or to convert, what stands there" >&2
fi
