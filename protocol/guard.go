package protocol

// The budget of decoding: what kmsg would allocate for a body may be at most
// budgetFactor times its length plus budgetBase (bad inputs 33 and 37).
const (
	budgetFactor = 4
	budgetBase   = 1 << 20

	maxElements = 1_000_000 // of one array

	// kmsg keeps unknown tags in one map per struct: tagMap with one entry; with
	// the ninth it grows by tagGrown, then by tagNext an entry on average, what it
	// leaves behind while growing included.
	tagMap   = 48 + 288
	tagGrown = 704
	tagNext  = 128
)

// Guard walks a body along its key's schema and refuses, with a *CloseError,
// what kmsg must not see: lengths and counts that do not fit, nulls and bytes
// where there can be none, what would take too much memory. It allocates nothing
// on success (P2, P3; bad inputs 31-42).
//
// Call it after the version gate. A key without a schema passes unseen up to
// FrameSmall; today these are our own keys only.
func Guard(key, version int16, body []byte) error {
	m := schemas[Key(key)]
	if m == nil {
		if len(body) > Lookup(key).MaxFrame {
			return refuse(ReasonSize, key, version)
		}
		return nil
	}
	w := walk{cursor: cursor{b: body}, key: Key(key), version: version, flexible: Lookup(key).IsFlexible(version)}
	w.message(m, budgetFactor*int64(len(body))+budgetBase)
	if w.bad {
		return w.close(key, version)
	}
	return nil
}

// walk is one pass over a body.
type walk struct {
	cursor
	key      Key
	version  int16
	flexible bool
	budget   int64 // memory kmsg may still take
}

func (w *walk) message(m *message, budget int64) {
	w.budget = budget
	w.charge(m.memory)
	w.fields(m.fields)
	if !w.bad && w.left() > 0 && !w.knownTail() {
		w.fail(ReasonTrailing)
	}
}

// knownTail reports whether the bytes behind the body are those of librdkafka up to 2.0, which is widely installed:
// it ends a flexible ListGroups with a second empty tag section, and writes the null topics of a flexible OffsetFetch
// as four zero bytes instead of one. Kafka ignores whatever follows a body; here nothing else may.
func (w *walk) knownTail() bool {
	rest := w.b[w.at:]
	switch {
	case !w.flexible:
		return false
	case w.key == ListGroups:
		return string(rest) == "\x00"
	case w.key == OffsetFetch && w.version < 8:
		return len(rest) == 3 && rest[0] == 0 && rest[1] <= 1 && rest[2] == 0
	}
	return false
}

// charge takes memory off the budget before anybody asks for it (P2).
func (w *walk) charge(memory int64) {
	if w.budget -= memory; w.budget < 0 {
		w.fail(ReasonBudget)
	}
}

// fields walks one struct with its tag section.
func (w *walk) fields(fields []field) {
	for i := range fields {
		f := &fields[i]
		if f.tag < 0 && w.version >= f.min && w.version <= f.max {
			w.value(f)
		}
		if w.bad {
			return
		}
	}
	if w.flexible {
		w.section(fields)
	}
}

func (w *walk) value(f *field) {
	nullable := w.version >= f.nullable
	switch f.kind {
	case kindPlain:
		w.take(f.wire)
	case kindString:
		if s := w.text(w.flexible, nullable); s != nil {
			w.charge(f.memory + heap(len(s)))
		}
	case kindBytes:
		w.bytes(w.flexible, nullable) // kmsg aliases them
	case kindStruct:
		w.structure(f, nullable)
	case kindArray:
		w.elements(f, nullable)
	}
}

// heap is what a copied string costs.
func heap(n int) int64 { return (int64(n) + 15) &^ 15 }

// structure walks a struct. One that may be null begins with a byte: 0 and above
// is present, -1 is null. Kafka takes -2 for null as well, kmsg for present: what
// the two read differently is refused.
func (w *walk) structure(f *field, nullable bool) {
	if f.nullable != never {
		switch mark := w.int8(); {
		case w.bad:
			return
		case mark < -1:
			w.fail(ReasonLength)
			return
		case mark < 0:
			if !nullable {
				w.fail(ReasonNull)
			}
			return
		}
		w.charge(f.memory)
	}
	w.fields(f.elem)
}

func (w *walk) elements(f *field, nullable bool) {
	n := w.array(w.flexible, nullable, 1)
	if n > maxElements {
		w.fail(ReasonBudget)
		return
	}
	w.charge(int64(max(n, 0)) * f.memory)
	switch {
	case w.bad || n <= 0:
	case f.elem != nil:
		for ; n > 0 && !w.bad; n-- {
			w.fields(f.elem)
		}
	case f.wire > 0:
		w.take(n * f.wire)
	default:
		for ; n > 0 && !w.bad; n-- {
			w.charge(heap(len(w.text(w.flexible, false))))
		}
	}
}

// section walks the tags behind a struct's fields. A known one must fill its
// size exactly; unknown ones are passed over, but kmsg keeps them.
func (w *walk) section(fields []field) {
	before, unknown := int64(-1), int64(0)
	for n := w.tags(); n > 0 && !w.bad; n-- {
		tag, size := w.tag(before)
		before = tag
		if f := tagged(fields, tag); f != nil && !w.bad {
			w.inside(f, size)
			continue
		}
		w.at += size
		unknown++
	}
	switch {
	case unknown > 8:
		w.charge(tagMap + tagGrown + (unknown-8)*tagNext)
	case unknown > 0:
		w.charge(tagMap)
	}
}

func tagged(fields []field, tag int64) *field {
	for i := range fields {
		if int64(fields[i].tag) == tag {
			return &fields[i]
		}
	}
	return nil
}

// inside walks a known tag, which ends size bytes from here.
func (w *walk) inside(f *field, size int) {
	whole := w.b
	w.b = whole[:w.at+size]
	w.value(f)
	if !w.bad && w.left() > 0 {
		w.fail(ReasonTrailing)
	}
	w.b = whole
}
