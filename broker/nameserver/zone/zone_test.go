package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"cordwood/metadata"
)

// history is a cluster's metadata as it grows.
type history struct {
	t   testing.TB
	img *metadata.Image
}

func newHistory(t testing.TB) *history {
	h := &history{t, metadata.Empty()}
	h.do(metadata.ClusterCreated{ClusterID: "c"})
	return h
}

func (h *history) do(changes ...metadata.Change) *metadata.Image {
	h.t.Helper()
	next, err := h.img.With(h.img.Index()+1, changes)
	if err != nil {
		h.t.Fatal(err)
	}
	h.img = next
	return next
}

// broker registers and unfences one; without a port it has no listener for clients.
func (h *history) broker(id metadata.NodeID, host string, port int32, rack string) {
	h.t.Helper()
	listeners := []metadata.Endpoint{{Name: "CONTROLLER", Host: host, Port: 9093}}
	if port > 0 {
		listeners = append(listeners, metadata.Endpoint{Name: "PLAINTEXT", Host: host, Port: port})
	}
	h.do(metadata.BrokerRegistered{ID: id, Listeners: listeners, Rack: rack})
	h.do(metadata.BrokerUnfenced{ID: id, Epoch: h.img.Broker(id).Epoch})
}

func (h *history) fence(id metadata.NodeID) {
	h.do(metadata.BrokerFenced{ID: id, Epoch: h.img.Broker(id).Epoch})
}

// topic creates one whose partitions are led by the nodes.
func (h *history) topic(name string, leaders ...metadata.NodeID) metadata.TopicID {
	h.t.Helper()
	id := metadata.TopicID{byte(h.img.Index()), 0xee, 15: 7}
	changes := []metadata.Change{metadata.TopicCreated{ID: id, Name: name}}
	for i, leader := range leaders {
		changes = append(changes, metadata.PartitionCreated{Topic: id, Index: int32(i), Partition: metadata.Partition{
			Replicas: []metadata.NodeID{1, 2, 3}, ISR: []metadata.NodeID{1, 2, 3}, Leader: leader, MinISR: 1,
		}})
	}
	h.do(changes...)
	return id
}

// lead moves the leadership of a topic's first partition.
func (h *history) lead(topic string, leader metadata.NodeID) {
	h.t.Helper()
	t := h.img.Topic(topic)
	p := t.Partition(0).Clone()
	p.Leader, p.LeaderEpoch, p.PartitionEpoch = leader, p.LeaderEpoch+1, p.PartitionEpoch+1
	h.do(metadata.PartitionChanged{Topic: t.ID, Index: 0, Partition: p})
}

func three(t testing.TB) *history {
	h := newHistory(t)
	for id := range metadata.NodeID(3) {
		h.broker(id+1, fmt.Sprintf("10.0.0.%d", id+1), 9092, "")
	}
	return h
}

func at(h *history) *Zone {
	return New(Config{Name: "kafka.example", Self: 1, Listener: "PLAINTEXT"}).At(h.img)
}

// who is the labels of what a name stands for, far ones behind a bar; "-" for a name that does not exist.
func who(z *Zone, name string, asker ...string) string {
	from := netip.Addr{}
	if len(asker) > 0 {
		from = netip.MustParseAddr(asker[0])
	}
	f, ok := z.Find(name, from)
	if !ok {
		return "-"
	}
	text := labels(f.Near)
	if len(f.Far.Nodes) > 0 {
		text += "|" + labels(f.Far)
	}
	return text
}

func labels(g Group) string {
	var out []string
	for _, n := range g.Nodes {
		out = append(out, n.Label)
	}
	return strings.Join(out, ",")
}

func expect(t *testing.T, z *Zone, want map[string]string) {
	t.Helper()
	for name, nodes := range want {
		if got := who(z, name); got != nodes {
			t.Errorf("%s stands for %q, not %q", name, got, nodes)
		}
	}
}

