package smtpclient

import (
	"fmt"

	"waybill/transport"
	"waybill/transport/sysexits"
)

// With Config.Sendmail a delivery keeps what a notice of sendmail shows of the dialogue: the last command before a
// refusal, the reply, and what it meant for whom.

// note adds lines to the transcript of a recipient.
func (d *delivery) note(i int, lines []string) {
	if len(lines) == 0 {
		return
	}
	if d.lines == nil {
		d.lines = map[int][]string{}
	}
	d.lines[i] = append(d.lines[i], lines...)
}

// yes notes the reply to RCPT.
func (d *delivery) yes(i int, reply string) {
	if d.took == nil {
		d.took = map[int]string{}
	}
	d.took[i] = reply
}

// tell notes what was said, and what it means for one recipient.
func (d *delivery) tell(s *session, i int, v verdict) {
	if !s.conf.Sendmail {
		return
	}
	line := d.meaning(i, v)
	d.note(i, append(s.take(), line))
	if v.status.Outcome() == transport.Deferred {
		if d.req.Verbose != nil {
			d.req.Verbose(line)
		}
	}
}

// meaning is what sendmail makes of an answer.
func (d *delivery) meaning(i int, v verdict) string {
	who := d.req.Recipients[i].User
	if v.status.Outcome() == transport.Deferred {
		return who + "... Deferred: " + v.status.Reply
	}
	code, enhanced, text, named, ok := sysexits.Response(v.status.Exit)
	switch {
	case !ok:
		return "554 " + v.status.Code() + " " + v.status.Text()
	case named:
		return fmt.Sprintf("%d %s %s... %s", code, enhanced, who, text)
	}
	return fmt.Sprintf("%d %s %s", code, enhanced, text)
}

// tellAll is tell for an answer that is about all of them: a "no" is said once, "later" to each.
func (d *delivery) tellAll(s *session, batch []int, v verdict) {
	if !s.conf.Sendmail || len(batch) == 0 {
		return
	}
	if v.status.Outcome() != transport.Deferred {
		d.tell(s, batch[0], v)
		for _, i := range batch[1:] {
			d.note(i, []string{""})
		}
		return
	}
	for _, i := range batch {
		d.tell(s, i, v)
	}
}
