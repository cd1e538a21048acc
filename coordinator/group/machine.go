package group

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/coordinator/machine"
)

// Config is the group rules' settings. A zero value means Kafka's default, but for InitialRebalanceDelay, whose
// zero means none; Defaults has Kafka's there, too.
type Config struct {
	MinSessionTimeout     time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout     time.Duration // group.max.session.timeout.ms
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms
	MaxSize               int           // group.max.size
	MaxOffsetMetadata     int           // offset.metadata.max.bytes; characters of UTF-16, as Kafka counts
	OffsetsRetention      time.Duration // offsets.retention.minutes
	OffsetsRetentionCheck time.Duration // offsets.retention.check.interval.ms

	// Bounds on what strangers may make us hold (bad inputs 126 and 136).
	MaxGroupID        int // bytes of a group or instance id
	MaxMemberBytes    int // names, ids and metadata of one member
	MaxGroupBytes     int // the same of all members of one group
	MaxEntryBytes     int // largest key and value that the internal topic takes
	MaxUnsavedGroups  int // groups that exist in memory only
	MaxPendingMembers int // member ids handed out but not used yet, all groups of the machine

	Rand io.Reader // for member ids; required
	// Wall is the wall time of a moment, for commit timestamps and retention; nil: the moment itself.
	// Deadlines always use the moment, so that a jump of the wall clock ends no session.
	Wall func(now time.Time) time.Time
}

// newMemberTimeout ends the join of a new member whose client has gone: it has no id yet and cannot send heartbeats.
const newMemberTimeout = 5 * time.Minute

// Defaults are Kafka's.
func Defaults() Config {
	return Config{InitialRebalanceDelay: 3 * time.Second}.filled()
}

