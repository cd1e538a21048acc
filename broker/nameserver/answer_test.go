package nameserver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"cordwood/broker/nameserver/zone"
	"cordwood/metadata"
)

var testZone = zone.Config{Name: "kafka.example", Self: 1, Listener: "PLAINTEXT"}

// cluster is brokers with an IPv4 and topics with one partition each, led by their first replica.
func cluster(t testing.TB, brokers int, topics ...string) *metadata.Image {
	t.Helper()
	changes := []metadata.Change{metadata.ClusterCreated{ClusterID: "c"}}
	for id := metadata.NodeID(1); int(id) <= brokers; id++ {
		changes = append(changes, metadata.BrokerRegistered{ID: id, Listeners: []metadata.Endpoint{
			{Name: "PLAINTEXT", Host: fmt.Sprintf("10.0.%d.%d", id>>8, id&255), Port: 9092},
		}})
	}
	img := with(t, metadata.Empty(), changes...)
	changes = nil
	for id := metadata.NodeID(1); int(id) <= brokers; id++ {
		changes = append(changes, metadata.BrokerUnfenced{ID: id, Epoch: img.Broker(id).Epoch})
	}
	for i, name := range topics {
		id := metadata.TopicID{byte(i), byte(i >> 8), 15: 9}
		changes = append(changes, metadata.TopicCreated{ID: id, Name: name}, metadata.PartitionCreated{Topic: id, Partition: led(1)})
	}
	return with(t, img, changes...)
}

func led(by metadata.NodeID) metadata.Partition {
	return metadata.Partition{Replicas: []metadata.NodeID{1, 2, 3}, ISR: []metadata.NodeID{1, 2, 3}, Leader: by, MinISR: 1}
}

func with(t testing.TB, img *metadata.Image, changes ...metadata.Change) *metadata.Image {
	t.Helper()
	next, err := img.With(img.Index()+1, changes)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// move gives the leadership of a topic's first partition to another node.
func move(t testing.TB, img *metadata.Image, topic string, to metadata.NodeID) *metadata.Image {
	t.Helper()
	old := img.Topic(topic)
	p := old.Partition(0).Clone()
	p.Leader, p.LeaderEpoch, p.PartitionEpoch = to, p.LeaderEpoch+1, p.PartitionEpoch+1
	return with(t, img, metadata.PartitionChanged{Topic: old.ID, Partition: p})
}

func ask(name string, qtype uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name, qtype) }

// told is the reply to a message, as an asker reads it; nil: there is none.
func told(t testing.TB, z *zone.Zone, m *dns.Msg, udp bool) (*dns.Msg, int, outcome) {
	t.Helper()
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	reply, out := newResponder(testZone).answer(z, query{wire: wire, from: netip.MustParseAddr("10.0.0.1"), udp: udp}, nil)
	if reply == nil {
		return nil, 0, out
	}
	var r dns.Msg
	if err := r.Unpack(reply); err != nil {
		t.Fatalf("the reply to %v cannot be read: %v", m.Question, err)
	}
	if r.Id != m.Id || !r.Response || r.RecursionAvailable {
		t.Errorf("the reply to %v has the header %+v", m.Question, r.MsgHdr)
	}
	return &r, len(reply), out
}

// lines are the records of a section, sorted, with single spaces.
func lines(section []dns.RR) []string {
	var out []string
	for _, rr := range section {
		if rr.Header().Rrtype != dns.TypeOPT {
			out = append(out, strings.Join(strings.Fields(rr.String()), " "))
		}
	}
	slices.Sort(out)
	return out
}

