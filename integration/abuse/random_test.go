package abuse

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap/zaptest/observer"

	"cordwood/protocol"
)

// Requests that decode and mean nothing: every field is chosen from what is likely to hurt. Whatever a handler answers,
// the broker lives, nothing panics, and whoever else asks is answered.

var (
	randomNames = []string{"", "victim", "wide", "sink", "compacted", "__consumer_offsets", "no-such-thing", "abuse", Graffiti, "a/b", "1",
		"retention.ms", "cleanup.policy", "compact", "-1", strings.Repeat("n", 300)}
	randomInts = []int64{math.MinInt32, -5, -2, -1, 0, 0, 0, 1, 1, 2, 3, 7, 18, 63, 1000, math.MaxInt16, math.MaxInt32}
)

// filler fills requests at random.
type filler struct{ *rand.Rand }

func (f filler) message(v reflect.Value) {
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; name != "Version" && name != "UnknownTags" && v.Field(i).CanSet() {
			f.value(v.Field(i))
		}
	}
}

func (f filler) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	case reflect.String:
		v.SetString(randomNames[f.IntN(len(randomNames))])
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(randomInts[f.IntN(len(randomInts))]) // a smaller type takes its low bits
	case reflect.Pointer:
		if f.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			f.value(v.Elem())
		}
	case reflect.Struct:
		f.message(v)
	case reflect.Array:
		if f.IntN(2) == 0 {
			v.Index(f.IntN(v.Len())).SetUint(uint64(f.IntN(256)))
		}
	case reflect.Slice:
		f.slice(v)
	}
}

func (f filler) slice(v reflect.Value) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		switch f.IntN(4) {
		case 0:
			v.SetBytes(good(f.IntN(100)))
		case 1:
			v.SetBytes(identified(randomInts[f.IntN(len(randomInts))], int16(f.IntN(3)), int32(f.IntN(5))))
		case 2:
			v.SetBytes([]byte(randomNames[f.IntN(len(randomNames))]))
		}
		return
	}
	n := f.IntN(4)
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := range n {
		f.value(v.Index(i))
	}
}

// randomRequest is a request of any API and version.
func randomRequest(seed uint64) kmsg.Request {
	f := filler{rand.New(rand.NewPCG(seed, 1))}
	apis := protocol.APIs()
	for {
		api := apis[f.IntN(len(apis))]
		if api.Listeners&protocol.Client == 0 {
			continue
		}
		q := kmsg.RequestForKey(int16(api.Key))
		q.SetVersion(api.Min + int16(f.IntN(int(api.Max-api.Min)+1)))
		f.message(reflect.ValueOf(q).Elem())
		if create, ok := q.(*kmsg.CreateTopicsRequest); ok {
			for i := range create.Topics {
				create.Topics[i].NumPartitions = min(create.Topics[i].NumPartitions, 20) // thousands are slow, not bad
			}
		}
		if more, ok := q.(*kmsg.CreatePartitionsRequest); ok {
			for i := range more.Topics {
				more.Topics[i].Count = min(more.Topics[i].Count, 70)
			}
		}
		if u, ok := q.(*kmsg.UnregisterBrokerRequest); ok && u.BrokerID == 1 {
			u.BrokerID = 2 // the broker would do as it is told, and end
		}
		return q
	}
}

// shoot sends bytes on a connection of its own and waits a moment for what comes back: an answer, the end, or nothing
// when the request waits.
func shoot(g *Ground, b []byte) error {
	c, err := Dial(g.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(b); err != nil {
		return nil // closed
	}
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		return err
	}
	_, _ = c.frame()
	return nil
}

// fuzzed is a broker that is shot at, and a connection that behaves.
type fuzzed struct {
	g    *Ground
	logs *observer.ObservedLogs
	mu   sync.Mutex
	well *Conn
}

// check asks on the connection that behaves, and looks for panics.
func (f *fuzzed) check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.well.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := f.well.Alive(); err != nil {
		return err
	}
	for _, line := range f.logs.TakeAll() {
		if line.ContextMap()["reason"] == "panic" || strings.Contains(line.Message, "panic") {
			return fmt.Errorf("a panic: %v", line.ContextMap())
		}
	}
	return nil
}

func newFuzzed(t testing.TB) *fuzzed {
	t.Helper()
	g, _, logs := ground(t)
	well, err := Dial(g.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { well.Close() })
	return &fuzzed{g: g, logs: logs, well: well}
}

func TestRandomRequestsHurtNobody(t *testing.T) {
	f := newFuzzed(t)
	start := uint64(time.Now().UnixNano())
	t.Logf("seed %d", start)
	var all sync.WaitGroup
	for k := range uint64(4) {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := range uint64(500) {
				seed := start + k*500 + i
				err := shoot(f.g, request(randomRequest(seed), 1))
				if err = errors.Join(err, f.check()); err != nil {
					q := randomRequest(seed)
					t.Errorf("seed %d: api key %d version %d: %v", seed, q.Key(), q.GetVersion(), err)
					return
				}
			}
		}()
	}
	all.Wait()
}

// Bodies from the fuzzer, and requests from its numbers.
func FuzzRequests(f *testing.F) {
	for _, api := range protocol.APIs() {
		f.Add(int16(api.Key), api.Max, uint64(api.Key), []byte{})
		q := kmsg.RequestForKey(int16(api.Key))
		if q == nil {
			continue
		}
		q.SetVersion(api.Max)
		f.Add(int16(api.Key), api.Max, uint64(0), q.AppendTo(nil))
	}
	broker := newFuzzed(f)
	f.Fuzz(func(t *testing.T, key, version int16, seed uint64, body []byte) {
		b := request(randomRequest(seed), 1)
		if len(body) > 0 && key != int16(protocol.UnregisterBroker) { // see randomRequest
			api := protocol.Lookup(key)
			b = frame(int(key), int(version), api != nil && api.IsFlexible(version), body)
		}
		if err := errors.Join(shoot(broker.g, b), broker.check()); err != nil {
			t.Error(err)
		}
	})
}
