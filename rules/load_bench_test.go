package rules

import (
	"fmt"
	"strings"
	"testing"

	"waybill/etc"
)

// mixedRules is a file of n lines in which everything that the language has occurs, as in the file of a large site: a
// block of each kind for each of many departments.
func mixedRules(n int) string {
	var s strings.Builder
	s.WriteString("host mail.example.org\nclass inside { 192.0.2.0/24 2001:db8::/32 }\n")
	lines := 2
	for i := 0; lines < n-30; i++ {
		block := fmt.Sprintf(`# Department %[1]d
define hub%[1]d hub%[1]d.example.net
class dept%[1]d { dept%[1]d.example lab%[1]d.example dept%[1]d.example.org }
table hops%[1]d  text  ?/etc/mail/hops%[1]d
transport out%[1]d smtp { tls opportunistic; concurrency %[1]d5 }
ruleset sort%[1]d {
    $list- + request            -> return owner + $list
    list + $list+ . $_day-      -> once $list
    $user+ + $detail*           -> return call clean%[1]d $user $| $detail
    $user-                      -> return hops%[1]d($user, dept%[1]d else $user)
}
ruleset clean%[1]d {
    $user+ $| $_detail*         -> return $user
}
route {
    $user+ < @ $d=dept%[1]d >  where hops%[1]d($user) is $h and size > 2M  => out%[1]d $h $user@$d queue between 22:00 and 06:00
    $user+ < @ $d=dept%[1]d >  where client in inside or auth              => out%[1]d ${hub%[1]d} $user@$d
    $user+ < @ old . $d=dept%[1]d >                                        => reject 550 5.1.6 "$user has moved to $d"
    $user+ < @ $d+ . gate%[1]d . example >                                 => esmtp gate%[1]d.example.net $user@$d
    help + %[1]d < @ $=local >  -> call sort%[1]d help + x
    team%[1]d                   -> team%[1]d @ dept%[1]d . example
}
accept mail {
    $_user+ < @ spam%[1]d . example >           reject 550 5.7.1 "No mail from spam%[1]d.example"
    $_u+ < @ $=dept%[1]d >  where not client in inside and not auth  reject 550 5.7.1 "dept%[1]d writes from inside only"
}
accept rcpt { hops%[1]d($&{client_name}) is "no"   reject 450 4.7.1 "not now" }
send {
    transport out%[1]d and size > 20M         queue between 22:00 and 06:00
    header X-Dept is "dept%[1]d"              priority -%[1]d
}
schedule { host in dept%[1]d => retry 10m 1h 4h  give-up 3d }
test "department %[1]d" {
    given hops%[1]d(bob) is inner%[1]d.example.net
    given size 3M
    bob@dept%[1]d.example      => out%[1]d inner%[1]d.example.net bob@dept%[1]d.example queue from 22:00
    bob@old.dept%[1]d.example  => reject 550
    rewrite sort%[1]d friends+request  -> owner+friends
}
`, i)
		s.WriteString(block)
		lines += strings.Count(block, "\n")
	}
	s.WriteString("use standard\n")
	return s.String()
}

// BenchmarkLoadMixed: reading and checking a file of 3,000 lines of every kind.
func BenchmarkLoadMixed(b *testing.B) {
	text := []byte(mixedRules(3000))
	opt := Options{Text: text, Hostname: "h", Library: etc.Library()}
	start := cpuTime()
	for b.Loop() {
		if _, err := Load("mixed.rules", opt); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime()-start).Milliseconds())/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(strings.Count(string(text), "\n")), "lines")
}