func (c Config) filled() Config {
	c.InitialRebalanceDelay = max(c.InitialRebalanceDelay, 0)
	c.MinSessionTimeout = or(c.MinSessionTimeout, 6*time.Second)
	c.MaxSessionTimeout = or(c.MaxSessionTimeout, 30*time.Minute)
	c.MaxSize = or(c.MaxSize, math.MaxInt32)
	c.MaxOffsetMetadata = or(c.MaxOffsetMetadata, 4096)
	c.OffsetsRetention = or(c.OffsetsRetention, 7*24*time.Hour)
	c.OffsetsRetentionCheck = or(c.OffsetsRetentionCheck, 10*time.Minute)
	c.MaxGroupID = or(c.MaxGroupID, 249)
	c.MaxMemberBytes = or(c.MaxMemberBytes, 1<<20)
	c.MaxGroupBytes = or(c.MaxGroupBytes, 16<<20)
	c.MaxEntryBytes = or(c.MaxEntryBytes, 1_000_000)
	c.MaxUnsavedGroups = or(c.MaxUnsavedGroups, 10_000)
	c.MaxPendingMembers = or(c.MaxPendingMembers, 20_000)
	return c
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Client is who sent a request. Host is shown as it is; Kafka's form is /192.0.2.1.
type Client struct {
	ID, Host string
}

// Event is an effect: something an operator may want to read in the log.
type Event struct {
	Group      string
	Generation int32
	Members    int
	What       string // rebalance begins, generation begins, group is empty, member removed, …
	Why        string
}

// Machine is the state of one shard of groups.
type Machine struct {
	cfg     Config
	groups  map[string]*group
	timers  timers
	cleanup timer // the next look for expired offsets
	unsaved int   // groups without an entry
	pending int   // pending members of all groups
	skipped int   // entries that Replay did not understand
	loaded  bool

	// The step under way.
	now time.Time
	out machine.Result
}

// group is one consumer group.
type group struct {
	id   string
	hard hardGroup // Replay is its only writer (M1)
	classic
}

// New makes an empty machine. Replay what the log has, then call Loaded.
func New(cfg Config) *Machine {
	return &Machine{cfg: cfg.filled(), groups: map[string]*group{}}
}

// Loaded makes the soft state from the hard one: every saved member starts a session.
func (m *Machine) Loaded(now time.Time) machine.Result {
	m.begin(now)
	m.loaded = true
	for _, g := range m.groups {
		m.restore(g)
		if len(g.members) > m.cfg.MaxSize {
			m.prepareRebalance(g, "loaded with more members than group.max.size")
		}
	}
	m.cleanup.kind = timerCleanup
	m.arm(&m.cleanup, m.cfg.OffsetsRetentionCheck)
	return m.end(nil)
}

// begin and end enclose a step.
func (m *Machine) begin(now time.Time) {
	m.now, m.out = now, machine.Result{}
}

func (m *Machine) end(reply any) machine.Result {
	r := m.out
	r.Reply, m.out = reply, machine.Result{}
	return r
}

func (m *Machine) answer(token uint64, reply any) {
	m.out.Answers = append(m.out.Answers, machine.Answer{Token: token, Reply: reply})
}

func (m *Machine) emit(e machine.Entry) { m.out.Entries = append(m.out.Entries, e) }

// sortEntries makes the order of what was emitted since n repeatable.
func (m *Machine) sortEntries(n int) {
	slices.SortFunc(m.out.Entries[n:], func(a, b machine.Entry) int { return bytes.Compare(a.Key, b.Key) })
}

func (m *Machine) event(g *group, what, why string) {
	m.out.Effects = append(m.out.Effects, Event{g.id, g.generation, len(g.members), what, why})
}

// wall is the wall time of the step in milliseconds.
func (m *Machine) wall() int64 {
	if m.cfg.Wall != nil {
		return m.cfg.Wall(m.now).UnixMilli()
	}
	return m.now.UnixMilli()
}

// checkName is INVALID_GROUP_ID for a group id that no group may have. Requests that Kafka serves for the empty id
// (commits and fetches of offsets, Describe, Delete) pass empty = true.
func (m *Machine) checkName(id string, empty bool) *kerr.Error {
	if len(id) > m.cfg.MaxGroupID || id == "" && !empty {
		return kerr.InvalidGroupID
	}
	return nil
}

// create adds a group that exists in memory only. It answers nil when there are too many of them.
func (m *Machine) create(id string) *group {
	if m.unsaved >= m.cfg.MaxUnsavedGroups {
		return nil
	}
	g := newGroup(id)
	m.groups[id] = g
	m.unsaved++
	return g
}

// settle drops a group that has no reason to be in the table any more (G12).
func (m *Machine) settle(g *group) {
	if g.hard.exists() || g.state != Empty || len(g.pending) > 0 || m.groups[g.id] != g {
		return
	}
	delete(m.groups, g.id)
	m.unsaved--
}

// maxMemberID keeps member ids in bounds however long a client calls itself.
const maxMemberID = 1024

// memberID makes a new member id: the instance's or client's name and a random UUID. It answers "" when it could not
// make one that the group does not know.
func (m *Machine) memberID(g *group, client string, instance *string) string {
	if instance != nil {
		client = *instance
	}
	var u [16]byte
	if _, err := io.ReadFull(m.cfg.Rand, u[:]); err != nil {
		return ""
	}
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	var b [36]byte
	hex.Encode(b[:], u[:4])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	hex.Encode(b[9:], u[4:6])
	hex.Encode(b[14:], u[6:8])
	hex.Encode(b[19:], u[8:10])
	hex.Encode(b[24:], u[10:])
	if room := maxMemberID - 1 - len(b); len(client) > room {
		client = strings.ToValidUTF8(client[:room], "")
	}
	id := client + "-" + string(b[:])
	if g.members[id] != nil || g.pending[id] != nil {
		return ""
	}
	return id
}

// Stats counts what the machine holds.
type Stats struct {
	Groups, Members, PendingMembers, Offsets int
	Skipped                                  int // entries that Replay did not understand
}

// Stats walks all groups.
func (m *Machine) Stats() Stats {
	s := Stats{Groups: len(m.groups), PendingMembers: m.pending, Skipped: m.skipped}
	for _, g := range m.groups {
		s.Members += len(g.members)
		for _, parts := range g.hard.offsets {
			s.Offsets += len(parts)
		}
	}
	return s
}

// String is the line that an operator reads.
func (e Event) String() string {
	return fmt.Sprintf("group %q generation %d with %d members: %s: %s", e.Group, e.Generation, e.Members, e.What, e.Why)
}
