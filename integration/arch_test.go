package integration

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// house is the architecture as data. A package may import only packages listed above it, so the table itself is proof
// that the graph has no cycle. Think before adding an edge.
var house = architecture{
	module: "cordwood/",
	exempt: []string{"integration"},
	floors: []floor{
		{"segment/vfs", nil},
		{"protocol/compress", nil},

		{"protocol/record", nil},
		{"protocol", nil},
		{"coordinator/machine", nil},
		{"metadata", nil},

		{"isr", []string{"metadata"}},
		{"controller/decide", []string{"metadata"}},
		{"broker/nameserver/zone", []string{"metadata"}},
		{"coordinator/group", []string{"coordinator/machine", "metadata"}},
		{"coordinator/txn", []string{"coordinator/machine", "metadata"}},
		{"segment/producer", []string{"protocol/record"}},

		{"segment", []string{"segment/vfs", "segment/producer", "protocol/record"}},

		{"partition", []string{"segment", "segment/producer", "segment/vfs", "isr", "metadata", "protocol/record"}},
		{"controller", []string{"controller/decide", "metadata", "segment", "segment/vfs", "protocol/record"}},
		{"coordinator", []string{"coordinator/machine", "metadata", "protocol/record"}},

		{"broker/listener", []string{"protocol"}},
		{"broker/peer", []string{"protocol", "metadata"}},
		{"broker/nameserver", []string{"broker/nameserver/zone", "metadata"}},

		{"gateway", []string{"broker/listener", "protocol"}},

		{"broker", []string{
			"segment/vfs", "protocol/compress", "protocol/record", "protocol", "coordinator/machine", "metadata", "isr",
			"controller/decide", "coordinator/group", "coordinator/txn", "segment/producer", "segment", "partition", "controller",
			"coordinator", "broker/listener", "broker/peer", "broker/nameserver", "broker/nameserver/zone",
		}},

		// compress, because a stored batch can only be printed decompressed.
		{"cmd/broker", []string{"broker", "gateway", "segment", "protocol/record", "protocol/compress"}},

		// judges must not lean on what they judge
		{"integration/check", nil},
		{"integration/check/recorder", []string{"integration/check"}},
		{"integration/memnet", nil},
	},

	// pure packages hold rules: no clock, no goroutine, no lock, no I/O, no randomness of their own.
	pure: []string{
		"isr", "controller/decide", "broker/nameserver/zone", "coordinator/group", "coordinator/txn", "segment/producer", "protocol", "protocol/record",
		"coordinator/machine", "metadata", "integration/check",
	},
	impure: []string{
		"os", "net", "sync", "context", "log", "syscall", "io/ioutil", "math/rand", "crypto/rand",
		"go.uber.org/zap", "golang.org/x/sync", "golang.org/x/sys",
	},
	pureParts: []string{"net/netip", "net/url"}, // values, though below an impure path
	clock:     []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},

	// modules of others, and the rooms that may know them; nil: every room (zap and x/ are barred from pure ones above).
	others: []floor{
		{"github.com/twmb/franz-go/pkg/kerr", nil},
		{"github.com/twmb/franz-go/pkg/kmsg", wire},
		{"github.com/twmb/franz-go/pkg/kbin", wire},
		{"github.com/twmb/franz-go/pkg/kgo", []string{"cmd/broker"}},
		{"github.com/twmb/franz-go/pkg/kadm", []string{"cmd/broker"}},
		{"github.com/spf13/cobra", []string{"cmd/broker"}},
		{"github.com/hashicorp/raft", []string{"controller"}},
		{"github.com/hashicorp/go-hclog", []string{"controller"}},
		{"github.com/fxamacker/cbor/v2", []string{"metadata", "controller", "broker", "broker/peer"}},
		{"github.com/klauspost/compress", []string{"protocol/compress"}},
		{"github.com/pierrec/lz4/v4", []string{"protocol/compress"}},
		{"github.com/miekg/dns", []string{"broker/nameserver"}},
		{"github.com/prometheus/client_golang", []string{"broker", "gateway"}},
		{"go.uber.org/zap", nil},
		{"golang.org/x/sync", nil},
		{"golang.org/x/sys/unix", []string{"segment/vfs", "broker/listener", "broker/nameserver", "cmd/broker"}},
	},

	fileLines: 600, functionLines: 100,
}

// wire is who reads and writes messages of the Kafka protocol.
// cmd/broker asks for what kadm has no words for.
var wire = []string{"protocol", "broker", "broker/peer", "coordinator", "coordinator/machine", "coordinator/group", "coordinator/txn", "cmd/broker"}

