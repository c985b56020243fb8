package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"waybill/compat/cf"
	"waybill/queue/spool"
	"waybill/rules/eval"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// cfRefused is why nothing runs by a sendmail.cf: what sendmail says about it, and its exit status. A daemon must not
// start on a file that sendmail -bC refuses, and no mode of sendmail but -bt does.
type cfRefused struct {
	says []string
	exit int
}

func (r *cfRefused) Error() string { return strings.Join(r.says, "\n") }

// Submit refuses a message in sendmail's words, with its exit status.
func (r *cfRefused) Submit(context.Context, spool.Peer, *envelope.Envelope, io.Reader, func(string)) (spool.Reply, error) {
	return spool.Reply{}, &spool.RefusedError{Exit: r.exit, Text: r.Error()}
}

// Control refuses everything.
func (r *cfRefused) Control(context.Context, spool.Peer, []string, func(string) error) error {
	return &spool.RefusedError{Exit: r.exit, Text: r.Error()}
}

// refusedCF says on standard output what sendmail says in every mode about a file that it refuses; ok is false then.
func refusedCF(std stdio, file string, given overrides) (exit int, ok bool) {
	conf, err := readCF(file, cf.Options{Host: cf.LocalHost("/etc/hosts"), CheckTable: eval.CheckTable, Words: askedForWords, Mode: "i"})
	if err != nil {
		err = unreadableCF(file, err)
	} else {
		give(conf, []overrides{given})
		err = refuseCF(conf)
	}
	var refused *cfRefused
	switch {
	case err == nil:
		return sysexits.OK, true
	case errors.As(err, &refused):
		fmt.Fprintln(std.out, refused)
		return refused.exit, false
	}
	return cannotOpen(std, err), false
}

// outOfDate tells of a message that it is the one about an old file.
func outOfDate(m cf.Message) bool {
	return strings.HasPrefix(m.Text, "Warning: .cf file is out of date")
}

// refuseCF looks at what was wrong with a configuration, and at its queue directory, which sendmail never makes.
func refuseCF(conf *cf.Config) error {
	r := &cfRefused{}
	for _, m := range conf.Messages {
		if !outOfDate(m) { // that it keeps to itself here
			r.says = append(r.says, m.String())
		}
	}
	switch {
	case conf.Fatal != 0:
		r.exit = conf.Fatal
		return r
	case conf.Errors > 0:
		r.exit = conf.Exit
	}
	dir, _ := conf.Option("QueueDirectory", "")
	if dir == "" {
		return &cfRefused{append(r.says, "QueueDirectory (Q) option must be set"), sysexits.Config}
	}
	if strings.HasSuffix(dir, "*") { // several: that in which they are
		dir = dir[:strings.LastIndexByte(dir, '/')+1]
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		why := "Not a directory"
		if err != nil {
			why = cf.Reason(err)
		}
		return &cfRefused{append(r.says, fmt.Sprintf("can not chdir(%s/): %s", strings.TrimSuffix(dir, "/"), why)), sysexits.Config}
	}
	if why := badQueuePath(conf, dir); why != "" {
		return &cfRefused{append(r.says, why+": No such file or directory"), sysexits.Config}
	}
	if r.exit != 0 {
		return r
	}
	return nil
}

// badQueuePath is what sendmail says of a queue group whose directory does not lie below the queue directory.
func badQueuePath(conf *cf.Config, dir string) string {
	for _, q := range conf.Queues {
		for _, e := range q.Equates {
			switch {
			case e.Name != "P" || e.Value == "":
			case e.Value[0] != '/':
				return "QueuePath " + e.Value + " not absolute"
			case !strings.HasPrefix(strings.TrimRight(e.Value, "/")+"/", strings.TrimRight(dir, "/")+"/"):
				return "QueuePath " + e.Value + " not subpath of QueueDirectory " + strings.TrimRight(dir, "/") + "/"
			}
		}
	}
	return ""
}

// overSMTP is a refusal as a client of sendmail -bs gets it.
func (r *cfRefused) overSMTP() string {
	var b strings.Builder
	for line := range strings.SplitSeq(r.Error(), "\n") {
		code := "554 5.0.0"
		switch {
		case strings.Contains(line, "header syntax error"):
			code = "553 5.3.0"
		case strings.Contains(line, "Invalid time unit"), strings.HasPrefix(line, "Can't initialize"):
			code = "550"
		case strings.HasSuffix(line, ": No such file or directory"), strings.HasSuffix(line, ": Permission denied"), strings.Contains(line, "fileclass: cannot open"):
			code = "451 4.0.0"
		case strings.HasPrefix(line, "Warning: ") && !strings.Contains(line, "exceeds sendmail"):
			b.WriteString(line + "\n")
			continue
		}
		b.WriteString(code + " " + line + "\r\n")
	}
	return b.String()
}

// unreadableCF is what sendmail says of a file that it cannot read.
func unreadableCF(file string, err error) error {
	var path *os.PathError
	if !errors.As(err, &path) && !strings.Contains(err.Error(), ": line 0: ") {
		return err
	}
	return &cfRefused{[]string{cf.CannotRead(file, err)}, sysexits.OSFile}
}
