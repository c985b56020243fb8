package main

import (
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// What a caller of the set-group-ID program can arrange: each message is either refused with a message and leaves nothing,
// or it is whole in the drop directory.
func TestSetgidWithTinyLimits(t *testing.T) {
	out := setgidWorld(t, `printf 'Subject: hello\n\nbody\n' > m
try() { echo "= $*"; "$@" $BIN/sendmail bob < m; echo status $?; }
try prlimit --nofile=4:4
try prlimit --nofile=16:16
try prlimit --as=2000000000:2000000000
try prlimit --as=200000000:200000000
try prlimit --fsize=0:0
try prlimit --fsize=10:10
try prlimit --core=0:0 --cpu=100:100 --nproc=4096:4096 --stack=65536:65536
try prlimit --nproc=1:1
try env -i
try env GODEBUG=madvdontneed=0 GOGC=1 GOMAXPROCS=1 GOTRACEBACK=crash TMPDIR=/nonexistent HOME=/nonexistent
try nice -n 19
`)
	for _, section := range strings.Split(out, "= ")[1:] {
		name, rest, _ := strings.Cut(section, "\n")
		if !strings.Contains(rest, "status ") {
			t.Errorf("%s: no end in\n%s", name, rest)
		}
		if strings.Contains(rest, "goroutine ") && !strings.Contains(name, "--as=") && !strings.Contains(name, "--nproc=1:") {
			t.Errorf("%s: a crash\n%.1000s", name, rest)
		}
	}
	accepted, kept := strings.Count(out, "status 0\n"), strings.Count(out, "ID 640 65534 65533\n")
	if accepted < 5 || accepted != kept || strings.Count(out, "Subject: hello\n\nbody\n") != kept || strings.Contains(out, "\n.") {
		t.Errorf("%d accepted, %d in the drop directory\n%s", accepted, kept, out)
	}
}

// A caller who kills the program, stops it, traces it, or lets it hang with half a message.
func TestSetgidInterrupted(t *testing.T) {
	// Under nohup(1) all that we start would ignore SIGHUP; a signal that we catch has its default there.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	out := setgidWorld(t, `for s in TERM HUP KILL; do # a shell has INT and QUIT ignored in what it starts in the background
	rm -f p; mkfifo p
	$BIN/sendmail bob < p & pid=$!
	exec 5> p
	printf 'Subject: half of %s\n\nbody' $s >&5
	sleep 0.2
	kill -$s $pid
	wait $pid 2>/dev/null; echo ended by $s: $?
	exec 5>&-
done
rm -f p; mkfifo p
$BIN/sendmail bob < p & pid=$!
exec 5> p
printf 'Subject: all of it\n\n' >&5
for i in $(seq 600); do # until it is there and has its handlers, of SIGPIPE and SIGXFSZ
	ign=$(awk '/^SigIgn/{print $2}' /proc/$pid/status); cgt=$(awk '/^SigCgt/{print $2}' /proc/$pid/status)
	test $(( (0x$ign | 0x$cgt) & 0x1001000 )) -eq $(( 0x1001000 )) && break
	sleep 0.1
done
echo tried $i times
for s in ALRM USR1 USR2 PIPE URG WINCH CONT XFSZ; do case $s in ALRM|USR1|USR2) ;; *) kill -$s $pid;; esac; done
kill -STOP $pid; sleep 0.1; kill -CONT $pid
printf 'body\n' >&5
exec 5>&-
wait $pid; echo status $?
$BIN/sendmail bob < /dev/null & pid=$!
cat /proc/$pid/mem >/dev/null 2>&1 && echo memory of the set-group-ID program was read
wait $pid
(trap '' HUP INT QUIT TERM; printf 'Subject: ignoring\n\nx\n' | $BIN/sendmail bob; echo status $?)
`)
	for _, s := range []string{"TERM: 143", "HUP: 129", "KILL: 137"} {
		wants(t, out, "ended by "+s)
	}
	if strings.Contains(out, "Subject: half of") {
		t.Errorf("half a message was accepted\n%s", out)
	}
	if strings.Contains(out, "memory of") {
		t.Error(out)
	}
	wants(t, out, "status 0\n", "Subject: all of it\n", "Subject: ignoring\n")
}
