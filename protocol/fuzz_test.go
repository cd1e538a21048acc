package protocol

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func FuzzParseHeader(f *testing.F) {
	for _, a := range APIs() {
		f.Add([]byte(head(int(a.Key), int(a.Max)) + be16(6) + "client" + "\x01\x05\x01xbody"))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var h Header
		body, err := ParseHeader(frame, &h)
		if err != nil {
			reasonOf(t, err)
			return
		}
		if !bytes.HasSuffix(frame, body) || len(body)+len(h.ClientID)+10 > len(frame) ||
			h.API.Key != Key(h.Key) || !h.API.Serves(h.Version) && !h.Unsupported() {
			t.Fatalf("%+v, body %x", h, body)
		}
	})
}

// P3 from the wire's side: what Guard accepts, kmsg decodes; what is canonical
// and kmsg decodes, Guard accepts but for what kmsg does not look at.
func FuzzGuard(f *testing.F) {
	kafkas := table[:slices.IndexFunc(table[:], func(a API) bool { return a.Key >= firstOwn })]
	for i, a := range kafkas {
		for v := a.Min; v <= a.Max; v++ {
			r := request(f, &a, v)
			newFiller(f, 3).message(r, r.IsFlexible())
			f.Add(byte(i), byte(v-a.Min), r.AppendTo(nil))
		}
	}
	f.Fuzz(func(t *testing.T, row, version byte, body []byte) {
		a := &kafkas[int(row)%len(kafkas)]
		v := a.Min + int16(version)%(a.Max-a.Min+1)
		if err := Guard(int16(a.Key), v, body); err != nil {
			checkRefusal(t, a, v, body, reasonOf(t, err))
			return
		}
		r, err := Decode(&Header{Key: int16(a.Key), Version: v}, body)
		if err != nil {
			t.Fatalf("%s v%d: guarded, yet %v", a.Name, v, err)
		}
		again := r.AppendTo(nil)
		if err := Guard(int16(a.Key), v, again); err != nil && reasonOf(t, err) != ReasonBudget {
			t.Fatalf("%s v%d: written again: %v", a.Name, v, err)
		}
		s := request(t, a, v)
		if err := s.ReadFrom(again); err != nil || !reflect.DeepEqual(r, s) {
			t.Fatalf("%s v%d: %+v, written again %+v (%v)", a.Name, v, r, s, err)
		}
	})
}

// checkRefusal fails if kmsg would have read body and written the same bytes. It
// is asked only where kmsg stops, too: behind a null or a count it does not mind,
// the next count may keep it busy for minutes.
func checkRefusal(t *testing.T, a *API, version int16, body []byte, why Reason) {
	t.Helper()
	if why != ReasonCut && why != ReasonVarint {
		return
	}
	r := request(t, a, version)
	if err := r.ReadFrom(body); err == nil && bytes.Equal(r.AppendTo(nil), body) {
		t.Fatalf("%s v%d: refused (%v) what kmsg reads and writes: %x", a.Name, version, why, body)
	}
}

func FuzzProduceRequest(f *testing.F) {
	for v := int16(3); v <= 13; v++ {
		f.Add(byte(v), produceBody(v, 2, 2, 70))
	}
	f.Fuzz(func(t *testing.T, version byte, body []byte) {
		v := 3 + int16(version)%11
		var r ProduceRequest
		if err := r.Decode(v, body); err != nil {
			checkRefusal(t, Lookup(0), v, body, reasonOf(t, err))
			return
		}
		want := kmsg.NewPtrProduceRequest()
		want.Version = v
		if err := want.ReadFrom(body); err != nil {
			t.Fatalf("v%d: accepted, kmsg says %v", v, err)
		}
		if err := compareProduce(&r, want); err != nil {
			t.Fatalf("v%d: %v", v, err)
		}
	})
}

func FuzzFetchRequest(f *testing.F) {
	for v := int16(4); v <= 18; v++ {
		f.Add(byte(v), fetchBody(v, 2))
		r := request(f, Lookup(1), v)
		newFiller(f, uint64(v)).message(r, r.IsFlexible())
		f.Add(byte(v), r.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, version byte, body []byte) {
		v := 4 + int16(version)%15
		var r FetchRequest
		if err := r.Decode(v, body); err != nil {
			checkRefusal(t, Lookup(1), v, body, reasonOf(t, err))
			return
		}
		want := kmsg.NewPtrFetchRequest()
		want.Version = v
		if err := want.ReadFrom(body); err != nil {
			if v >= 12 && v < 18 {
				return // kmsg reads tags by a later version's meaning, we pass over them
			}
			t.Fatalf("v%d: accepted, kmsg says %v", v, err)
		}
		tidyFetch(want)
		if err := compareFetch(&r, want); err != nil {
			t.Fatalf("v%d: %v", v, err)
		}
	})
}

// fuzzSource is a source of randomness that begins with the fuzzer's bytes, so
// that the fuzzer steers what a filler makes.
type fuzzSource struct {
	data []byte
	then *rand.PCG
}

func (s *fuzzSource) Uint64() uint64 {
	if len(s.data) < 8 {
		return s.then.Uint64()
	}
	v := binary.LittleEndian.Uint64(s.data)
	s.data = s.data[8:]
	return v
}

func fuzzFiller(data []byte, most byte) *filler {
	return &filler{rng: rand.New(&fuzzSource{data, rand.NewPCG(1, uint64(len(data)))}), most: int(most % 9)}
}

func FuzzProduceResponse(f *testing.F) {
	for v := range byte(11) {
		f.Add(v, byte(3), bytes.Repeat([]byte{v, 0xa5, 7}, 100))
	}
	f.Fuzz(func(t *testing.T, version, most byte, data []byte) {
		v := 3 + int16(version)%11
		want := kmsg.NewPtrProduceResponse()
		want.Version = v
		fuzzFiller(data, most).message(want, false)
		tidyProduce(want)
		results, nodes := produceResults(want)
		got := AppendProduceResponse(nil, v, 77, want.ThrottleMillis, results, nodes)
		frame := AppendResponse(nil, &Header{Key: int16(Produce), Version: v, CorrelationID: 77}, want)
		if !bytes.Equal(got, frame) {
			t.Fatalf("v%d:\n%x, want\n%x", v, got, frame)
		}
	})
}

func FuzzFetchResponse(f *testing.F) {
	for v := range byte(15) {
		f.Add(v, byte(3), bytes.Repeat([]byte{v, 0xa5, 7}, 100))
	}
	f.Fuzz(func(t *testing.T, version, most byte, data []byte) {
		v := 4 + int16(version)%15
		want := kmsg.NewPtrFetchResponse()
		want.Version = v
		fuzzFiller(data, most).message(want, false)
		tidyFetchResponse(want)
		parts, records, nodes := fetchedPartitions(want)
		var e FetchEncoder
		e.Encode(v, 77, want.ThrottleMillis, want.ErrorCode, want.SessionID, parts, nodes)
		frame := AppendResponse(nil, &Header{Key: int16(Fetch), Version: v, CorrelationID: 77}, want)
		if got := whole(&e, records); !bytes.Equal(got, frame) {
			t.Fatalf("v%d:\n%x, want\n%x", v, got, frame)
		}
	})
}
