package broker

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// Quotas (KIP-13, 124, 219, 599). An answer that exceeds a quota leaves at once and says for how long its client is
// throttled; then the connection is muted: its reader does not take the next requests before that time is over. A
// throttled Fetch is an empty answer, and its bytes do not count. A client that leaves ends its connection at once,
// unless it has sent requests that are still waiting: those are served first, for an acks=0 producer may leave right
// after its last one.
//
//	image ──newQuotaTable──▶ quotaTable ──resolve(user, client id)──▶ clientQuota ──▶ meters (shared by its connections)
//
// Without any quota the table is nil, and that is all a request looks at.
//
// request_percentage counts the time this broker works on a request: decoding, appending, reading, and handlers that do
// not wait for others. 100 is one processor.

const (
	// meterLimit bounds how many clients are told apart; the one that was silent longest is forgotten.
	meterLimit = 10_000
	// meterName is how much of a client id tells clients apart.
	meterName = 255
	// throttleMax bounds a throttle: with requests waiting, a muted reader does not see its client go.
	throttleMax = 10 * time.Minute
	// anonymous is everybody, until there is authentication.
	anonymous = "ANONYMOUS"
)

// quotaKind is one of the quotas of a client.
type quotaKind int

const (
	quotaProduce quotaKind = iota
	quotaFetch
	quotaRequest
	quotaMutation
	quotaKinds
)

var quotaKeys = [quotaKinds]string{decide.QuotaProduce, decide.QuotaFetch, decide.QuotaRequest, decide.QuotaMutation}

// quotaTable is the quotas of one image. Immutable; the meters live on from table to table.
type quotaTable struct {
	image  *metadata.Image
	meters *meters

	connections      map[netip.Addr]float64 // connection_creation_rate by address
	everyConnections float64                // and of the others; 0: none
}

// newQuotaTable returns nil when the image has no quotas.
func newQuotaTable(img *metadata.Image, m *meters) *quotaTable {
	if img.QuotaCount() == 0 {
		return nil
	}
	t := &quotaTable{image: img, meters: m, connections: map[netip.Addr]float64{}}
	for e, set := range img.Quotas() {
		rate := set[decide.QuotaConnections]
		if e.IP == metadata.DefaultQuotaName {
			t.everyConnections = rate
		} else if ip, named := e.IP.Name(); named && rate > 0 {
			if a, err := netip.ParseAddr(ip); err == nil { // checked when it was set
				t.connections[a.Unmap()] = rate
			}
		}
	}
	return t
}

// clientQuota is what one client may use. Immutable.
type clientQuota struct {
	table  *quotaTable
	client string
	some   bool
	limits [quotaKinds]quotaLimit
}

// quotaLimit is the bound of one kind, 0 for none, and who shares it.
type quotaLimit struct {
	bound float64
	meter meterKey
}

// resolve finds the quotas of a client: for each kind, the most exact entity that has it counts (Kafka's order).
func (t *quotaTable) resolve(user, client string) *clientQuota {
	q := &clientQuota{table: t, client: client}
	u, c, every, none := metadata.NamedQuota(user), metadata.NamedQuota(client), metadata.DefaultQuotaName, metadata.NoQuotaName
	short := client[:min(len(client), meterName)]
	for _, e := range [...]metadata.QuotaEntity{
		{User: u, ClientID: c}, {User: u, ClientID: every}, {User: u},
		{User: every, ClientID: c}, {User: every, ClientID: every}, {User: every},
		{ClientID: c}, {ClientID: every},
	} {
		set := t.image.Quota(e)
		for kind := range q.limits {
			l := &q.limits[kind]
			if bound, ok := set[quotaKeys[kind]]; ok && l.bound == 0 {
				l.bound, q.some = bound, true
				l.meter = meterKey{kind: quotaKind(kind), byUser: e.User != none, byClient: e.ClientID != none}
				if l.meter.byUser {
					l.meter.user = user
				}
				if l.meter.byClient {
					l.meter.client = short
				}
			}
		}
	}
	return q
}

