package main

import "testing"

// clientQueue is a host whose programs submit with a submit.cf. The next hop refuses everybody; it takes a notice, but not
// if the message says so, and is away for one that says so. /mnt/mqueue is the daemon's queue, which no daemon of ours has.
const clientQueue = `mkdir -p /mnt/e/mail /mnt/mqueue /mnt/client/drop
cp /etc/passwd /etc/group /etc/hosts /mnt/e
printf 'V10/Berkeley\nDjmail.example.org\nO QueueDirectory=/mnt/client\nO DeliveryMode=i\nO UseMSP=True\n' > /mnt/e/mail/submit.cf
printf 'V10/Berkeley\nDjmail.example.org\nO QueueDirectory=/mnt/mqueue\n' > /mnt/e/mail/sendmail.cf
mount --bind /mnt/e /etc
chmod 700 /mnt/mqueue; chgrp -R 65533 /mnt/client; chmod 771 /mnt/client; chmod 1777 /mnt/client/drop
cat > /mnt/waybill <<'END'
#!/bin/sh
told=
cat > /mnt/mine/in.$$
case "$*" in *-b*) grep -q "no notice" /mnt/mine/in.$$ || told=" told";; esac
test "$1" = relay || exit 0
echo ">Received: by here"
if grep -q "whole" /mnt/mine/in.$$; then echo ">Subject: as kept"; echo ">"; fi
if grep -q "is away" /mnt/mine/in.$$; then echo "=Deferred: nobody there"; else echo "0 67$told"; fi
case "$*" in *-v*) echo "|220 hop"; echo ".221 bye";; esac
END
`

// Whom the next hop of a client queue refuses, the sender hears of at once: here and now, or by mail.
func TestRefusedByTheNextHop(t *testing.T) {
	out := setgidWorldWith(t, clientQueue, `try() {
echo "= $*"; echo "$text" | $BIN/sendmail "$@" bob@example.net | grep -v dead.letter; echo "left $(ls /mnt/client/drop | wc -l)"; rm -f /mnt/client/drop/*
echo "$text" | $BIN/sendmail "$@" bob@example.net >/dev/null; echo status $?; rm -f /mnt/client/drop/*
}
text=hi; try; try -oem; try -odb; try -oeq; try -oee; try -f ceo@example.org
text="no notice"; try -oem -odi
`)
	wants(t, out, "= \nleft 0\nstatus 67\n", "= -oem\nleft 0\nstatus 67\n", "= -odb\nleft 0\nstatus 0\n", "= -oeq\nleft 0\nstatus 67\n",
		"= -oee\nleft 0\nstatus 0\n", "= -f ceo@example.org\nleft 0\nstatus 67\n", "= -oem -odi\nleft 1\nstatus 67\n")
}

// What is about the daemon's own queue, which is not open to a set-group-ID program, is refused in sendmail's words.
func TestDaemonsQueueIsNotOpen(t *testing.T) {
	out := setgidWorldWith(t, clientQueue, `for a in "-bv bob" "-q" "-qRx" "-Am bob"; do
echo "= $a"; $BIN/sendmail $a </dev/null; echo status $?
done`)
	const no = "can not chdir(/mnt/mqueue/): Permission denied\n"
	const hint = "Program mode requires special privileges, e.g., root or TrustedUser.\n"
	wants(t, out, "= -bv bob\nNotice: -bv may give misleading output for non-privileged user\n"+no+hint+"status 78\n", "= -q\n"+no+hint+"status 78\n",
		"= -qRx\n"+no+hint+"status 78\n", "= -Am bob\n"+no+hint+"status 78\n")
}

// Why a message waits in a client queue stands in it, what stood on top of it in a dead letter, and -v shows the dialogue.
func TestTheNextHopIsHeard(t *testing.T) {
	out := setgidWorldWith(t, clientQueue+"sed -i 's|^nobody:.*|nobody:x:65534:65534::/mnt/mine:/bin/sh|' /mnt/e/passwd\n", `
echo "is away" | $BIN/sendmail bob@example.net; echo status $?; cat /mnt/client/drop/* | grep -a wrong; rm /mnt/client/drop/*
echo "= verbose"; echo hi | $BIN/sendmail -v -oem bob@example.net; echo status $?
echo "= letter"; echo hi | $BIN/sendmail bob@example.net; cat /mnt/mine/dead.letter
echo "= whole"; rm -f /mnt/mine/dead.letter; printf 'Subject: as sent\n\nthe whole text\n' | $BIN/sendmail bob@example.net; sed 1d /mnt/mine/dead.letter
`)
	wants(t, out, "status 0\nwrong Deferred: nobody there\n", "= verbose\n220 hop\n221 bye\nstatus 67\n", "= letter\n/mnt/mine/dead.letter... Saved message", "Received: by here\n",
		"Received: by here\nSubject: as kept\n\nthe whole text\n")
}
