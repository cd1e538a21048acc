package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// memoryFeed is a body in memory. With flush, what is passed leaves at once, as it does on a socket.
type memoryFeed struct {
	b     []byte
	flush bool
	sent  []byte
}

func (f *memoryFeed) Left() int { return len(f.b) }

func (f *memoryFeed) Next(n int) ([]byte, error) {
	out := bytes.Clone(f.b[:n])
	f.b = f.b[n:]
	return out, nil
}

func (f *memoryFeed) Pass(dst []byte, n int) ([]byte, error) {
	dst = append(dst, f.b[:n]...)
	f.b = f.b[n:]
	if f.flush {
		f.sent = append(f.sent, dst...)
		dst = dst[:0]
	}
	return dst, nil
}

// renameAll renames a body and returns that of the new frame.
func renameAll(t testing.TB, key, version int16, body []byte, name Naming, room int) ([]byte, error) {
	t.Helper()
	f := &memoryFeed{b: bytes.Clone(body), flush: room > 0}
	before := []byte("before")
	dst, err := Rename(append(bytes.Clone(before), 0, 0, 0, 0), len(before), key, version, f, name, room)
	if err != nil {
		return nil, err
	}
	frame := append(f.sent, dst...)
	if !bytes.HasPrefix(frame, before) {
		t.Fatal("what stood before the frame is gone")
	}
	frame = frame[len(before):]
	if n := int(uint32(frame[0])<<24 | uint32(frame[1])<<16 | uint32(frame[2])<<8 | uint32(frame[3])); n != len(frame)-4 {
		t.Fatalf("key %d v%d room %d: the frame says %d bytes and has %d", key, version, room, n, len(frame)-4)
	}
	return frame[4:], nil
}

func gatewayName(node int32, host []byte, port int32) (string, int32) {
	return fmt.Sprintf("b%d.%d.gateway.example", node, len(host)), 10000 + node%1000
}

// renameStruct does by reflection, over kmsg's structs, what Rename does over bytes.
func renameStruct(v reflect.Value, flexible bool) {
	switch v.Kind() {
	case reflect.Struct:
		node, host, port := v.FieldByName("NodeID"), v.FieldByName("Host"), v.FieldByName("Port")
		if node.IsValid() && host.IsValid() && port.IsValid() && node.Int() >= 0 && host.Len() > 0 {
			h, p := gatewayName(int32(node.Int()), []byte(host.String()), int32(port.Int()))
			host.SetString(h)
			port.SetInt(int64(p))
		}
		if l := v.FieldByName("Listeners"); l.IsValid() {
			l.Set(reflect.MakeSlice(l.Type(), 0, 0))
		}
		if e := v.FieldByName("EndpointType"); e.IsValid() && e.Int() == controllerEndpoints && v.FieldByName("Version").Int() > 0 {
			b := v.FieldByName("Brokers")
			b.Set(reflect.MakeSlice(b.Type(), 0, 0))
		}
		for i := range v.NumField() {
			renameStruct(v.Field(i), flexible)
		}
	case reflect.Slice:
		for i := range v.Len() {
			renameStruct(v.Index(i), flexible)
		}
	}
}

func response(key, version int16) kmsg.Response {
	r := kmsg.ResponseForKey(key)
	r.SetVersion(version)
	return r
}

// eachRenamed runs f for every key and version whose answers are renamed.
func eachRenamed(f func(a *API, version int16)) {
	for key := range int16(lastRelayed + 1) {
		a := LookupRelayed(key)
		for v := int16(0); a != nil && v <= a.Max; v++ {
			if Renames(key, v) && v >= a.Min {
				f(a, v)
			}
		}
	}
}

