package smtpclient

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill/transport"
)

// Peers that fail at random, at every stage, on connections that are shared: a message is relayed if and only if
// exactly one peer answered 250 to it.
func TestRelayedMeansTakenOnce(t *testing.T) {
	replies := []string{"close", "421 4.3.2 busy", "450 4.0.0 later", "550 5.0.0 no", "garbage", "354 what", "250 2.0.0 ok"}
	mutate := func(stage, reply string) string {
		if rand.IntN(100) >= 6 || stage == "QUIT" {
			return reply
		}
		r := replies[rand.IntN(len(replies))]
		if stage == "DATA" && r[0] == '3' {
			return reply // the peer of this test would go on
		}
		if stage == "DOT" && r[0] == '2' {
			return reply
		}
		return r
	}
	peers := map[string]*peer{}
	var zone strings.Builder
	for i, ext := range [][]string{nil, {"PIPELINING"}, {"CHUNKING"}, {"PIPELINING", "CHUNKING", "DSN"}} {
		p := startPeer(t, nil, ext...)
		p.set(func(p *peer) { p.mutate = mutate })
		fmt.Fprintf(&zone, "example.com. MX %d mx%d.example.com.\nmx%d.example.com. A 192.0.2.%d\n", 10+i/2, i, i, i)
		peers[fmt.Sprintf("192.0.2.%d:25", i)] = p
	}
	c := world{zone.String(), peers}.client(t, func(conf *Config) {
		conf.HostStatus, conf.MaxPerHost, conf.IdleTime = -1, 4, 20*time.Millisecond
	})
	n := 2000
	if testing.Short() {
		n = 200
	}
	statuses := make([]transport.Status, n)
	var wg sync.WaitGroup
	work := make(chan int)
	for range 12 {
		wg.Go(func() {
			for i := range work {
				statuses[i] = c.Deliver(t.Context(), request("example.com", fmt.Sprintf("message %d\n", i), "bob@example.com"))[0]
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	acked := map[string]int{}
	for _, p := range peers {
		p.mu.Lock()
		for _, m := range p.acked {
			acked[strings.TrimSpace(m)]++
		}
		p.mu.Unlock()
	}
	count := map[transport.Outcome]int{}
	for i, st := range statuses {
		count[st.Outcome()]++
		taken := acked[fmt.Sprintf("message %d", i)]
		if want := st.Outcome() == transport.Relayed; (want && taken != 1) || (!want && taken != 0) {
			t.Errorf("message %d: %v %s (%s), and %d peers took it", i, st.Outcome(), st.Code(), st.Text(), taken)
		}
	}
	t.Log(count)
	if count[transport.Relayed] < n/2 || count[transport.Deferred] == 0 || count[transport.Failed] == 0 {
		t.Errorf("outcomes %v: the test does not test what it should", count)
	}
}
