package group

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/machine"
)

var update = flag.Bool("update", false, "write the transcripts of testdata/*.script anew")

// TestScripts plays every testdata/*.script: blocks of one command each, the answer below four dashes. Member ids are
// shown as m1, m2, … in the order in which they are handed out, parked requests as #n.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".script"), func(t *testing.T) { playFile(t, file) })
	}
}

func playFile(t *testing.T, file string) {
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := &player{t: t, names: map[string]string{}, ids: map[string]string{}}
	p.w = newWorld(t, Config{InitialRebalanceDelay: 3 * time.Second})
	var out strings.Builder
	for i, block := range strings.Split(strings.TrimRight(string(src), "\n"), "\n\n") {
		if i > 0 {
			out.WriteString("\n")
		}
		head, _, _ := strings.Cut(block, "----\n")
		head = strings.TrimRight(strings.TrimSuffix(head, "----"), "\n")
		fmt.Fprintf(&out, "%s\n", head)
		command := ""
		for line := range strings.Lines(head) {
			if !strings.HasPrefix(line, "#") {
				command = strings.TrimSpace(line)
			}
		}
		if command != "" {
			fmt.Fprintf(&out, "----\n%s", p.play(command))
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, want := strings.Split(out.String(), "\n"), strings.Split(string(src), "\n")
	for i := range max(len(got), len(want)) {
		g, w := "", ""
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("%s:%d: got %q, want %q", file, i+1, g, w)
		}
	}
}

type player struct {
	t          *testing.T
	w          *world
	names, ids map[string]string // member id <-> short name
	logged     int
	out        strings.Builder
}

func (p *player) name(id string) string {
	if id == "" {
		return "-"
	}
	if p.names[id] == "" {
		n := fmt.Sprintf("m%d", len(p.names)+1)
		p.names[id], p.ids[n] = n, id
	}
	return p.names[id]
}

// args of a command: key=value words and plain ones.
type args struct {
	plain []string
	named map[string]string
}

func (a args) int(key string, otherwise int64) int64 {
	if v, err := strconv.ParseInt(a.named[key], 10, 64); err == nil {
		return v
	}
	return otherwise
}

func (a args) text(key, otherwise string) string {
	if v, ok := a.named[key]; ok {
		return v
	}
	return otherwise
}

func (a args) millis(key string, otherwise time.Duration) int32 {
	d, err := time.ParseDuration(a.named[key])
	if err != nil {
		d = otherwise
	}
	return int32(d.Milliseconds())
}

func (a args) opt(key string) *string {
	if v, ok := a.named[key]; ok {
		return &v
	}
	return nil
}

func (p *player) member(a args) string {
	n := a.text("member", "")
	if id, ok := p.ids[n]; ok {
		return id
	}
	return n
}

func (p *player) play(command string) string {
	p.t.Helper()
	words := strings.Fields(command)
	a := args{named: map[string]string{}}
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok && !strings.Contains(k, ":") {
			a.named[k] = v
		} else {
			a.plain = append(a.plain, w)
		}
	}
	p.out.Reset()
	p.w.events = nil
	switch words[0] {
	case "config":
		p.configure(a)
	case "after":
		d, err := time.ParseDuration(a.plain[0])
		if err != nil {
			p.t.Fatal(err)
		}
		p.w.pass(d, func() { p.rest(p.w.now.Sub(epoch).String() + " ") })
	case "reload":
		clear(p.w.replies)
		p.w.load(compacted(p.w.log))
		p.logged = len(p.w.log)
	default:
		p.request(words[0], a)
	}
	p.rest("")
	if p.out.Len() == 0 {
		return "nothing\n"
	}
	return p.out.String()
}

func (p *player) configure(a args) {
	c := p.w.cfg
	c.MaxSize = int(a.int("max", 0))
	if d, err := time.ParseDuration(a.named["delay"]); err == nil {
		c.InitialRebalanceDelay = d
	}
	c.MaxEntryBytes = int(a.int("entry", 0))
	p.w.cfg = c
	p.w.load(p.w.log)
}