func TestAnswersSayWhereBrokersAre(t *testing.T) {
	z := zone.New(testZone).At(cluster(t, 3, "orders"))
	for _, c := range []struct {
		name   string
		qtype  uint16
		answer []string
		extra  []string
	}{
		{"p0.orders.kafka.example.", dns.TypeA, []string{"p0.orders.kafka.example. 1 IN A 10.0.0.1"}, nil},
		{"P0.oRDers.Kafka.example.", dns.TypeA, []string{"P0.oRDers.Kafka.example. 1 IN A 10.0.0.1"}, nil},
		{"p0.orders.kafka.example.", dns.TypeSRV, []string{"p0.orders.kafka.example. 1 IN SRV 0 0 9092 b1.kafka.example."}, []string{"b1.kafka.example. 1 IN A 10.0.0.1"}},
		{"bootstrap.kafka.example.", dns.TypeA, []string{
			"bootstrap.kafka.example. 1 IN A 10.0.0.1", "bootstrap.kafka.example. 1 IN A 10.0.0.2", "bootstrap.kafka.example. 1 IN A 10.0.0.3",
		}, nil},
		{"b2.kafka.example.", dns.TypeA, []string{"b2.kafka.example. 1 IN A 10.0.0.2"}, nil},
		{"kafka.example.", dns.TypeNS, []string{
			"kafka.example. 1 IN NS b1.kafka.example.", "kafka.example. 1 IN NS b2.kafka.example.", "kafka.example. 1 IN NS b3.kafka.example.",
		}, []string{"b1.kafka.example. 1 IN A 10.0.0.1", "b2.kafka.example. 1 IN A 10.0.0.2", "b3.kafka.example. 1 IN A 10.0.0.3"}},
		{"kafka.example.", dns.TypeSOA, []string{"kafka.example. 1 IN SOA b1.kafka.example. hostmaster.kafka.example. 2 3600 600 86400 1"}, nil},
	} {
		r, _, out := told(t, z, ask(c.name, c.qtype), true)
		if r.Rcode != dns.RcodeSuccess || !r.Authoritative || out.verdict != found {
			t.Errorf("%s %s: %+v", c.name, dns.TypeToString[c.qtype], r.MsgHdr)
		}
		if got := lines(r.Answer); !slices.Equal(got, c.answer) {
			t.Errorf("%s %s: answered %q", c.name, dns.TypeToString[c.qtype], got)
		}
		if got := lines(r.Extra); !slices.Equal(got, c.extra) {
			t.Errorf("%s %s: beside it %q", c.name, dns.TypeToString[c.qtype], got)
		}
	}
}

func TestWhatIsMissingIsToldApart(t *testing.T) {
	z := zone.New(testZone).At(cluster(t, 3, "orders"))
	for _, c := range []struct {
		name  string
		qtype uint16
		rcode int
		want  verdict
	}{
		{"p0.orders.kafka.example.", dns.TypeAAAA, dns.RcodeSuccess, noData},
		{"p0.orders.kafka.example.", dns.TypeTXT, dns.RcodeSuccess, noData},
		{"orders.kafka.example.", dns.TypeA, dns.RcodeSuccess, noData}, // names below it exist
		{"kafka.example.", dns.TypeA, dns.RcodeSuccess, noData},
		{"controller.kafka.example.", dns.TypeA, dns.RcodeSuccess, noData}, // not known now
		{"p1.orders.kafka.example.", dns.TypeA, dns.RcodeNameError, noName},
		{"p0.other.kafka.example.", dns.TypeA, dns.RcodeNameError, noName},
		{`p0\.orders.kafka.example.`, dns.TypeA, dns.RcodeNameError, noName},
		{"example.", dns.TypeA, dns.RcodeRefused, outside},
		{".", dns.TypeNS, dns.RcodeRefused, outside},
		{"p0.orders.kafka.example.com.", dns.TypeA, dns.RcodeRefused, outside},
		{"xkafka.example.", dns.TypeA, dns.RcodeRefused, outside},
		{`x\.kafka.example.`, dns.TypeA, dns.RcodeRefused, outside}, // one label with a dot in it
	} {
		r, _, out := told(t, z, ask(c.name, c.qtype), true)
		if r.Rcode != c.rcode || out.verdict != c.want || len(r.Answer) > 0 {
			t.Errorf("%s %s: rcode %d, verdict %d, %v", c.name, dns.TypeToString[c.qtype], r.Rcode, out.verdict, r.Answer)
		}
		soa := len(r.Ns) == 1 && r.Ns[0].Header().Rrtype == dns.TypeSOA && r.Ns[0].Header().Name == "kafka.example."
		if soa != (c.want == noData || c.want == noName) || soa != r.Authoritative {
			t.Errorf("%s %s: authority %v, %+v", c.name, dns.TypeToString[c.qtype], r.Ns, r.MsgHdr)
		}
	}
}

func TestANodeThatDoesNotKnowSaysSoOfItsZoneOnly(t *testing.T) {
	for name, rcode := range map[string]int{
		"p0.orders.kafka.example.": dns.RcodeServerFailure, "none.kafka.example.": dns.RcodeServerFailure, "example.": dns.RcodeRefused,
	} {
		if r, _, _ := told(t, nil, ask(name, dns.TypeA), true); r.Rcode != rcode || r.Authoritative {
			t.Errorf("%s: %+v", name, r.MsgHdr)
		}
	}
}

