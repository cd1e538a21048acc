package protocol

import (
	"math"
	"strconv"
	"strings"
)

// The schema language. A message is a list of fields, in wire order:
//
//	Name:type[/versions][?versions][#tag]
//
//	type       bool int8 int16 uint16 int32 int64 float64 uuid string bytes
//	           [int32], [string], ...   array of a plain type
//	           [ fields ]               array of structs; suffixes follow the closing bracket
//	           { fields }               one struct
//	           rest                     of a response: nobody looks at what follows
//	/2+ /0-7   the versions that have the field; all without it
//	? ?2+      the versions in which it may be null; a lone ? means all
//	#1         a tagged field; it stands in the tag section, not in the body
//
// Names are kmsg's. Every struct of a flexible version ends with a tag section,
// which the language does not mention.

type kind uint8

const (
	kindPlain  kind = iota // fixed size on the wire
	kindString             // also an array's element
	kindBytes
	kindArray
	kindStruct
	kindRest // of a response: whatever follows
)

// field is one field, and with elem one struct.
type field struct {
	name     string
	kind     kind
	min, max int16
	nullable int16   // first version in which null is allowed, never if above max
	tag      int32   // -1 untagged
	wire     int     // kindPlain and arrays of such: bytes of one on the wire, 0 for a string
	memory   int64   // array, nullable struct: Go memory of one element
	elem     []field // kindStruct, arrays of structs
	role     role    // of a response's field
}

// message is the schema of one key's request.
type message struct {
	key      Key
	flexible bool // some version is, so kmsg's structs carry a Tags field
	fields   []field
	memory   int64
}

const never = math.MaxInt16

// plain types: bytes on the wire, size and alignment of kmsg's Go type.
var plain = map[string]struct{ wire, size, align int64 }{
	"bool": {1, 1, 1}, "int8": {1, 1, 1}, "int16": {2, 2, 2}, "uint16": {2, 2, 2}, "int32": {4, 4, 4}, "int64": {8, 8, 8}, "float64": {8, 8, 8}, "uuid": {16, 16, 1},
	"string": {0, 16, 8},
}

// compile reads a schema. It runs at start on our own constants, so a mistake in
// one is a panic that every test meets.
func compile(key Key, text string) *message {
	m := &message{key: key, flexible: Lookup(int16(key)).Flexible >= 0}
	m.fields, m.memory = parse(Lookup(int16(key)).Name, m.flexible, text)
	return m
}

// parse reads the fields of a whole message and says how large kmsg's struct is.
func parse(name string, flexible bool, text string) ([]field, int64) {
	p := parser{tokens: strings.Fields(text), flexible: flexible}
	fields, size := p.fields(2) // kmsg's messages begin with Version int16
	if len(p.tokens) > 0 {
		panic("protocol: schema of " + name + " goes on at " + p.tokens[0])
	}
	return fields, size
}

type parser struct {
	tokens   []string
	flexible bool
}

// fields reads up to the closing bracket of a struct, which it leaves, or to the
// end. It returns the size of kmsg's struct, of which the first bytes are taken.
func (p *parser) fields(taken int64) (fields []field, size int64) {
	size, widest := taken, max(taken, 1)
	for len(p.tokens) > 0 && p.tokens[0][0] != ']' && p.tokens[0][0] != '}' {
		f, memory, align := p.field()
		fields = append(fields, f)
		size, widest = (size+align-1)/align*align+memory, max(widest, align)
	}
	if p.flexible { // kmsg.Tags: one map
		size, widest = (size+7)/8*8+8, 8
	}
	return fields, (size + widest - 1) / widest * widest
}

func (p *parser) next() string {
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

// field reads one field and says what it takes in its struct.
func (p *parser) field() (f field, size, align int64) {
	name, typ, _ := strings.Cut(p.next(), ":")
	f = field{name: name, tag: -1, max: never - 1, nullable: never}
	suffix := ""
	if typ == "[" || typ == "{" {
		f.elem, f.memory = p.fields(0)
		suffix = p.next()[1:]
	} else if i := strings.IndexAny(typ, "/?#"); i >= 0 {
		typ, suffix = typ[:i], typ[i:]
	}
	f.suffix(suffix)
	switch {
	case typ == "[":
		f.kind, size, align = kindArray, 24, 8
	case typ == "{" && f.nullable == never:
		f.kind, size, align, f.memory = kindStruct, f.memory, 8, 0
	case typ == "{":
		f.kind, size, align = kindStruct, 8, 8
	case typ == "rest":
		f.kind, align = kindRest, 1
	case typ == "bytes":
		f.kind, size, align = kindBytes, 24, 8
	case typ == "string":
		f.kind, size, align = kindString, 16, 8
		if f.nullable != never {
			size, f.memory = 8, 16
		}
	case typ[0] == '[':
		t := plainType(typ[1 : len(typ)-1])
		f.kind, f.wire, f.memory, size, align = kindArray, int(t.wire), t.size, 24, 8
	default:
		t := plainType(typ)
		f.wire, size, align = int(t.wire), t.size, t.align
	}
	return f, size, align
}

func plainType(name string) struct{ wire, size, align int64 } {
	t, ok := plain[name]
	if !ok {
		panic("protocol: schema type " + name)
	}
	return t
}

// suffix reads /versions?versions#tag.
func (f *field) suffix(s string) {
	for s != "" {
		mark, rest := s[0], s[1:]
		end := strings.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		arg := rest[:end]
		s = rest[end:]
		switch mark {
		case '/':
			first, last, bounded := strings.Cut(strings.TrimSuffix(arg, "+"), "-")
			f.min = number(first)
			if bounded {
				f.max = number(last)
			}
		case '?':
			f.nullable = 0
			if arg != "" {
				f.nullable = number(strings.TrimSuffix(arg, "+"))
			}
		case '#':
			f.tag = int32(number(arg))
		}
	}
}

func number(s string) int16 {
	n, err := strconv.ParseInt(s, 10, 16)
	if err != nil {
		panic("protocol: schema number " + s)
	}
	return int16(n)
}