func TestEveryBrokerInEveryAnswerGetsTheNameItHasHere(t *testing.T) {
	names := 0
	eachRenamed(func(a *API, version int16) {
		for seed := range uint64(60) {
			r := response(int16(a.Key), version)
			f := newFiller(t, seed)
			f.full = seed%3 == 0
			f.message(r, r.IsFlexible())
			if c, ok := r.(*kmsg.DescribeClusterResponse); ok {
				c.EndpointType = int8(1 + seed%2)
			}
			body := r.AppendTo(nil)
			got, err := renameAll(t, int16(a.Key), version, body, func(node int32, host []byte, port int32) (string, int32) {
				names++
				return gatewayName(node, host, port)
			}, 0)
			if err != nil {
				t.Fatalf("%s v%d: %v", a.Name, version, err)
			}
			renameStruct(reflect.ValueOf(r).Elem(), r.IsFlexible())
			if want := r.AppendTo(nil); !bytes.Equal(got, want) {
				t.Fatalf("%s v%d seed %d\ngot  %x\nwant %x", a.Name, version, seed, got, want)
			}
		}
	})
	if names < 1000 {
		t.Errorf("only %d brokers were named", names)
	}
}

// A large answer is announced before its end is seen: it must have the announced length and mean the same.
func TestAFrameWithRoomHasTheAnnouncedLengthAndMeansTheSame(t *testing.T) {
	for _, key := range []int16{int16(Fetch), int16(shareFetch)} {
		eachRenamed(func(a *API, version int16) {
			if int16(a.Key) != key {
				return
			}
			for seed := range uint64(400) {
				r := response(key, version)
				f := newFiller(t, seed)
				f.full = seed%3 == 0
				f.message(r, true)
				got, err := renameAll(t, key, version, r.AppendTo(nil), gatewayName, RoomFor(9, 9*40)+int(seed))
				if err != nil {
					t.Fatalf("%s v%d seed %d: %v", a.Name, version, seed, err)
				}
				decoded := response(key, version)
				if err := decoded.ReadFrom(got); err != nil {
					t.Fatalf("%s v%d seed %d: %v", a.Name, version, seed, err)
				}
				renameStruct(reflect.ValueOf(r).Elem(), true)
				if want := r.AppendTo(nil); !bytes.Equal(withoutFill(decoded), want) {
					t.Fatalf("%s v%d seed %d: another answer", a.Name, version, seed)
				}
			}
		})
	}
}

// withoutFill encodes an answer without the tags that fill its frame.
func withoutFill(r kmsg.Response) []byte {
	tags := reflect.ValueOf(r).Elem().FieldByName("UnknownTags").Addr().Interface().(*kmsg.Tags)
	kept := kmsg.Tags{}
	tags.Each(func(number uint32, value []byte) {
		if number < fillTag {
			kept.Set(number, value)
		}
	})
	*tags = kept
	return r.AppendTo(nil)
}

func TestNamesForWhichThereIsNoRoomAreLeftOut(t *testing.T) {
	r := kmsg.NewPtrFetchResponse()
	r.Version = 16
	b := kmsg.NewFetchResponseBroker()
	b.NodeID, b.Host, b.Port = 3, "c", 9092
	r.Brokers = []kmsg.FetchResponseBroker{b}
	got, err := renameAll(t, 1, 16, r.AppendTo(nil), func(int32, []byte, int32) (string, int32) { return string(make([]byte, 200)), 1 }, 60)
	if err != nil {
		t.Fatal(err)
	}
	decoded := response(1, 16).(*kmsg.FetchResponse)
	if err := decoded.ReadFrom(got); err != nil || len(decoded.Brokers) > 0 {
		t.Errorf("%v, %v", decoded.Brokers, err)
	}
}

func TestFillHasEveryLength(t *testing.T) {
	for n := leastFill; n < 18000; n++ {
		if n == 1000 {
			n = 16000 // from here on sizes of three bytes are near
		}
		b, tags := fill(nil, fillTag, n)
		if len(b) != n || tags < 1 || tags > 2 {
			t.Fatalf("%d bytes: %d in %d tags", n, len(b), tags)
		}
	}
}