func TestAdvertisedNamesAreTargetsOfServices(t *testing.T) {
	img := cluster(t, 3, "orders")
	img = with(t, img, metadata.BrokerRegistered{ID: 1, Listeners: []metadata.Endpoint{{Name: "PLAINTEXT", Host: "one.example", Port: 19092}}})
	img = with(t, img, metadata.BrokerUnfenced{ID: 1, Epoch: img.Broker(1).Epoch})
	z := zone.New(testZone).At(img)
	r, _, _ := told(t, z, ask("p0.orders.kafka.example.", dns.TypeSRV), true)
	if got := lines(r.Answer); len(r.Extra) > 0 || !slices.Equal(got, []string{"p0.orders.kafka.example. 1 IN SRV 0 0 19092 one.example."}) {
		t.Errorf("answered %q, %q", got, r.Extra)
	}
	if r, _, out := told(t, z, ask("p0.orders.kafka.example.", dns.TypeA), true); out.verdict != noData {
		t.Errorf("before its address is known: %v", r)
	}
	z = z.Resolved(map[string][]netip.Addr{"one.example": {netip.MustParseAddr("10.9.9.9"), netip.MustParseAddr("2001:db8::9")}})
	for qtype, want := range map[uint16]string{dns.TypeA: "10.9.9.9", dns.TypeAAAA: "2001:db8::9"} {
		if r, _, _ := told(t, z, ask("p0.orders.kafka.example.", qtype), true); len(r.Answer) != 1 || !strings.HasSuffix(r.Answer[0].String(), want) {
			t.Errorf("%s: %v", dns.TypeToString[qtype], r.Answer)
		}
	}
}

func TestEqualsTakeTurns(t *testing.T) {
	z := zone.New(testZone).At(cluster(t, 3))
	first := map[string]int{}
	for turn := range uint32(30) {
		wire, _ := ask("bootstrap.kafka.example.", dns.TypeA).Pack()
		reply, _ := newResponder(testZone).answer(z, query{wire: wire, udp: true, turn: turn}, nil)
		var r dns.Msg
		if err := r.Unpack(reply); err != nil {
			t.Fatal(err)
		}
		first[r.Answer[0].String()]++
	}
	for who, n := range first {
		if n != 10 {
			t.Errorf("%s came first %d times of 30", who, n)
		}
	}
}

func TestWhatAsksForTooMuchIsRefused(t *testing.T) {
	z := zone.New(testZone).At(cluster(t, 3, "orders"))
	const name = "bootstrap.kafka.example."
	change := func(f func(*dns.Msg)) *dns.Msg { m := ask(name, dns.TypeA); f(m); return m }
	for what, c := range map[string]struct {
		m     *dns.Msg
		rcode int // -1: no reply
		want  verdict
	}{
		"everything":       {ask(name, dns.TypeANY), dns.RcodeRefused, anyType},
		"the whole zone":   {ask("kafka.example.", dns.TypeAXFR), dns.RcodeRefused, transfer},
		"what changed":     {ask("kafka.example.", dns.TypeIXFR), dns.RcodeRefused, transfer},
		"a meta type":      {ask(name, dns.TypeMAILB), dns.RcodeRefused, metaType},
		"an OPT":           {ask(name, dns.TypeOPT), dns.RcodeRefused, metaType},
		"another class":    {change(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused, class},
		"any class":        {change(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }), dns.RcodeRefused, class},
		"an answer":        {change(func(m *dns.Msg) { m.Response = true }), -1, response},
		"two questions":    {change(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError, questions},
		"no question":      {change(func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError, questions},
		"an update":        {change(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented, opcode},
		"a notification":   {change(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), dns.RcodeNotImplemented, opcode},
		"with an answer":   {change(func(m *dns.Msg) { m.Answer = []dns.RR{&dns.A{Hdr: header(name, dns.TypeA), A: []byte{1, 2, 3, 4}}} }), dns.RcodeFormatError, malformed},
		"EDNS twice":       {change(func(m *dns.Msg) { m.SetEdns0(1232, false); m.SetEdns0(1232, false) }), dns.RcodeFormatError, malformed},
		"EDNS of tomorrow": {change(func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }), dns.RcodeBadVers, badVersion},
		"a longer question": {change(func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_PADDING{Padding: make([]byte, 1300)}}
		}), -1, malformed},
	} {
		for _, udp := range []bool{true, false} {
			r, size, out := told(t, z, c.m, udp)
			if out.verdict != c.want || (r == nil) != (c.rcode < 0) || r != nil && r.Rcode != c.rcode {
				t.Errorf("%s (udp %v): verdict %d, %v", what, udp, out.verdict, r)
			}
			if r != nil && (size > c.m.Len() || len(r.Answer)+len(r.Ns) > 0) {
				t.Errorf("%s: %d bytes get %d: %v", what, c.m.Len(), size, r)
			}
		}
	}
}