// meterKey is who shares a meter: a user, a client id, or one client of one user.
type meterKey struct {
	kind             quotaKind
	byUser, byClient bool
	user, client     string
}

// meters is what everybody has used lately.
type meters struct {
	windows  quotaWindows // of byte rates and request time
	mutation quotaWindows
	limit    int
	metrics  *metrics

	mu    sync.Mutex
	byKey map[meterKey]*list.Element
	lru   list.List // of *meter, silent longest first
}

type meter struct {
	key    meterKey
	rate   rate
	bucket bucket
}

func newMeters(cfg QuotaConfig, m *metrics) *meters {
	windows := func(num int, size time.Duration) quotaWindows {
		if num <= 0 || size <= 0 {
			return quotaWindows{num: 11, size: time.Second}
		}
		return quotaWindows{num: num, size: size}
	}
	return &meters{
		windows:  windows(cfg.Windows, cfg.WindowSize),
		mutation: windows(cfg.ControllerWindows, cfg.ControllerWindowSize),
		limit:    meterLimit, metrics: m, byKey: make(map[meterKey]*list.Element),
	}
}

// get finds a meter or makes one. Under mu.
func (m *meters) get(k meterKey) *meter {
	if e := m.byKey[k]; e != nil {
		m.lru.MoveToBack(e)
		return e.Value.(*meter)
	}
	if len(m.byKey) >= m.limit {
		oldest := m.lru.Front()
		delete(m.byKey, oldest.Value.(*meter).key)
		m.lru.Remove(oldest)
	}
	n := &meter{key: k}
	m.byKey[k] = m.lru.PushBack(n)
	return n
}

// uptime is the clock of quotas.
func (b *Broker) uptime() time.Duration { return time.Since(b.started) }

// use records a use of one kind and says how long its client is throttled for it.
func (q *clientQuota) use(kind quotaKind, now time.Duration, n float64) time.Duration {
	l := &q.limits[kind]
	if l.bound == 0 {
		return 0
	}
	m := q.table.meters
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &m.get(l.meter).rate
	r.record(m.windows, now, n)
	return min(r.excess(m.windows, now, 0, l.bound), throttleMax)
}

// busy records processing time. A throttle for it is at most one window, as in Kafka: the time is spent already.
func (q *clientQuota) busy(now, took time.Duration) time.Duration {
	return min(q.use(quotaRequest, now, 100*max(took, 0).Seconds()), q.table.meters.windows.size)
}

// fetch records bytes about to be sent, unless they have to be held back for the time it returns. What is larger than
// all windows together passes when nothing else was sent in them: else it never would.
func (q *clientQuota) fetch(now time.Duration, n int) time.Duration {
	l := &q.limits[quotaFetch]
	if l.bound == 0 {
		return 0
	}
	m := q.table.meters
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &m.get(l.meter).rate
	if wait := r.excess(m.windows, now, float64(n), l.bound); wait > 0 && !r.idle(m.windows, now) {
		return min(wait, throttleMax)
	}
	r.record(m.windows, now, float64(n))
	return 0
}

// fetchLimit is how many bytes one answer may hold: more would be held back for ever.
func (q *clientQuota) fetchLimit(limit int) int {
	if q == nil || q.limits[quotaFetch].bound == 0 {
		return limit
	}
	return max(1, int(min(float64(limit), q.table.meters.windows.burst(q.limits[quotaFetch].bound))))
}

// mutate charges changes of the metadata. strict: an exhausted quota refuses them; else they are made and cost time.
func (q *clientQuota) mutate(now time.Duration, n int, strict bool) (wait time.Duration, ok bool) {
	l := &q.limits[quotaMutation]
	if l.bound == 0 {
		return 0, true
	}
	m := q.table.meters
	m.mu.Lock()
	defer m.mu.Unlock()
	b := &m.get(l.meter).bucket
	if strict {
		if wait := b.wait(m.mutation, now, l.bound); wait > 0 {
			return min(wait, throttleMax), false
		}
		b.take(m.mutation, now, l.bound, float64(n))
		return 0, true
	}
	b.take(m.mutation, now, l.bound, float64(n))
	return min(b.wait(m.mutation, now, l.bound), throttleMax), true
}

