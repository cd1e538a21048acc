package protocol

import (
	"bytes"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const fine = Reason(255)

// head is key, version, correlation id 7.
func head(key, version int) string { return be16(key) + be16(version) + be32(7) }

// Section B of the bad inputs, and 7.
func TestBadInputs7And17to30(t *testing.T) {
	long := strings.Repeat("c", 32767)
	flex := head(3, 9) + be16(-1)
	for _, test := range []struct {
		name  string
		frame string
		want  Reason
	}{
		{"7 frame of 1 byte", "\x00", ReasonCut},
		{"7 frame of 7 bytes", head(3, 0)[:7], ReasonCut},
		{"7 no client id", head(3, 0), ReasonCut},
		{"17 key 9999", head(9999, 0) + be16(-1), ReasonKey},
		{"17 key -1", head(-1, 0) + be16(-1), ReasonKey},
		{"17 key -32768", head(-32768, 0) + be16(-1), ReasonKey},
		{"17 key between ours and Kafka's", head(19999, 0) + be16(-1), ReasonKey},
		{"18 version too high", head(3, 14) + be16(-1) + "\x00", ReasonVersion},
		{"18 ApiVersions too high", head(18, 6) + be16(-1) + "\x00", fine},
		{"19 version -1", head(3, -1) + be16(-1), ReasonVersion},
		{"19 ApiVersions -1", head(18, -1) + be16(-1), ReasonVersion},
		{"20 Produce 2, below what we serve", head(0, 2) + be16(-1), ReasonVersion},
		{"20 CreateTopics 1", head(19, 1) + be16(-1), ReasonVersion},
		{"21 client id of length -2", head(3, 0) + be16(-2), ReasonLength},
		{"21 client id beyond the frame", head(3, 0) + be16(5) + "abcd", ReasonCut},
		{"22 client id null", head(3, 0) + be16(-1), fine},
		{"23 client id of 32 KiB", head(3, 0) + be16(32767) + long, fine},
		{"24 client id not UTF-8", head(3, 0) + be16(1) + "\xff", ReasonUTF8},
		{"24 client id with newline, escape, NUL, format", head(3, 0) + be16(10) + "\n\x1b[1m\x00{}%s", fine},
		{"25 client id __admin_client", head(3, 0) + be16(14) + "__admin_client", fine},
		{"27 tag count 2^32-1", flex + "\xff\xff\xff\xff\x0f", ReasonTag},
		{"27 tag count beyond the frame", flex + "\x03\x01\x00", ReasonTag},
		{"27 tag count in six bytes", flex + "\x80\x80\x80\x80\x80\x01", ReasonVarint},
		{"28 same tag twice", flex + "\x02\x01\x00\x01\x00", ReasonTag},
		{"28 tags descending", flex + "\x02\x02\x00\x01\x00", ReasonTag},
		{"29 tag larger than the rest", flex + "\x01\x01\x02\x00", ReasonCut},
		{"30 unknown tags", flex + "\x02\x01\x01x\x05\x02yz", fine},
		{"no tags where they belong", flex, ReasonCut},
		{"admin frame of 8 MiB and one byte", head(19, 2) + be16(-1) + strings.Repeat("x", FrameAdmin-9), ReasonSize},
		{"Produce frame of 9 MiB", head(0, 3) + be16(-1) + strings.Repeat("x", 9<<20), fine},
	} {
		t.Run(test.name, func(t *testing.T) {
			var h Header
			body, err := ParseHeader([]byte(test.frame), &h)
			if test.want == fine {
				if err != nil || body == nil {
					t.Fatal(body, err)
				}
				return
			}
			if err == nil || reasonOf(t, err) != test.want {
				t.Fatalf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestBadInput26CorrelationIDsAreEchoed(t *testing.T) {
	for _, id := range []int{0, -1, -2147483648, 2147483647, 7, 7} {
		var h Header
		if _, err := ParseHeader([]byte(be16(12)+be16(0)+be32(id)+be16(-1)), &h); err != nil {
			t.Fatal(err)
		}
		frame := AppendResponse(nil, &h, kmsg.NewPtrHeartbeatResponse())
		if string(frame[4:8]) != be32(id) {
			t.Errorf("%d: answered %x", id, frame)
		}
	}
}

func TestBadInput30LargeTagsAreSkippedWithoutCopy(t *testing.T) {
	frame := []byte(head(3, 9) + be16(-1) + "\x07")
	for tag := range 7 {
		frame = append(frame, byte(tag))
		frame = append(kbin.AppendUvarint(frame, 1<<20), make([]byte, 1<<20)...)
	}
	frame = append(frame, "body"...)
	var h Header
	var body []byte
	if n := testing.AllocsPerRun(10, func() { body, _ = ParseHeader(frame, &h) }); n > 0 || string(body) != "body" {
		t.Fatalf("%v allocations, body %q", n, body)
	}
}

func TestHeadersOfAllVersionsRoundTrip(t *testing.T) {
	eachVersion(t, func(t *testing.T, a *API, version int16) {
		for _, id := range []*string{nil, kmsg.StringPtr(""), kmsg.StringPtr("client-ß")} {
			var opts []kmsg.RequestFormatterOpt
			if id != nil {
				opts = append(opts, kmsg.FormatterClientID(*id))
			}
			r := request(t, a, version)
			frame := kmsg.NewRequestFormatter(opts...).AppendRequest(nil, r, 42)[4:]
			var h Header
			body, err := ParseHeader(frame, &h)
			if err != nil {
				t.Fatalf("%s v%d: %v", a.Name, version, err)
			}
			if h.API.Key != a.Key || h.Version != version || h.CorrelationID != 42 || h.Flexible != r.IsFlexible() ||
				h.ClientIDNull != (id == nil) || id != nil && string(h.ClientID) != *id || h.Unsupported() {
				t.Errorf("%s v%d: header %+v", a.Name, version, h)
			}
			if !bytes.Equal(body, r.AppendTo(nil)) {
				t.Errorf("%s v%d: body %x", a.Name, version, body)
			}
		}
	})
}

// Trap 6: a response header has tags exactly in flexible versions; trap 1:
// ApiVersions' never has.
func TestResponseFramesOfAllVersions(t *testing.T) {
	eachVersion(t, func(t *testing.T, a *API, version int16) {
		r := kmsg.ResponseForKey(int16(a.Key))
		frame := AppendResponse([]byte("before"), &Header{Key: int16(a.Key), Version: version, CorrelationID: -5}, r)
		want := be32(-5)
		if r.IsFlexible() && a.Key != ApiVersions {
			want += "\x00"
		}
		want += string(r.AppendTo(nil))
		if got := string(frame); got != "before"+be32(len(want))+want {
			t.Errorf("%s v%d: %x, want %x", a.Name, version, got, want)
		}
		if r.GetVersion() != version {
			t.Errorf("%s v%d: response has version %d", a.Name, version, r.GetVersion())
		}
	})
}

func TestOwnFrames(t *testing.T) {
	request := AppendOwnRequest(nil, FetchMetadata, 9, []byte("question"))
	if string(request[:4]) != be32(len(request)-4) {
		t.Errorf("length of %x", request)
	}
	var h Header
	body, err := ParseHeader(request[4:], &h)
	if err != nil || h.API.Key != FetchMetadata || h.CorrelationID != 9 || !h.ClientIDNull || string(body) != "question" {
		t.Fatalf("%+v %q %v", h, body, err)
	}
	if got := string(AppendOwnResponse(nil, &h, []byte("answer"), 0)); got != be32(10)+be32(9)+"answer" {
		t.Errorf("response %x", got)
	}
	if got := string(AppendOwnResponse([]byte("x"), &h, []byte("answer"), 1000)); got != "x"+be32(1010)+be32(9)+"answer" {
		t.Errorf("response before more bytes %x", got)
	}
}

func TestParseHeaderAllocatesNothing(t *testing.T) {
	frame := []byte(head(3, 9) + be16(6) + "client" + "\x01\x01\x01x")
	var h Header
	if n := testing.AllocsPerRun(100, func() { _, _ = ParseHeader(frame, &h) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCloseErrorHoldsNoneOfTheClientsBytes(t *testing.T) {
	var h Header
	_, err := ParseHeader([]byte(head(3, 0)+be16(8)+"secret\xff\xff"), &h)
	if got, want := err.Error(), "protocol: utf8 (key 3, version 0)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
