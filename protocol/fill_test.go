package protocol

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// filler fills kmsg's structs by reflection.
type filler struct {
	rng *rand.Rand
	// most is how many elements an array may get; full makes it exactly that, with
	// nothing null and no unknown tags.
	most int
	full bool
}

func newFiller(t testing.TB, seed uint64) *filler {
	t.Helper()
	return &filler{rng: rand.New(rand.NewPCG(seed, 18)), most: 3}
}

func (f *filler) null() bool { return !f.full && f.rng.IntN(4) == 0 }

func (f *filler) message(v any, flexible bool) {
	s := reflect.ValueOf(v).Elem()
	version := s.FieldByName("Version").Int()
	f.structure(s, flexible)
	s.FieldByName("Version").SetInt(version)
}

func (f *filler) structure(s reflect.Value, flexible bool) {
	for i := range s.NumField() {
		if tags, ok := s.Field(i).Addr().Interface().(*kmsg.Tags); ok {
			if flexible && !f.full && f.rng.IntN(3) == 0 {
				for range f.rng.IntN(12) {
					tags.Set(64+f.rng.Uint32N(1<<20), f.bytes(40))
				}
			}
			continue
		}
		f.value(s.Field(i), flexible)
	}
}

func (f *filler) value(v reflect.Value, flexible bool) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(f.rng.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(f.rng.Int64() >> f.rng.IntN(64) * int64(1-2*f.rng.IntN(2)) & (1<<(v.Type().Bits()-1) - 1))
	case reflect.Uint16:
		v.SetUint(uint64(f.rng.Uint32N(1 << 16)))
	case reflect.Float64:
		v.SetFloat(f.rng.NormFloat64())
	case reflect.String:
		v.SetString(f.text())
	case reflect.Pointer:
		if f.null() {
			v.SetZero()
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		f.value(v.Elem(), flexible)
	case reflect.Struct:
		f.structure(v, flexible)
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(f.rng.IntN(256)))
		}
	case reflect.Slice:
		f.slice(v, flexible)
	default:
		panic("fill: " + v.Type().String())
	}
}

func (f *filler) slice(v reflect.Value, flexible bool) {
	if f.null() {
		v.SetZero()
		return
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		v.SetBytes(f.bytes(200))
		return
	}
	n := f.most
	if !f.full {
		n = f.rng.IntN(n + 1)
	}
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := range n {
		f.value(v.Index(i), flexible)
	}
}

func (f *filler) bytes(most int) []byte {
	b := make([]byte, 1+f.rng.IntN(most))
	for i := range b {
		b[i] = byte(f.rng.Uint32())
	}
	return b
}

func (f *filler) text() string {
	if f.rng.IntN(8) == 0 && !f.full {
		return ""
	}
	letters := []rune("abcdefghijklmnopqrstuvwxyz0123456789._-ßÅ⊕𝄞")
	s := make([]rune, 1+f.rng.IntN(30))
	for i := range s {
		s[i] = letters[f.rng.IntN(len(letters))]
	}
	return string(s)
}

// request makes a request of a key and version, at its defaults.
func request(t testing.TB, a *API, version int16) kmsg.Request {
	t.Helper()
	r := kmsg.RequestForKey(int16(a.Key))
	if r == nil {
		t.Fatalf("kmsg does not know key %d", a.Key)
	}
	r.SetVersion(version)
	return r
}

// eachVersion runs f for every version of every Kafka key we serve.
func eachVersion(t *testing.T, f func(t *testing.T, a *API, version int16)) {
	t.Helper()
	for _, a := range APIs() {
		for v := a.Min; v <= a.Max && a.Key < firstOwn; v++ {
			f(t, &a, v)
		}
	}
}

func reasonOf(t testing.TB, err error) Reason {
	t.Helper()
	c, ok := err.(*CloseError)
	if !ok {
		t.Fatalf("error %v is not a *CloseError", err)
	}
	return c.Reason
}