// Names of brokers in an answer that nobody renames would send clients past the relay, so each answer with a host and a
// port must be renamed, or stand here with the reason.
func TestNoAnswerThatNamesABrokerIsForgotten(t *testing.T) {
	others := map[Key]string{
		88: "the endpoints of a streams application",
		89: "the endpoints of a streams application",
	}
	for key := range int16(lastRelayed + 1) {
		a := LookupRelayed(key)
		if a == nil {
			continue
		}
		if has := namesHost(reflect.TypeOf(kmsg.ResponseForKey(key)).Elem()); has != (renamed[key] != nil || others[a.Key] != "") {
			t.Errorf("%s: names a host and a port: %v", a.Name, has)
		}
	}
}

func namesHost(s reflect.Type) bool {
	for s.Kind() == reflect.Slice || s.Kind() == reflect.Pointer {
		s = s.Elem()
	}
	if s.Kind() != reflect.Struct {
		return false
	}
	_, host := s.FieldByName("Host")
	_, port := s.FieldByName("Port")
	for i := range s.NumField() {
		if s.Field(i).Name != "UnknownTags" && namesHost(s.Field(i).Type) {
			return true
		}
	}
	return host && port
}

// An answer of an older version names nobody: kmsg says so too.
func TestAnswersBelowTheFirstVersionNameNobody(t *testing.T) {
	for key := range int16(lastRelayed + 1) {
		a := LookupRelayed(key)
		if a == nil || renamed[key] == nil {
			continue
		}
		for version := a.Min; version < renamed[key].from; version++ {
			r := response(key, version)
			f := newFiller(t, 1)
			f.full = true
			f.message(r, r.IsFlexible())
			before := r.AppendTo(nil)
			renameStruct(reflect.ValueOf(r).Elem(), r.IsFlexible())
			// the tag of KIP-951 may be written in any flexible version; brokers do not before this one
			if after := r.AppendTo(nil); !bytes.Equal(before, after) && a.Key != Produce && a.Key != Fetch {
				t.Errorf("%s v%d names brokers", a.Name, version)
			}
		}
	}
}

func TestBadAnswersAreRefused(t *testing.T) {
	eachRenamed(func(a *API, version int16) {
		r := response(int16(a.Key), version)
		f := newFiller(t, 7)
		f.full = true
		f.message(r, r.IsFlexible())
		body := r.AppendTo(nil)
		for cut := range body {
			if a.Key == Metadata {
				continue // only its beginning is read
			}
			if _, err := renameAll(t, int16(a.Key), version, body[:cut], gatewayName, 0); err == nil {
				t.Fatalf("%s v%d: %d of %d bytes are taken for an answer", a.Name, version, cut, len(body))
			}
		}
		if _, err := renameAll(t, int16(a.Key), version, append(body, 0), gatewayName, 0); err == nil && a.Key != Metadata {
			t.Errorf("%s v%d: a byte too many", a.Name, version)
		}
	})
}

func TestARelayPassesWhatWeServeAndWhatKmsgKnows(t *testing.T) {
	for _, a := range APIs() {
		r := LookupRelayed(int16(a.Key))
		if a.Listeners&Client == 0 {
			if r != nil {
				t.Errorf("%s is for brokers", a.Name)
			}
			continue
		}
		if r == nil || r.Min > a.AdvertisedMin && a.Key != Fetch || r.Max < a.Max || r.Flexible != a.Flexible || r.MaxFrame != a.MaxFrame || r.Name != a.Name {
			t.Errorf("%s: we serve %+v, the relay has %+v", a.Name, a, r)
		}
	}
	for key := range int16(lastRelayed + 1) {
		a := LookupRelayed(key)
		if a == nil {
			continue
		}
		if a.Key != Key(key) || a.Max > kmsg.RequestForKey(key).MaxVersion() {
			t.Errorf("%s: %+v", a.Name, a)
		}
		for v := a.Min; v <= a.Max; v++ {
			if r := response(key, v); r.IsFlexible() != a.IsFlexible(v) {
				t.Errorf("%s v%d: flexible is %v", a.Name, v, r.IsFlexible())
			}
		}
	}
	for _, key := range []int16{-1, lastRelayed + 1, 4, 52, 56, 58, 62, 20000} {
		if LookupRelayed(key) != nil {
			t.Errorf("key %d is passed", key)
		}
	}
}