func (p *player) request(name string, a args) {
	if name == "topics-deleted" {
		_, reply := p.w.do(func(m *Machine, _ uint64) machine.Result {
			return m.TopicsDeleted([]Topic{{Name: a.plain[0]}}, p.w.now)
		})
		fmt.Fprintf(&p.out, "%d offsets\n", reply)
		return
	}
	op := map[string]func(args) func(*Machine, uint64) machine.Result{
		"join": p.join, "sync": p.sync, "heartbeat": p.heartbeat, "leave": p.leave, "commit": p.commit, "fetch": p.fetch,
		"delete-offsets": p.deleteOffsets, "describe": p.describe, "list": p.list, "delete": p.delete,
	}[name]
	if op == nil {
		p.t.Fatalf("unknown command %q", name)
	}
	token, reply := p.w.do(op(a))
	if reply == nil {
		fmt.Fprintf(&p.out, "#%d waits\n", token)
		return
	}
	fmt.Fprintf(&p.out, "#%d %s\n", token, p.show(reply))
}

// rest prints late answers and entries that are new.
func (p *player) rest(prefix string) {
	for ; p.logged < len(p.w.log); p.logged++ {
		fmt.Fprintf(&p.out, "%slog %s\n", prefix, p.showEntry(p.w.log[p.logged]))
	}
	for _, token := range slices.Sorted(maps.Keys(p.w.replies)) {
		fmt.Fprintf(&p.out, "%s#%d %s\n", prefix, token, p.show(p.w.replies[token]))
		delete(p.w.replies, token)
	}
	for _, e := range p.w.events {
		why := e.Why
		for id, n := range p.names {
			why = strings.ReplaceAll(why, id, n)
		}
		fmt.Fprintf(&p.out, "%s%s\n", prefix, list(fmt.Sprintf("%s: %s (generation %d, %d members)", e.Group, e.What, e.Generation, e.Members), why))
	}
	p.w.events = nil
}

func (p *player) join(a args) func(*Machine, uint64) machine.Result {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version = int16(a.int("v", 9))
	req.Group, req.MemberID, req.InstanceID = a.plain[0], p.member(a), a.opt("instance")
	req.SessionTimeoutMillis = a.millis("session", 10*time.Second)
	req.RebalanceTimeoutMillis = a.millis("rebalance", time.Minute)
	req.ProtocolType = a.text("type", "consumer")
	for _, s := range strings.Split(a.text("protocols", "range:t"), ",") {
		name, topic, _ := strings.Cut(s, ":")
		req.Protocols = append(req.Protocols, kmsg.JoinGroupRequestProtocol{Name: name, Metadata: subscription(topic)})
	}
	client := Client{ID: a.text("client", "c"), Host: "/192.0.2.1"}
	return func(m *Machine, token uint64) machine.Result { return m.JoinGroup(req, client, token, p.w.now) }
}

// subscription is the consumer protocol's metadata for one topic.
func subscription(topic string) []byte {
	s := kmsg.NewConsumerMemberMetadata()
	s.Version, s.Topics = 1, []string{topic}
	return s.AppendTo(nil)
}

func (p *player) sync(a args) func(*Machine, uint64) machine.Result {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version = int16(a.int("v", 5))
	req.Group, req.MemberID, req.InstanceID = a.plain[0], p.member(a), a.opt("instance")
	req.Generation = int32(a.int("gen", 0))
	protocolType, name := a.text("type", "consumer"), a.text("protocol", "range")
	req.ProtocolType, req.Protocol = &protocolType, &name
	if s := a.text("assign", ""); s != "" {
		for _, one := range strings.Split(s, ",") {
			n, what, _ := strings.Cut(one, ":")
			req.GroupAssignment = append(req.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{
				MemberID: p.ids[n], MemberAssignment: []byte(what),
			})
		}
	}
	return func(m *Machine, token uint64) machine.Result { return m.SyncGroup(req, token, p.w.now) }
}

