# inside.sh: see host.sh. Each line "sent NAME USER" says that a message with the subject or text NAME is to arrive in
# USER's mailbox; "arrived NAME" and "missing NAME" follow. Everything else is for the reader of a failure.
set -eu
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
fail() { echo "failed: $*"; exit 1; }

rm -rf /etc/aliases /etc/waybill /var/spool/waybill
# An earlier mail system has left its configuration. Front end and daemon must agree on another one.
mkdir -p /etc/mail
echo 'O QueueDirectory=/var/spool/mqueue' >/etc/mail/sendmail.cf
echo 'O QueueDirectory=/var/spool/mqueue-client' >/etc/mail/submit.cf
apt-get -y --no-install-recommends -o APT::Sandbox::User=root install /tmp/debs/*.deb >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; fail "apt-get install"; }
for name in /usr/sbin/sendmail /usr/lib/sendmail /usr/bin/mailq /usr/bin/newaliases /usr/libexec/sendmail/mail.local /usr/share/man/man8/sendmail.8.gz; do
	[ -e "$name" ] || fail "$name is not there"
done
echo "mode $(stat -L -c '%a %U:%G' /usr/sbin/sendmail) $(stat -c '%a %U:%G' /var/spool/waybill/drop)"
if command -v systemd-analyze >/dev/null; then
	systemd-analyze verify --man=no /usr/lib/systemd/system/waybill.service /usr/lib/systemd/system/waybill.socket >/tmp/units.log 2>&1 || true
	grep waybill /tmp/units.log && fail "the units are wrong"
fi
[ -s /etc/waybill/waybill.rules ] || fail "there are no rules beside the sendmail.cf"
# A second run of the set-up changes nothing.
echo '# mine' >>/etc/waybill/waybill.rules
/usr/share/waybill/site.sh
tail -1 /etc/waybill/waybill.rules | grep -q mine || fail "the rules were written anew"

for u in alice bob; do useradd --create-home --shell /bin/sh "$u"; done
cat >>/etc/aliases <<END
root: bob
END

start() { # as waybill.service does
	setpriv --reuid waybill --regid waybill --groups "$(getent group waybill | cut -d: -f3),$(getent group mail | cut -d: -f3)" \
		--inh-caps=+setuid,+setgid,+net_bind_service --ambient-caps=+setuid,+setgid,+net_bind_service --bounding-set=-all,+setuid,+setgid,+net_bind_service \
		waybill serve -C /etc/waybill/waybill.rules >/tmp/daemon.log 2>&1 &
	daemon=$!
	for _ in $(seq 600); do [ -S /var/spool/waybill/submit.sock ] && break; sleep 0.1; done
	[ -S /var/spool/waybill/submit.sock ] || { cat /tmp/daemon.log; fail "the daemon does not start"; }
}
mkdir -p /etc/waybill /var/log/waybill
chown waybill /var/log/waybill
{ echo 'set log /var/log/waybill/mail.log'; echo 'set listen 127.0.0.1:25'; waybill rules default; } >/etc/waybill/waybill.rules

sent() { echo "sent $1 $2"; echo "$1 $2" >>/tmp/sent; }
as() { # USER COMMAND: with the environment of a login
	user=$1
	shift
	if [ "$user" = root ]; then ( cd /root && env HOME=/root LOGNAME=root USER=root sh -c "$*" ); else su - "$user" -c "$*"; fi
}
# What at and cron mail goes to whoever asked for the job: root's mail is bob's by alias, alice's is her own.
reader() { [ "$1" = root ] && echo bob || echo "$1"; }

programs() { # PHASE USER
	n=$1-$2
	as "$2" "echo text | mailx -s bsdmailx-$n bob" && sent "bsdmailx-$n" bob
	as "$2" "echo text | s-nail -S mta=/usr/sbin/sendmail -s snail-$n bob" && sent "snail-$n" bob
	as "$2" "echo text | mutt -s mutt-$n -- bob" && sent "mutt-$n" bob
	as "$2" "rm -rf /tmp/git-$n && mkdir /tmp/git-$n && cd /tmp/git-$n && git init -q . && git config user.email $2@mail.example.test && git config user.name $2 && echo a >f && git add f && git commit -qm git-$n && git format-patch -q --root HEAD && git send-email --quiet --confirm=never --suppress-cc=all --to=bob@mail.example.test 0001-*.patch" && sent "git-$n" bob
	as "$2" "php -r 'exit(mail(\"bob\", \"php-$n\", \"text\") ? 0 : 1);'" && sent "php-$n" bob
	as "$2" "/usr/bin/python3 -c 'import subprocess; subprocess.run([\"/usr/sbin/sendmail\",\"-t\",\"-oi\"], input=b\"To: bob\\nSubject: python-$n\\n\\ntext\\n\", check=True)'" && sent "python-$n" bob
	as "$2" "echo echo at-$n | at -M now 2>/dev/null; echo echo at-$n | at now 2>/dev/null" && sent "at-$n" "$(reader "$2")"
	echo "* * * * * echo cron-$n; touch /tmp/ran-cron-$n" | crontab -u "$2" - && sent "cron-$n" "$(reader "$2")"
}
arrived() { # NAME USER
	grep -q -- "$1" "/var/mail/$2" 2>/dev/null
}
await() { # SECONDS: until everything sent has arrived
	end=$(($(date +%s) + $1))
	while :; do
		left=0
		while read -r name user; do arrived "$name" "$user" || left=$((left + 1)); done </tmp/sent
		[ "$left" = 0 ] || [ "$(date +%s)" -ge "$end" ] && break
		sleep 1
	done
	while read -r name user; do
		if arrived "$name" "$user"; then echo "arrived $name"; else echo "missing $name"; fi
	done </tmp/sent
}

: >/tmp/sent
atd -b 0 2>/dev/null || atd
# cron looks at the clock once a minute: wait here rather than for each phase, so that both jobs run soon.
cron

programs nodaemon root
programs nodaemon alice
# No daemon yet: cron's minute must pass before one starts, for its mail to go the other way.
for _ in $(seq 180); do [ -e /tmp/ran-cron-nodaemon-root ] && [ -e /tmp/ran-cron-nodaemon-alice ] && break; sleep 1; done
sleep 1
crontab -u root -r; crontab -u alice -r
sleep 2
start
programs daemon root
programs daemon alice
await 180
for box in /var/mail/*; do echo "mailbox $(stat -c '%n %a %U:%G' "$box")"; done
waybill queue list || true
tail -5 /tmp/daemon.log

# Debian 12 puts sendmail's queue listing behind mailq; an ordinary user may not look into it.
as alice mailq || true
kill "$daemon"
wait "$daemon" || echo "failed: the daemon ends with $?"
# Nothing of the package stays but what is the administrator's.
apt-get -qq -y remove waybill >/dev/null 2>&1 || fail "apt-get remove"
for name in /usr/sbin/sendmail /usr/sbin/waybill /usr/bin/mailq /usr/lib/sendmail /usr/share/waybill; do
	[ ! -e "$name" ] || fail "$name stays after the removal"
done
[ -d /var/spool/waybill ] || fail "the spool went with the package"
echo done
