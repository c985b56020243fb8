package maildir_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/maildir"
	"waybill/transport/passwd"
)

func request(user string) *transport.Request {
	return &transport.Request{
		Envelope: &envelope.Envelope{Sender: "s@x"}, Body: envelope.BytesBody("Return-Path: <old>\nSubject: hi\n\nFrom me\nlast"),
		Recipients: []transport.Recipient{{User: user, Orig: envelope.Recipient{Addr: envelope.Address(user)}}},
	}
}

const want = "Return-Path: <s@x>\nSubject: hi\n\nFrom me\nlast\n"

func open(t *testing.T, c maildir.Config) *maildir.Maildir {
	t.Helper()
	m, err := maildir.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func deliver(t *testing.T, m *maildir.Maildir, req *transport.Request, code string) {
	t.Helper()
	if s := m.Deliver(context.Background(), req)[0]; s.Code() != code {
		t.Errorf("%s: %s %s, want %s", req.Recipients[0].User, s.Code(), s.Text(), code)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestDeliver(t *testing.T) {
	dir := t.TempDir()
	m := open(t, maildir.Config{Path: dir + "/$user"})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { deliver(t, m, request("bob"), "2.0.0") })
	}
	all.Wait()
	got := files(t, dir+"/bob/new")
	if len(got) != 20 || len(files(t, dir+"/bob/tmp")) != 0 {
		t.Fatalf("%d in new, %d in tmp", len(got), len(files(t, dir+"/bob/tmp")))
	}
	for _, name := range got {
		if text, err := os.ReadFile(name); err != nil || string(text) != want || !strings.HasSuffix(name, ",S=45") {
			t.Errorf("%s: %q %v", name, text, err)
		}
	}
	for user, code := range map[string]string{"../x": "5.1.1", "": "5.1.1", "-x": "5.1.1", "a\nb": "5.1.1"} {
		deliver(t, m, request(user), code)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	m := open(t, maildir.Config{Path: dir + "/$user", Quota: 100})
	deliver(t, m, request("bob"), "2.0.0")
	deliver(t, m, request("bob"), "2.0.0")
	deliver(t, m, request("bob"), "5.2.2")
	deliver(t, open(t, maildir.Config{Path: dir + "/$user", Quota: 100, QuotaTemporary: true}), request("bob"), "4.2.2")
	req := request("carol")
	req.Body = broken{}
	deliver(t, m, req, "4.3.0")
	if n := len(files(t, dir+"/carol/*")); n != 0 {
		t.Errorf("%d files left of a message that could not be read", n)
	}
	if err := errors.Join(os.Mkdir(dir+"/elsewhere", 0o700), os.Symlink(dir+"/elsewhere", dir+"/eve"), os.WriteFile(dir+"/file", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	deliver(t, m, request("eve"), "4.2.0")
	deliver(t, m, request("file"), "4.2.0")
	if n := len(files(t, dir+"/elsewhere")); n != 0 {
		t.Error("written through a symbolic link")
	}
	users := open(t, maildir.Config{Path: dir + "/$user", Users: passwd.Static{}})
	deliver(t, users, request("bob"), "5.1.1")
	deliver(t, open(t, maildir.Config{Path: dir + "/$user", Users: passwd.Open("/nonexistent", "")}), request("bob"), "4.3.0")
}

func TestFolders(t *testing.T) {
	dir := t.TempDir()
	m := open(t, maildir.Config{Path: dir + "/$user", Folder: true})
	deliver(t, m, request("bob"), "2.0.0")
	if err := os.MkdirAll(dir+"/bob/.lists/new", 0o700); err != nil {
		t.Fatal(err)
	}
	for detail, where := range map[string]string{"lists": "/bob/.lists/new", "other": "/bob/new", "../x": "/bob/new", ".": "/bob/new"} {
		req := request("bob")
		req.Recipients[0].Detail = detail
		before := len(files(t, dir+where))
		deliver(t, m, req, "2.0.0")
		if len(files(t, dir+where)) != before+1 {
			t.Errorf("detail %q: not in %s", detail, where)
		}
	}
}

func TestAsRootItBelongsToTheUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "maildir")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(dir+"/home", 0o700), os.Chown(dir+"/home", 20001, 20001), os.Mkdir(dir+"/root", 0o777)); err != nil {
		t.Fatal(err)
	}
	users := passwd.Static{"bob": {UID: 20001, GID: 20001, Home: dir + "/home"}, "eve": {UID: 20002, GID: 20002, Home: dir + "/home"}}
	m := open(t, maildir.Config{Path: "$home/Maildir", Users: users})
	deliver(t, m, request("bob"), "2.0.0")
	deliver(t, m, request("eve"), "4.2.0")
	if n := len(files(t, dir+"/home/Maildir/new")); n != 1 {
		t.Errorf("%d messages", n)
	}
	deliver(t, open(t, maildir.Config{Path: dir + "/$user", Users: passwd.Static{"root": users["bob"]}}), request("root"), "4.2.0")
}

type broken struct{}

func (broken) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("x: y\n"), iotest.ErrReader(errors.New("gone")))), nil
}
func (broken) Size() int64 { return -1 }