func (p *player) heartbeat(a args) func(*Machine, uint64) machine.Result {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version = 4
	req.Group, req.MemberID, req.InstanceID = a.plain[0], p.member(a), a.opt("instance")
	req.Generation = int32(a.int("gen", 0))
	return func(m *Machine, _ uint64) machine.Result { return m.Heartbeat(req, p.w.now) }
}

func (p *player) leave(a args) func(*Machine, uint64) machine.Result {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group = int16(a.int("v", 5)), a.plain[0]
	req.MemberID = p.member(a)
	for _, one := range a.plain[1:] {
		n, instance, static := strings.Cut(one, "/")
		l := kmsg.LeaveGroupRequestMember{MemberID: n}
		if id, ok := p.ids[n]; ok {
			l.MemberID = id
		}
		if static {
			l.InstanceID = &instance
		}
		req.Members = append(req.Members, l)
	}
	return func(m *Machine, _ uint64) machine.Result { return m.LeaveGroup(req, p.w.now) }
}

// offsets are written topic:partition=offset.
func (p *player) commit(a args) func(*Machine, uint64) machine.Result {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group = int16(a.int("v", 9)), a.plain[0]
	req.Generation, req.MemberID, req.InstanceID = int32(a.int("gen", -1)), p.member(a), a.opt("instance")
	req.RetentionTimeMillis = int64(a.millis("retention", -time.Millisecond))
	metadata := strings.Repeat("x", int(a.int("metadata", 0)))
	for _, one := range a.plain[1:] {
		where, at, _ := strings.Cut(one, "=")
		topic, partition, _ := strings.Cut(where, ":")
		n, _ := strconv.Atoi(partition)
		o, _ := strconv.ParseInt(at, 10, 64)
		req.Topics = append(req.Topics, kmsg.OffsetCommitRequestTopic{
			Topic: topic,
			Partitions: []kmsg.OffsetCommitRequestTopicPartition{{
				Partition: int32(n), Offset: o, LeaderEpoch: int32(a.int("epoch", -1)), Metadata: &metadata,
			}},
		})
	}
	return func(m *Machine, _ uint64) machine.Result { return m.OffsetCommit(req, p.w.now) }
}

func (p *player) fetch(a args) func(*Machine, uint64) machine.Result {
	req := kmsg.NewOffsetFetchRequestGroup()
	req.Group = a.plain[0]
	for _, one := range a.plain[1:] {
		topic, partition, _ := strings.Cut(one, ":")
		n, _ := strconv.Atoi(partition)
		req.Topics = append(req.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: topic, Partitions: []int32{int32(n)}})
	}
	return func(m *Machine, _ uint64) machine.Result { return m.OffsetFetch(&req, p.w.now) }
}

func (p *player) deleteOffsets(a args) func(*Machine, uint64) machine.Result {
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = a.plain[0]
	for _, one := range a.plain[1:] {
		topic, partition, _ := strings.Cut(one, ":")
		n, _ := strconv.Atoi(partition)
		req.Topics = append(req.Topics, kmsg.OffsetDeleteRequestTopic{
			Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: int32(n)}},
		})
	}
	return func(m *Machine, _ uint64) machine.Result { return m.OffsetDelete(req, p.w.now) }
}

func (p *player) describe(a args) func(*Machine, uint64) machine.Result {
	return func(m *Machine, _ uint64) machine.Result {
		return m.DescribeGroup(int16(a.int("v", 6)), a.plain[0], p.w.now)
	}
}

func (p *player) list(a args) func(*Machine, uint64) machine.Result {
	req := kmsg.NewPtrListGroupsRequest()
	if s := a.opt("states"); s != nil {
		req.StatesFilter = strings.Split(*s, ",")
	}
	if s := a.opt("types"); s != nil {
		req.TypesFilter = strings.Split(*s, ",")
	}
	return func(m *Machine, _ uint64) machine.Result { return m.ListGroups(req, p.w.now) }
}

func (p *player) delete(a args) func(*Machine, uint64) machine.Result {
	return func(m *Machine, _ uint64) machine.Result { return m.DeleteGroup(a.plain[0], p.w.now) }
}
