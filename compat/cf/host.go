package cf

import (
	"net"
	"os"
	"strings"
)

// Host is what a reader knows about the machine; LocalHost fills it in.
type Host struct {
	Name      string   // full name, "mail.example.org"
	NodeName  string   // uname's
	Addresses []string // "[192.0.2.1]"
	// Interfaces lists the addresses of the machine's network interfaces, for files without DontProbeInterfaces; nil: they are
	// not looked at.
	Interfaces func() []Interface
}

// Interface is one address of an interface.
type Interface struct {
	Address  string   // "192.0.2.1"
	Names    []string // of the address, by the hosts file
	Loopback bool
}

// LocalHost finds out what the machine is called, as sendmail does: the name of the kernel, made a full name with the
// hosts file, and the addresses that stand there with it.
func LocalHost(hostsFile string) Host {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return Host{Name: "localhost", NodeName: "localhost"}
	}
	h := Host{Name: name, NodeName: name}
	data, err := os.ReadFile(hostsFile)
	h.Interfaces = func() []Interface { return interfaces(string(data)) }
	if err != nil {
		return h
	}
	for line := range strings.Lines(string(data)) {
		if i := strings.IndexByte(line, '#'); i >= 0 {
			line = line[:i]
		}
		f := strings.Fields(line)
		for _, n := range f[min(1, len(f)):] {
			if !equalFold(n, name) {
				continue
			}
			if strings.IndexByte(h.Name, '.') < 0 {
				for _, full := range f[1:] {
					if strings.IndexByte(full, '.') > 0 {
						h.Name = full
						break
					}
				}
			}
			a := f[0]
			if strings.IndexByte(a, ':') >= 0 {
				a = "IPv6:" + a
			}
			h.Addresses = append(h.Addresses, "["+a+"]")
			break
		}
	}
	return h
}

// interfaces lists the IPv4 addresses of interfaces that are up, with the names that the text of a hosts file has for them.
func interfaces(hosts string) (list []Interface) {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, one := range all {
		addresses, err := one.Addrs()
		if one.Flags&net.FlagUp == 0 || err != nil {
			continue
		}
		for _, a := range addresses {
			n, ok := a.(*net.IPNet)
			if !ok || n.IP.To4() == nil {
				continue
			}
			i := Interface{Address: n.IP.String(), Loopback: one.Flags&net.FlagLoopback != 0}
			for line := range strings.Lines(hosts) {
				line, _, _ = strings.Cut(line, "#")
				if f := strings.Fields(line); len(f) > 1 && f[0] == i.Address {
					i.Names = f[1:]
					break
				}
			}
			list = append(list, i)
		}
	}
	return list
}

// probe puts the addresses of the interfaces, and their names, into class w: mail for them is for this host.
func (r *reader) probe() {
	v, _ := r.cfg.Option("DontProbeInterfaces", "")
	loopback := strings.EqualFold(v, "loopback")
	if r.opt.Host.Interfaces == nil || r.opt.NoFiles || !loopback && r.cfg.Bool("DontProbeInterfaces", false) {
		return
	}
	for _, i := range r.opt.Host.Interfaces() {
		words := []string{"[" + i.Address + "]"}
		if !i.Loopback || !loopback {
			for _, n := range i.Names {
				words = append(words, n, "["+n+"]")
			}
		}
		r.addWords("w", words)
	}
}