func TestTheCodeFollowsTheArchitecture(t *testing.T) {
	found, err := house.check(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

// plan is a small house in which every breach below is planted.
var plan = architecture{
	module: "house/",
	exempt: []string{"attic"},
	floors: []floor{{"cellar", nil}, {"room", []string{"cellar"}}, {"roof", []string{"room"}}, {"attic/chest", nil}},
	pure:   []string{"room"}, impure: []string{"os", "net", "sync", "math/rand"}, pureParts: []string{"net/netip"},
	clock:     []string{"Now", "Sleep"},
	others:    []floor{{"example.com/tool", []string{"cellar"}}},
	fileLines: 20, functionLines: 5,
}

const long = "\n\n\n\n\n\n"

func TestTheCheckFindsPlantedBreaches(t *testing.T) {
	for _, c := range []struct{ name, path, source, want string }{
		{"nothing", "room/a.go", `import ("time"; "house/cellar"; "net/netip")
			var _ = time.Second; var _ netip.Addr; var _ = cellar.X`, ""},
		{"an import that is not in the table", "cellar/a.go", `import "house/room"`, "cellar/a.go:3: cellar must not import house/room"},
		{"an import over two floors", "roof/a.go", `import "house/cellar"`, "roof must not import house/cellar"},
		{"an import of what is exempt", "roof/a.go", `import "house/attic"`, "roof must not import house/attic"},
		{"a package without a floor", "shed/a.go", ``, "shed/a.go:1: package shed is on no floor"},
		{"an operating system in a pure room", "room/a.go", `import "os"`, "room is pure and must not import os"},
		{"a part of one", "room/a.go", `import "sync/atomic"`, "room is pure and must not import sync/atomic"},
		{"chance in a pure room", "room/a.go", `import "math/rand/v2"`, "room is pure and must not import math/rand/v2"},
		{"the same under another name", "room/a.go", `import net "net/http"`, "room is pure and must not import net/http"},
		{"a clock", "room/a.go", `import "time"
			var start = time.Now()`, "room/a.go:4: room is pure and must not use time.Now"},
		{"a clock under another name", "room/a.go", `import t "time"
			var now = t.Now`, "must not use time.Now"},
		{"a clock without a name", "room/a.go", `import . "time"`, "must not import time with a dot"},
		{"a goroutine", "room/a.go", `func f() { go f() }`, "room/a.go:3: room is pure and must not start goroutines"},
		{"a stranger", "room/a.go", `import "example.org/x"`, "room must not import example.org/x"},
		{"a tool in the wrong room", "roof/a.go", `import "example.com/tool/part"`, "roof must not import example.com/tool/part"},
		{"a tool where it belongs", "cellar/a.go", `import "example.com/tool/part"`, ""},
		{"a name that only begins like a tool's", "cellar/a.go", `import "example.com/toolbox"`, "cellar must not import example.com/toolbox"},
		{"a long function", "cellar/a.go", "func f() {" + long + "}", "cellar/a.go:3: func f has 7 lines, more than 5"},
		{"a long file", "cellar/a.go", long + long + long, "cellar/a.go:1: the file has 21 lines, more than 20"},
		{"what is exempt may import anything", "attic/a.go", `import ("os"; "house/roof"; "example.org/x")`, ""},
		{"what is exempt, but has a floor", "attic/chest/a.go", `import "house/roof"`, "attic/chest must not import house/roof"},
		{"what is exempt may not be long", "attic/a.go", "func f() {" + long + "}", "func f has 7 lines"},
		{"tests may do what they need", "room/a_test.go", `import "os"`, ""},
		{"no Go at all", "room/a.go", `func (`, "room/a.go:3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := fstest.MapFS{c.path: {Data: []byte("// Package p is commented.\npackage p\n" + c.source + "\n")}}
			found, err := plan.check(files)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" && len(found) > 0 {
				t.Errorf("found %q where nothing is wrong", found)
			}
			if c.want != "" && !slices.ContainsFunc(found, func(v string) bool { return strings.Contains(v, c.want) }) {
				t.Errorf("%q is not in %q", c.want, found)
			}
		})
	}
}

func TestTheCheckFindsMissingPackageComments(t *testing.T) {
	for comment, wrong := range map[string]bool{
		"":                          true,
		"// Something.\n\n":         true,
		"// Something.\n":           true, // it must begin as Go's tools expect it
		"// Package p is a room.\n": false,
		"// Command p is a tool.\n": false,
	} {
		found, err := plan.check(fstest.MapFS{
			"room/a.go": {Data: []byte("package p\n")}, "room/b.go": {Data: []byte(comment + "package p\n")},
		})
		if err != nil || wrong != (len(found) > 0) {
			t.Errorf("%q: found %q, %v", comment, found, err)
		}
	}
}

func TestTheCheckFindsATableThatIsNoHouse(t *testing.T) {
	upward := plan
	upward.floors = []floor{{"room", []string{"cellar"}}, {"cellar", nil}}
	found, err := upward.check(fstest.MapFS{})
	if err != nil || len(found) != 1 || !strings.Contains(found[0], "room may import cellar, which is not below it") {
		t.Errorf("found %q, %v", found, err)
	}
}
