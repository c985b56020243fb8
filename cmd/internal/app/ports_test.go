package app

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
)

func TestWhyAPortCannotBeOpened(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.28:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for address, text := range map[string]string{l.Addr().String(): "another program has this port", "192.0.2.1:0": "this host has no such address"} {
		ports, err := open([]want{{addr: address}}, nil)
		for _, p := range ports {
			p.Close()
		}
		if err == nil || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), text) || !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
