#!/bin/sh
# Sets Waybill up and runs it for outside test harnesses, with rules of its own. Verbs: init run submit queuerun spool log features.
# In: BIN (directory of the built commands; default: bin of this tree), LAB, PORT, SINK, and perhaps TLSPORT, IDLE (seconds), MAXSIZE (octets),
# HARD=1 (nothing to harden: the defaults are meant to be hard), MODE=cutthrough (SMTP is passed on while the client waits), FINAL (seconds
# to wait for the next hop's reply to the final dot), LAB_CLOCK_FILE (a file that says how far the clock is off: a daemon that
# reads it is built with the tag labclock).
# Few deliveries at a time: what is under way when the machine stops may arrive twice.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${BIN:=$here/../bin}" "${LAB:?}" "${PORT:=2525}" "${SINK:=2599}" "${IDLE:=60}" "${MAXSIZE:=60000000}"
rules=$LAB/waybill.rules
case $1 in
init)
	mkdir -p "$LAB/log" "$LAB/spool" "$LAB/mail"
	[ -s "$LAB/cert.pem" ] || openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=mx.hostile.test -keyout "$LAB/key.pem" -out "$LAB/cert.pem" 2>/dev/null
	chmod 600 "$LAB/key.pem"
	printf 'tester:PLAIN$hunter2hunter2\n' >"$LAB/passwords"
	chmod 600 "$LAB/passwords"
	id=$(id -u):$(id -g)
	printf 'mboxuser:x:%s:Box User:%s:/bin/sh\n' "$id" "$LAB" >"$LAB/users"
	printf '%s: user@sink.test\n' root postmaster mailer-daemon abuse user >"$LAB/aliases"
	echo 'user2: user2@sink.test' >>"$LAB/aliases"
	warn=4h
	[ -z "${LAB_CLOCK_FILE:-}" ] || warn=0s # days go by, and nobody is to be told
	[ -z "${LAB_CLOCK_FILE:-}" ] || (cd "$here/.." && CGO_ENABLED=0 go build -tags labclock -o "$LAB/waybill-labclock" ./cmd/waybill)
	now=background
	[ "${MODE:-}" = cutthrough ] && now=now
	cat >"$rules" <<R
host mx.hostile.test
spool $LAB/spool/q
set listen 127.0.0.1:$PORT
${TLSPORT:+set listen-tls 127.0.0.1:$TLSPORT}
set tls-cert $LAB/cert.pem
set tls-key $LAB/key.pem
set passwords $LAB/passwords
set users $LAB/users
set log $LAB/log/maillog
set resolver 127.0.0.1:9
set max-size $MAXSIZE
set idle-timeout ${IDLE}s
set sessions 2000
set retry 1s 2s 3s
set warn-after $warn
${QUEUE:+set queue $QUEUE}

class local  { hostile.test mx.hostile.test localhost }
class relays { relay.test }
class inside { 127.0.0.1 ::1 }

table aliases aliases $LAB/aliases

transport local mbox { path "$LAB/mail/\$user" }
transport relay smtp { port $SINK; mx no; connect-timeout 5s; timeout 10s; final-timeout ${FINAL:-20}s; concurrency 2 }

ruleset canonify {
    @ \$route+ : \$user+ @ \$domain+            -> \$user @ \$domain
    \$user+ @ \$domain+                         -> \$user < @ \$domain >
    \$user+ < @ \$first+ @ \$domain+ >          -> \$user @ \$first < @ \$domain >
    \$user+ < @ \$domain+ . >                   -> \$user < @ \$domain >
    \$site- ! \$user+                           -> \$user < @ \$site . UUCP >
    \$site+ ! \$user+                           -> \$user < @ \$site >
    \$site+ ! \$user+ < @ \$us=local >          -> return call canonify \$site ! \$user
    \$user+ % \$domain+ < @ \$us=local >        -> return call unwrap \$user @ \$domain
}
ruleset unwrap {
    \$user+ @ \$domain+ % \$last+               -> \$user % \$domain @ \$last
    \$address+                                  -> return call canonify \$address
}
route {
    \$user+ < @ \$us=local >                    => local \$user
    \$user+ < @ \$site- . UUCP >                => reject 550 5.1.2 "no UUCP here"
    \$user+ < @ \$domain+ >                     => relay [127.0.0.1] \$user@\$domain
    < >                                         => reject 553 5.1.3 "a recipient has a name"
    @ \$rest*                                   => reject 553 5.1.3 "a recipient has a name"
    \$user+                                     => local \$user
}
accept rcpt {
    client local                                ok
    client in inside                            ok
    auth                                        ok
    mailer local                                ok
    \$user+ < @ \$domain=relays >               ok
    otherwise                                   reject 550 5.7.1 "Relaying denied"
}
send {
    otherwise                                   $now
}
R
	"$BIN/waybill" rules check "$rules"
	;;
run)
	[ -z "${LAB_CLOCK_FILE:-}" ] || exec "$LAB/waybill-labclock" serve -C "$rules"
	exec "$BIN/waybill" serve -C "$rules"
	;;
submit) exec "$BIN/sendmail" -C "$rules" -i -t -f "${FROM:-sender@relay.test}" ;;
queuerun) exec "$BIN/sendmail" -C "$rules" -q ;;
spool) echo "$LAB/spool/q" ;;
log) echo "$LAB/log/maillog" ;;
features) echo "mbox=$LAB/mail/mboxuser" ;;
*)
	echo "driver.sh: no verb $1" >&2
	exit 64
	;;
esac