// quota is what the client of the present request may use; nil: whatever it likes. On the reader only.
func (s *session) quota() *clientQuota {
	t := s.b.quotas.Load()
	if t == nil || s.l.internal() {
		return nil
	}
	if s.limits == nil || s.limits.table != t || s.limits.client != string(s.header.ClientID) {
		s.limits = t.resolve(anonymous, string(s.header.ClientID))
	}
	if !s.limits.some {
		return nil
	}
	return s.limits
}

// mute lets the connection's next requests wait, and counts it.
func (s *session) mute(kind quotaKind, d time.Duration) {
	if d <= 0 {
		return
	}
	s.b.metrics.throttled(kind, d)
	until := int64(s.b.uptime() + d)
	for {
		old := s.muted.Load()
		if old >= until || s.muted.CompareAndSwap(old, until) {
			return
		}
	}
}

// unmuted waits until the connection may send again; false: it has ended.
func (s *session) unmuted() bool {
	for {
		until := s.muted.Load()
		if until == 0 {
			return true
		}
		if wait := time.Duration(until) - s.b.uptime(); wait > 0 {
			if !sleep(s.c.Context(), wait) {
				return false
			}
			continue
		}
		s.muted.CompareAndSwap(until, 0)
	}
}

// connectionRate is how many connections an address may open in a second; 0: no quota says. Beyond it they are refused.
func (b *Broker) connectionRate(a netip.Addr) float64 {
	t := b.quotas.Load()
	if t == nil {
		return 0
	}
	if rate, ok := t.connections[a]; ok {
		return rate
	}
	return t.everyConnections
}

// worse is the longer of two throttles, with its kind.
func worse(kind quotaKind, d time.Duration, otherKind quotaKind, other time.Duration) (quotaKind, time.Duration) {
	if other > d {
		return otherKind, other
	}
	return kind, d
}

// millis is a throttle as the wire has it.
func millis(d time.Duration) int32 { return int32(d.Milliseconds()) }

// charge counts a Produce: its bytes and, but for acks=0, its share of the burst's time (trap 7).
func (r *produceReply) charge(share time.Duration) {
	now := r.s.b.uptime()
	kind, d := quotaProduce, r.quota.use(quotaProduce, now, float64(r.size))
	if r.acks != 0 {
		kind, d = worse(kind, d, quotaRequest, r.quota.busy(now, share))
	}
	r.throttle = millis(d)
	r.s.mute(kind, d)
}

// throttled answers without records, if the quota says so: the session stays where it was (trap 30), and a new one is
// not made.
func (r *fetchReply) throttled() bool {
	b := r.s.b
	now, bytes := b.uptime(), 0
	for i := range r.parts {
		if f := &r.parts[i]; f.err == nil && f.read.Err == nil {
			bytes += f.read.Slice.Len()
		}
	}
	kind, d := quotaRequest, r.quota.busy(now, r.busy+now-r.began)
	if d == 0 {
		kind, d = quotaFetch, r.quota.fetch(now, bytes)
	}
	if d == 0 {
		return false
	}
	r.release()
	if r.full && r.session != nil {
		b.sessions.end(r.sessionID)
		r.sessionID = 0
	}
	r.s.mute(kind, d)
	r.encoder.Encode(r.request.Version, r.correlation, millis(d), 0, r.sessionID, nil, nil)
	return true
}

// charge takes the time a request of the ordinary kind took, and tells the client of the longest of its throttles. The
// handler may have set one.
func (r *plainReply) charge() {
	resp, ok := r.resp.(interface {
		Throttle() (int32, bool)
		SetThrottle(int32)
	})
	if !ok {
		return
	}
	told, _ := resp.Throttle()
	kind, d := worse(quotaMutation, time.Duration(told)*time.Millisecond, quotaRequest, r.quota.busy(r.s.b.uptime(), r.busy))
	resp.SetThrottle(millis(d))
	r.s.mute(kind, d)
}