func TestDatagramsAreAsLongAsTheAskerTakesThemAndNoLonger(t *testing.T) {
	z := zone.New(testZone).At(cluster(t, 200))
	for _, c := range []struct {
		edns, most int
		huge       bool
	}{
		{0, 512, false}, {100, 512, false}, {512, 512, false}, {900, 900, false}, {1232, 1232, false}, {4096, 1232, false}, {4097, 512, true}, {65535, 512, true},
	} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypeNS} {
			m := ask("bootstrap.kafka.example.", qtype)
			if qtype == dns.TypeNS {
				m = ask("kafka.example.", qtype)
			}
			if c.edns > 0 {
				m.SetEdns0(uint16(c.edns), true)
			}
			r, size, out := told(t, z, m, true)
			if size > c.most || !r.Truncated || !out.truncated || out.huge != c.huge || len(r.Answer) == 0 {
				t.Errorf("%s with %d: %d bytes, %+v, %d records, %+v", dns.TypeToString[qtype], c.edns, size, r.MsgHdr, len(r.Answer), out)
			}
			if opt := r.IsEdns0(); (opt != nil) != (c.edns > 0) || opt != nil && (opt.UDPSize() != maxUDP || !opt.Do()) {
				t.Errorf("%s with %d: OPT %v", dns.TypeToString[qtype], c.edns, opt)
			}
			if r, _, _ := told(t, z, m, false); r.Truncated || len(r.Answer) != 200 {
				t.Errorf("%s over TCP: %d records, %+v", dns.TypeToString[qtype], len(r.Answer), r.MsgHdr)
			}
		}
	}
}

func TestHelpfulRecordsGoBeforeAnAnswerIsCut(t *testing.T) {
	z := zone.New(testZone).At(cluster(t, 12))
	r, size, out := told(t, z, ask("bootstrap.kafka.example.", dns.TypeSRV), true)
	if r.Truncated || out.truncated || len(r.Answer) != 12 || len(r.Extra) != 0 || size > 512 {
		t.Errorf("%d bytes, %d and %d records, %+v", size, len(r.Answer), len(r.Extra), r.MsgHdr)
	}
}

func FuzzAnswer(f *testing.F) {
	z := zone.New(testZone).At(cluster(f, 40, "orders", "Mixed"))
	for _, m := range []*dns.Msg{
		ask("p0.orders.kafka.example.", dns.TypeA), ask("bootstrap.kafka.example.", dns.TypeSRV).SetEdns0(4096, true), ask("kafka.example.", dns.TypeNS),
		ask("kafka.example.", dns.TypeAXFR), ask("P0.MIXED.kafka.example.", dns.TypeA).SetEdns0(65535, false), ask("none.kafka.example.", dns.TypeANY),
	} {
		wire, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire, true)
		f.Add(wire, false)
	}
	r := newResponder(testZone)
	f.Fuzz(func(t *testing.T, wire []byte, udp bool) {
		before := slices.Clone(wire)
		reply, out := r.answer(z, query{wire: wire, from: netip.MustParseAddr("10.0.0.1"), udp: udp}, make([]byte, 0, maxUDP))
		if !slices.Equal(before, wire) {
			t.Error("the query was changed")
		}
		if (answers[out.verdict] == "") == (refusals[out.verdict] == "") {
			t.Errorf("the verdict %d has no name", out.verdict)
		}
		if len(reply) == 0 {
			if out.verdict != response && out.verdict != malformed {
				t.Errorf("no reply, but verdict %d", out.verdict)
			}
			return
		}
		checkReply(t, wire, reply, udp, out)
	})
}

// checkReply holds a reply against what holds for all of them.
func checkReply(t *testing.T, wire, reply []byte, udp bool, out outcome) {
	var m, q dns.Msg
	if err := m.Unpack(reply); err != nil {
		t.Fatalf("a reply that nobody can read: %v", err)
	}
	size := plainUDP
	if q.Unpack(wire) == nil && q.IsEdns0() != nil && q.IsEdns0().UDPSize() <= hugeUDP {
		size = max(size, min(maxUDP, int(q.IsEdns0().UDPSize())))
	}
	switch {
	case wire[2]&0x80 != 0:
		t.Error("an answer was answered")
	case m.Id != uint16(wire[0])<<8|uint16(wire[1]) || !m.Response || m.RecursionAvailable:
		t.Errorf("header %+v", m.MsgHdr)
	case udp && len(reply) > size:
		t.Errorf("%d bytes for an asker that takes %d", len(reply), size)
	case refusals[out.verdict] != "" && (len(m.Answer)+len(m.Ns) > 0 || len(reply) > len(wire)+11):
		t.Errorf("a refusal of %d bytes for %d: %v", len(reply), len(wire), &m)
	case out.verdict == found && (len(m.Answer) == 0 && !m.Truncated || m.Rcode != 0):
		t.Errorf("found, and %v", &m)
	}
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		if rr.Header().Ttl != ttl {
			t.Errorf("to be remembered for %d s: %v", rr.Header().Ttl, rr)
		}
	}
}
