package broker

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/broker/peer"
	"cordwood/protocol"
)

// door is an address behind which another one is served until it is shut.
type door struct {
	l    net.Listener
	mu   sync.Mutex
	open []net.Conn
	all  sync.WaitGroup
}

func openDoor(t *testing.T, to string) *door {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{l: l}
	d.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			behind, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			d.mu.Lock()
			d.open = append(d.open, c, behind)
			d.mu.Unlock()
			d.all.Go(func() { _, _ = c.(*net.TCPConn).ReadFrom(behind); c.Close() })
			d.all.Go(func() { _, _ = behind.(*net.TCPConn).ReadFrom(c); behind.Close() })
		}
	})
	t.Cleanup(d.shut)
	return d
}

// shut refuses new connections, then ends those there are: as the death of a process.
func (d *door) shut() {
	d.l.Close()
	d.mu.Lock()
	for _, c := range d.open {
		c.Close()
	}
	d.mu.Unlock()
	d.all.Wait()
}

// impostor registers a broker that lives at an address, unfenced, and returns its heartbeat connection, which stays.
func impostor(t *testing.T, s *split, id int32, addr string) *peer.Pool {
	t.Helper()
	ctx := testContext(t)
	pool := peer.NewPool(peer.Config{ClientID: "impostor"})
	t.Cleanup(pool.Close)
	to := s.controller.b.Addrs().Internal
	host, port, err := splitAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	q, err := s.brokers[0].b.registration()
	if err != nil {
		t.Fatal(err)
	}
	q.BrokerID, q.PreviousBrokerEpoch, q.IncarnationID = id, -1, newUUID()
	q.Listeners[0].Host, q.Listeners[0].Port = host, uint16(port)
	q.LogDirs = [][16]byte{newUUID()}
	answer, err := pool.Ask(ctx, to, peer.Control, q)
	if err != nil || answerCode(answer) != 0 {
		t.Fatal(answer, err)
	}
	beat := kmsg.NewPtrBrokerHeartbeatRequest()
	beat.Version, beat.BrokerID, beat.BrokerEpoch = 2, id, answer.(*kmsg.BrokerRegistrationResponse).BrokerEpoch
	eventually(t, func() bool {
		beat.CurrentMetadataOffset = int64(s.controller.b.image().Index())
		answer, err := pool.Ask(ctx, to, peer.Control, beat)
		if err != nil || answerCode(answer) != 0 {
			t.Fatal(answer, err)
		}
		return !answer.(*kmsg.BrokerHeartbeatResponse).IsFenced
	})
	return pool
}

func TestABrokerThatLosesAnotherTellsTheController(t *testing.T) {
	s := startSplit(t, 2, func(c *Config) { c.SessionTimeout = time.Minute })
	d := openDoor(t, s.brokers[1].addr)
	impostor(t, s, 9, d.l.Addr().String())
	witness := s.brokers[0].b
	is := func(fenced bool) func() bool {
		return func() bool {
			b := witness.image().Broker(9)
			return b != nil && b.Fenced == fenced
		}
	}
	eventually(t, is(false))
	ask := func() error {
		_, err := witness.peers.Ask(testContext(t), d.l.Addr().String(), peer.Control, kmsg.NewPtrApiVersionsRequest())
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	// A connection that breaks alone is no death.
	d.mu.Lock()
	for _, c := range d.open {
		c.Close()
	}
	d.mu.Unlock()
	eventually(t, func() bool { return ask() == nil })
	doubted := func() bool { _, is := witness.doubts.any(time.Now()); return is }
	eventually(t, func() bool { return !doubted() })
	if !is(false)() {
		t.Fatal("fenced though it answers")
	}
	d.shut()
	eventually(t, func() bool { return doubted() || is(true)() })
	// Who asks now has lost the same connection, and is told the death.
	q := kmsg.NewPtrMetadataRequest()
	q.Topics = []kmsg.MetadataRequestTopic{}
	answer, err := q.RequestWith(testContext(t), s.brokers[0].client())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range answer.Brokers {
		if b.NodeID == 9 {
			t.Error("an answer names a broker whose address refuses connections")
		}
	}
	eventually(t, is(true))
}

func TestAReportOfALostPeerIsJudged(t *testing.T) {
	s := startSplit(t, 1)
	cluster := s.controller.b.clusterID()
	for name, c := range map[string]struct {
		q    lostRequest
		want int16
	}{
		"a report":           {lostRequest{cluster, 1, 1}, 0},
		"from nobody":        {lostRequest{cluster, 7, 1}, kerr.BrokerIDNotRegistered.Code},
		"about nobody":       {lostRequest{cluster, 1, 7}, kerr.BrokerIDNotRegistered.Code},
		"of another cluster": {lostRequest{"other", 1, 1}, kerr.InconsistentClusterID.Code},
		"of no cluster":      {lostRequest{"", 1, 1}, kerr.InconsistentClusterID.Code},
	} {
		var r feedResponse
		s.controller.internal(t, protocol.PeerLost, c.q, &r)
		if r.Code != c.want {
			t.Errorf("%s: %v", name, kerr.ErrorForCode(r.Code))
		}
	}
}