func TestNamesLeadToLeadersAndBrokers(t *testing.T) {
	h := three(t)
	h.broker(4, "10.0.0.4", 0, "") // no listener for clients
	id := h.topic("orders", 2, 3)
	byID := Label("", id, false)
	h.fence(3)
	z := at(h)
	expect(t, z, map[string]string{
		"": "b1,b2", "bootstrap": "b1,b2", "controller": "",
		"orders": "", "p0.orders": "b2", "p1.orders": "", "p2.orders": "-", "p0": "-", "p00.orders": "-", "p-1.orders": "-",
		"p+1.orders": "-", "p4294967296.orders": "-", "p0.other": "-", "other": "-", "x.orders": "-", "p0.p0.orders": "-",
		"b1": "b1", "b3": "b3", "b4": "-", "b01": "-", "b9": "-", "b": "-", "p": "-", "\\": "-", "x.bootstrap": "-",
		byID: "", "p0." + byID: "b2", "p2." + byID: "-",
	})
	h.lead("orders", 1)
	if got := who(z.At(h.img), "p0.orders"); got != "b1" {
		t.Errorf("after the leader moved its name stands for %q", got)
	}
	if got := who(z, "p0.orders"); got != "b2" {
		t.Errorf("the zone of the earlier image changed: %q", got)
	}
}

func TestNobodyGainsTheNameOfAnothersTopic(t *testing.T) {
	h := three(t)
	first := h.topic("orders", 1)
	z := at(h)
	if got := who(z, "p0.orders"); got != "b1" {
		t.Fatalf("alone: %q", got)
	}
	second := h.topic("Orders", 2)
	z = z.At(h.img)
	expect(t, z, map[string]string{"p0.orders": "-", "orders": "-", "p0." + Label("", first, false): "b1", "p0." + Label("", second, false): "b2"})

	h.do(metadata.TopicDeleted{ID: first})
	z = z.At(h.img)
	expect(t, z, map[string]string{"p0.orders": "b2"})
	third := h.topic("ORDERS", 3)
	z = z.At(h.img)
	expect(t, z, map[string]string{"p0.orders": "-", "p0." + Label("", third, false): "b3"})
	h.do(metadata.TopicDeleted{ID: second})
	z = z.At(h.img)
	expect(t, z, map[string]string{"p0.orders": "b3"})

	thief := Label("", third, false) // a name like the label of an id
	id := h.topic(thief, 1)
	z = z.At(h.img)
	expect(t, z, map[string]string{"p0." + thief: "b3", "p0." + Label("", id, false): "b1"})
}

func TestATopicMadeAnewInOneStepKeepsItsName(t *testing.T) {
	h := three(t)
	id := h.topic("Orders", 1)
	z := at(h)
	h.do(metadata.TopicDeleted{ID: id})
	h.topic("Orders", 2)
	z = z.At(h.img)
	expect(t, z, map[string]string{"p0.orders": "b2"})
}

func TestLabelsAreLegalOrMadeOfTheID(t *testing.T) {
	id := metadata.TopicID{0xff, 15: 1}
	byID := "t-74aaaaaaaaaaaaaaaaaaaaaaae"
	for name, want := range map[string]string{
		"orders": "orders", "Orders": "orders", "a": "a", "7": "7", "a-b": "a-b", strings.Repeat("x", 63): strings.Repeat("x", 63),
		"t-short": "t-short", "bootstrap": "bootstrap", "t-7": "t-7", "a--b": "a--b",
		"a.b": byID, "a_b": byID, "-a": byID, "a-": byID, strings.Repeat("x", 64): byID, "xn--bcher-kva": byID, "__consumer_offsets": byID,
		byID: byID, strings.ToUpper(byID): byID, "t-99999999999999999999999999": "t-99999999999999999999999999",
	} {
		if got := Label(name, id, true); got != want {
			t.Errorf("the label of %s is %s, not %s", name, got, want)
		}
	}
	if got := Label("orders", id, false); got != byID {
		t.Errorf("not alone: %s", got)
	}
	if back, ok := parseID(byID); !ok || back != id {
		t.Errorf("read back as %v, %v", back, ok)
	}
	if _, ok := parseID(byID[:len(byID)-1] + "h"); ok {
		t.Error("two labels stand for one id")
	}
}

// The racks are subnets: 10.0.0.0/20, 10.0.16.0/20 and 10.1.0.0/20.
func TestBrokersOfTheAskersRackComeFirst(t *testing.T) {
	h := newHistory(t)
	h.broker(1, "10.0.1.1", 9092, "a")
	h.broker(2, "10.0.17.1", 9092, "b")
	h.broker(3, "10.0.2.1", 9092, "a")
	h.broker(4, "2001:db8:0:1::4", 9092, "c")
	z := at(h)
	for asker, want := range map[string]string{
		"10.0.1.1": "b1,b3|b2,b4", "10.0.15.9": "b1,b3|b2,b4", "10.0.30.9": "b2|b1,b3,b4", "::ffff:10.0.30.9": "b2|b1,b3,b4",
		"2001:db8:0:1::77": "b4|b1,b2,b3", "2001:db8:0:ff::1": "b4|b1,b2,b3",
		"203.0.113.7": "b1,b3|b2,b4", "2001:db9::1": "b1,b3|b2,b4", // strangers: the rack of the node that answers
	} {
		if got := who(z, "bootstrap", asker); got != want {
			t.Errorf("%s is told %s, not %s", asker, got, want)
		}
	}
	if got := who(z, "bootstrap"); got != "b1,b3|b2,b4" {
		t.Errorf("an asker without an address is told %s", got)
	}
	h.fence(1)
	h.fence(3)
	if got := who(z.At(h.img), "bootstrap", "203.0.113.7"); got != "b2,b4" {
		t.Errorf("without a live broker of its own rack: %s", got)
	}
}

