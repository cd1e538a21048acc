package protocol

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Every key kmsg decodes for us has a schema, and no schema is for nothing.
func TestSchemasAndTableHaveTheSameKeys(t *testing.T) {
	for _, a := range APIs() {
		if has := schemas[a.Key] != nil; has != (a.Key < firstOwn) {
			t.Errorf("%s: has a schema: %v", a.Name, has)
		}
	}
	for key := range schemas {
		if Lookup(int16(key)) == nil {
			t.Errorf("schema for key %d, which is not served", key)
		}
	}
}

// The budget counts with the size of kmsg's structs, so the schema must know
// every field, in kmsg's order, and come to the same size.
func TestSchemaSizesAreKmsgs(t *testing.T) {
	for key, m := range schemas {
		s := reflect.TypeOf(kmsg.RequestForKey(int16(key))).Elem()
		name := Lookup(int16(key)).Name
		if int64(s.Size()) != m.memory {
			t.Errorf("%s: kmsg's struct has %d bytes, the schema says %d", name, s.Size(), m.memory)
		}
		compareFields(t, name, m.fields, s)
	}
}

func compareFields(t *testing.T, path string, fields []field, s reflect.Type) {
	t.Helper()
	var names []string
	for i := range s.NumField() {
		if n := s.Field(i).Name; n != "Version" && n != "UnknownTags" {
			names = append(names, n)
		}
	}
	if len(names) != len(fields) {
		t.Errorf("%s: kmsg has %v, the schema %d fields", path, names, len(fields))
		return
	}
	for i, f := range fields {
		if names[i] != f.name {
			t.Errorf("%s: field %d is %s, the schema says %s", path, i, names[i], f.name)
			return
		}
		sf, _ := s.FieldByName(f.name)
		compareField(t, path+"."+f.name, f, sf.Type)
	}
}

func compareField(t *testing.T, path string, f field, typ reflect.Type) {
	t.Helper()
	if (f.nullable != never && f.kind != kindArray && f.kind != kindBytes) != (typ.Kind() == reflect.Pointer) {
		t.Errorf("%s: nullable from %d, kmsg has %v", path, f.nullable, typ)
		return
	}
	switch {
	case typ.Kind() == reflect.Pointer, f.kind == kindArray:
		typ = typ.Elem()
		if int64(typ.Size()) != f.memory {
			t.Errorf("%s: kmsg's %v has %d bytes, the schema says %d", path, typ, typ.Size(), f.memory)
		}
	case f.kind == kindPlain && f.wire != int(typ.Size()):
		t.Errorf("%s: %d bytes on the wire, kmsg has %v", path, f.wire, typ)
	}
	if f.elem != nil {
		compareFields(t, path, f.elem, typ)
	}
}

// A field is nullable in a version exactly if kmsg writes null and empty
// differently there.
func TestSchemaNullabilityIsKmsgs(t *testing.T) {
	eachVersion(t, func(t *testing.T, a *API, version int16) {
		r := request(t, a, version)
		f := newFiller(t, 1)
		f.most, f.full = 1, true
		f.message(r, r.IsFlexible())
		eachNullable(schemas[a.Key].fields, version, reflect.ValueOf(r).Elem(), func(f *field, v reflect.Value) {
			old := reflect.ValueOf(v.Interface())
			v.SetZero()
			null := r.AppendTo(nil)
			if v.Kind() == reflect.Pointer {
				v.Set(reflect.New(v.Type().Elem()))
			} else {
				v.Set(reflect.MakeSlice(v.Type(), 0, 0))
			}
			empty := r.AppendTo(nil)
			v.Set(old)
			if want := !bytes.Equal(null, empty); want != (version >= f.nullable) {
				t.Errorf("%s v%d %s: nullable is %v, the schema says from %d", a.Name, version, f.name, want, f.nullable)
			}
			if err := Guard(int16(a.Key), version, null); err != nil { // kmsg writes "" where null cannot be
				t.Errorf("%s v%d %s: null gives %v", a.Name, version, f.name, err)
			}
		})
	})
}

// eachNullable calls visit for every field of a version whose Go value can be nil.
func eachNullable(fields []field, version int16, s reflect.Value, visit func(*field, reflect.Value)) {
	for i := range fields {
		f, v := &fields[i], s.FieldByName(fields[i].name)
		if version < f.min || version > f.max || f.tag >= 0 {
			continue
		}
		if v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice {
			visit(f, v)
		}
		switch {
		case f.elem == nil:
		case v.Kind() == reflect.Slice:
			eachNullable(f.elem, version, v.Index(0), visit)
		default:
			eachNullable(f.elem, version, reflect.Indirect(v), visit)
		}
	}
}

func TestSchemaMistakesPanicAtStart(t *testing.T) {
	for _, text := range []string{"A:int33", "A:[int3]", "A:int8/x+", "A:int8 ]", "A:[ B:int8"} {
		t.Run(text, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Fatal("accepted")
				}
			}()
			compile(Heartbeat, text)
		})
	}
}

func TestSchemaSuffixes(t *testing.T) {
	m := compile(Metadata, "A:int8/3+ B:string/2-4?3+#7 C:[ D:int64 ]/1+? E:[uuid]?2+ F:{ G:bool }?")
	want := []struct {
		name               string
		min, max, nullable int16
		tag                int32
	}{{"A", 3, never - 1, never, -1}, {"B", 2, 4, 3, 7}, {"C", 1, never - 1, 0, -1}, {"E", 0, never - 1, 2, -1}, {"F", 0, never - 1, 0, -1}}
	for i, w := range want {
		f := m.fields[i]
		if f.name != w.name || f.min != w.min || f.max != w.max || f.nullable != w.nullable || f.tag != w.tag {
			t.Errorf("%s: got %+v", w.name, f)
		}
	}
	if !slices.ContainsFunc(m.fields[2].elem, func(f field) bool { return f.name == "D" && f.wire == 8 }) {
		t.Errorf("C's elements: %+v", m.fields[2].elem)
	}
	if strings.Contains(m.fields[4].elem[0].name, "}") {
		t.Error("bracket read as a name")
	}
}