func TestOnlyPassableVersionsAreOffered(t *testing.T) {
	for version := range int16(6) {
		r := kmsg.NewPtrApiVersionsResponse()
		r.Version = version
		for _, k := range [][3]int16{{0, 0, 20}, {3, 2, 9}, {18, 0, 4}, {62, 0, 4}, {78, 0, 0}, {20001, 0, 0}} {
			r.ApiKeys = append(r.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: k[0], MinVersion: k[1], MaxVersion: k[2]})
		}
		body, err := AppendPassableVersions([]byte("x"), version, r.AppendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		got := kmsg.NewPtrApiVersionsResponse()
		got.Version = version
		if err := got.ReadFrom(body[1:]); err != nil {
			t.Fatal(err)
		}
		offered := ""
		for _, k := range got.ApiKeys {
			offered += fmt.Sprint(k.ApiKey, ":", k.MinVersion, "-", k.MaxVersion, " ")
		}
		if offered != "0:0-13 3:2-9 18:0-4 " {
			t.Errorf("v%d: offered %s", version, offered)
		}
	}
}

func TestAnUnsupportedApiVersionsIsReadInVersion0(t *testing.T) {
	r := kmsg.NewPtrApiVersionsResponse()
	r.ErrorCode = kerr.UnsupportedVersion.Code
	r.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: 18, MaxVersion: 4}}
	body := r.AppendTo(nil)
	if got, err := AppendPassableVersions(nil, 5, body); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%x, %v", got, err)
	}
	if _, err := AppendPassableVersions(nil, 5, []byte{0}); err == nil {
		t.Error("one byte is an answer")
	}
}

func TestAcksOfEveryProduceVersion(t *testing.T) {
	for v := int16(0); v <= 13; v++ {
		for _, id := range []*string{nil, kmsg.StringPtr(""), kmsg.StringPtr("transaction")} {
			r := kmsg.NewPtrProduceRequest()
			r.Version, r.TransactionID, r.Acks = v, id, -1
			if acks, err := Acks(v, r.AppendTo(nil)); err != nil || acks != -1 {
				t.Errorf("v%d: %d, %v", v, acks, err)
			}
		}
	}
	var refused *CloseError
	if _, err := Acks(9, []byte{0, 1}); !errors.As(err, &refused) {
		t.Errorf("half a number gives %v", err)
	}
}

// FuzzRename: whatever a broker sends, the relay neither fails nor takes much more memory than was sent, and what it makes of it
// is of the announced length.
func FuzzRename(f *testing.F) {
	eachRenamed(func(a *API, version int16) {
		r := response(int16(a.Key), version)
		fill := newFiller(f, uint64(a.Key))
		fill.message(r, r.IsFlexible())
		f.Add(int16(a.Key), version, uint16(0), r.AppendTo(nil))
		f.Add(int16(a.Key), version, uint16(900), r.AppendTo(nil))
	})
	f.Fuzz(func(t *testing.T, key, version int16, room uint16, body []byte) {
		a := LookupRelayed(key)
		if a == nil || version < a.Min || version > a.Max || !Renames(key, version) {
			t.Skip()
		}
		if a.Key != Fetch && a.Key != shareFetch {
			room = 0
		}
		out, err := renameAll(t, key, version, body, gatewayName, int(room))
		if err == nil && len(out) > 20*len(body)+int(room)+64 {
			t.Errorf("%d bytes became %d", len(body), len(out))
		}
		if _, err := AppendPassableVersions(nil, min(max(version, 0), 5), body); err == nil && len(body) < 6 {
			t.Error("no ApiVersions answer is so short")
		}
	})
}