func TestTwoRacksAtOneAddressSayNothing(t *testing.T) {
	h := newHistory(t)
	h.broker(1, "10.0.0.1", 9092, "a")
	h.broker(2, "10.0.0.9", 9092, "b")
	h.broker(3, "10.0.0.9", 9192, "c")
	if got := who(at(h), "bootstrap", "10.0.0.9"); got != "b1|b2,b3" {
		t.Errorf("told %s", got)
	}
}

func TestAnAddressIsOnceInAnAnswer(t *testing.T) {
	h := newHistory(t)
	h.broker(1, "10.0.0.1", 9092, "a")
	h.broker(2, "10.0.0.1", 9192, "a")
	h.broker(3, "10.0.0.1", 9292, "b")
	f, _ := at(h).Find("bootstrap", netip.Addr{})
	if len(f.Near.V4) != 1 || len(f.Far.V4) != 0 || len(f.Near.Nodes) != 2 || len(f.Far.Nodes) != 1 {
		t.Errorf("%v and %v", f.Near, f.Far)
	}
}

func TestAdvertisedNamesHaveTheAddressesThatWereFound(t *testing.T) {
	h := newHistory(t)
	h.broker(1, "one.example", 9092, "")
	h.broker(2, "10.0.0.2", 9092, "")
	h.broker(3, "b3.kafka.example", 9092, "") // a name of the zone: nobody else could say what it is
	z := at(h)
	if got := z.Hosts(); !slices.Equal(got, []string{"one.example"}) {
		t.Errorf("asks for %v", got)
	}
	z = z.Resolved(map[string][]netip.Addr{"one.example": {netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}})
	f, _ := z.Find("b1", netip.Addr{})
	if n := f.Near; len(n.V4) != 1 || len(n.V6) != 1 || n.Nodes[0].Host != "one.example" {
		t.Errorf("b1 is %+v", n)
	}
	if f, _ := z.At(h.do(metadata.BrokerShuttingDown{ID: 2, Epoch: h.img.Broker(2).Epoch})).Find("bootstrap", netip.Addr{}); len(f.Near.V4) != 1 || len(f.Near.Nodes) != 2 {
		t.Errorf("after another change bootstrap is %+v", f)
	}
}

func TestTheControllerIsABrokerWhereItIsOne(t *testing.T) {
	h := three(t)
	z := at(h)
	for _, c := range []struct {
		at   Controller
		want string
		port uint16
	}{
		{Controller{ID: 2, Host: "10.0.0.2", Port: 9093}, "b2", 9092},
		{Controller{ID: metadata.NoNode, Host: "10.0.0.3", Port: 9093}, "b3", 9092}, // known by its address only
		{Controller{ID: 100, Host: "10.0.0.100", Port: 9093}, "controller", 9093},
		{Controller{ID: metadata.NoNode}, "", 0},
	} {
		z = z.With(c.at)
		f, ok := z.Find("controller", netip.Addr{})
		if got := who(z, "controller"); got != c.want || !ok {
			t.Errorf("%+v is %s", c.at, got)
		} else if got != "" && f.Near.Nodes[0].Port != c.port {
			t.Errorf("%+v has port %d", c.at, f.Near.Nodes[0].Port)
		}
	}
}

func TestZonesThatCannotBeServedAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"kafka.example.com": "kafka.example.com", "Kafka.Example.": "kafka.example", "lan": "lan", "a-1.b": "a-1.b",
	} {
		if got, err := Parse(text); got != want || err != nil {
			t.Errorf("%s is read as %q, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", ".", "..", "a..b", ".a", "-a.b", "a_b.c", "a b", "10.0.0.1", "::1", "kafka.example:53", "é.example",
		strings.Repeat("x", 64) + ".example", strings.Repeat("abcdefg.", 30) + "example",
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q is read as %q", text, got)
		}
	}
}
