package abuse

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/protocol"
)

// headers is section B: request headers.
func headers(*Ground) []Case {
	null := be16(-1)
	tagged := func(tags ...byte) []byte { return prefixed(join3(header(3, 9, 1), null, tags)) }
	cases := []Case{
		{Number: 17, Name: "api key 9999", Play: closes(prefixed(join3(header(9999, 0, 1), null)))},
		{Number: 17, Name: "api key -1", Play: closes(prefixed(join3(header(-1, 0, 1), null)))},
		{Number: 17, Name: "a key of the brokers' own", Play: closes(prefixed(join3(header(20001, 0, 1), null, []byte{0xa0})))},
		{Number: 18, Name: "Metadata version 99", Play: closes(prefixed(join3(header(3, 99, 1), null, make([]byte, 20))))},
		{Number: 18, Name: "Produce version 14", Play: closes(prefixed(join3(header(0, 14, 1), null, make([]byte, 20))))},
		{Number: 18, Name: "ApiVersions version 99", Play: tooNew},
		{Number: 19, Name: "version -1", Play: closes(prefixed(join3(header(3, -1, 1), null)))},
		{Number: 19, Name: "ApiVersions version -1", Play: closes(prefixed(join3(header(18, -1, 1), null)))},
		{Number: 20, Name: "Produce version 2", Play: closes(prefixed(join3(header(0, 2, 1), null, make([]byte, 20))))},
		{Number: 20, Name: "Fetch version 0", Play: closes(prefixed(join3(header(1, 0, 1), null, make([]byte, 20))))},
		{Number: 21, Name: "client id of length -2", Play: closes(prefixed(join3(header(3, 1, 1), be16(-2), be32(0))))},
		{Number: 21, Name: "client id beyond the frame", Play: closes(prefixed(join3(header(3, 1, 1), be16(100), be32(0))))},
		{Number: 22, Name: "no client id", Play: clientID(nil)},
		{Number: 23, Name: "client id of 32 KiB", Play: clientID(kmsg.StringPtr(strings.Repeat("c", math.MaxInt16)))},
		{Number: 24, Name: "client id that is not UTF-8", Play: closes(prefixed(join3(header(3, 1, 1), be16(2), []byte{0xff, 0xfe}, be32(0))))},
		{Number: 24, Name: "client id of control characters", Play: clientID(kmsg.StringPtr(Graffiti))},
		{Number: 25, Name: "client id __admin_client", Play: noPrivilege},
		{Number: 26, Name: "correlation ids", Play: correlations},
		{Number: 27, Name: "2^32-1 tags", Play: closes(tagged(0xff, 0xff, 0xff, 0xff, 0x0f))},
		{Number: 27, Name: "more tags than bytes", Play: closes(tagged(3, 1, 0))},
		{Number: 28, Name: "a tag twice", Play: closes(tagged(2, 1, 0, 1, 0))},
		{Number: 28, Name: "tags descending", Play: closes(tagged(2, 2, 0, 1, 0))},
		{Number: 29, Name: "a tag beyond the frame", Play: closes(tagged(1, 1, 100))},
		{Number: 30, Name: "unknown tags of 1 MiB", Cost: Heavy, Play: largeTags},
	}
	for _, api := range protocol.APIs() {
		if api.Listeners&protocol.Client == 0 {
			continue
		}
		q := kmsg.RequestForKey(int16(api.Key))
		q.SetVersion(api.Max)
		cases = append(cases, Case{
			Number: 31, Name: "a byte after the body of " + api.Name, Play: closes(longer(q)),
		})
	}
	return cases
}

// Graffiti is a client id and group name that must reach no log line and no terminal as it is.
const Graffiti = "\n\x1b[31mred\x00{}%s\"end=1"

func join3(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// longer is a request with one byte behind its body: not a zero, which some clients send behind some bodies.
func longer(q kmsg.Request) []byte {
	return prefixed(append(request(q, 1)[4:], 1))
}

// tooNew: an answer in version 0, which says what is served.
func tooNew(c *Conn) error {
	if _, err := c.Write(frame(18, 99, true, []byte{1, 1, 0})); err != nil {
		return err
	}
	b, err := c.frame()
	if err != nil {
		return err
	}
	if got := binary.BigEndian.Uint32(b); got != 7 {
		return fmt.Errorf("answer to request %d", got)
	}
	resp := kmsg.NewPtrApiVersionsResponse()
	if err := resp.ReadFrom(b[4:]); err != nil {
		return err
	}
	if len(resp.ApiKeys) != 1 || resp.ApiKeys[0].ApiKey != 18 {
		return fmt.Errorf("the answer lists %v", resp.ApiKeys)
	}
	if err := is(resp.ErrorCode, kerr.UnsupportedVersion); err != nil {
		return err
	}
	return c.Alive()
}

// clientID is served whatever it is.
func clientID(id *string) func(*Conn) error {
	q := metadata(false, "victim")
	b := kbin.AppendNullableString(header(3, 9, 1), id)
	b = prefixed(q.AppendTo(append(b, 0)))
	return func(c *Conn) error {
		if _, err := c.Write(b); err != nil {
			return err
		}
		resp, err := c.Receive(q, 1)
		if err != nil {
			return err
		}
		return is(metadataCode(resp), nil)
	}
}

// noPrivilege: in Kafka this client id may write internal topics.
func noPrivilege(c *Conn) error {
	if _, err := c.Ask(find("abuse")); err != nil { // the topic exists
		return err
	}
	q := produce("__consumer_offsets", good(10))
	b := kbin.AppendNullableString(header(0, 9, 5), kmsg.StringPtr("__admin_client"))
	if _, err := c.Write(prefixed(q.AppendTo(append(b, 0)))); err != nil {
		return err
	}
	resp, err := c.Receive(q, 5)
	if err != nil {
		return err
	}
	return is(produced(resp), kerr.InvalidTopicException)
}

func correlations(c *Conn) error {
	q := kmsg.NewPtrApiVersionsRequest()
	for _, id := range []int32{-1, math.MinInt32, math.MaxInt32, 7, 7, 0} {
		if _, err := c.Write(request(q, id)); err != nil {
			return err
		}
		if _, err := c.Receive(q, id); err != nil {
			return err
		}
	}
	return nil
}

// largeTags are skipped, within the bound of a request.
func largeTags(c *Conn) error {
	q := metadata(false, "victim")
	b := append(kbin.AppendNullableString(header(3, 9, 1), nil), 4)
	for tag := range byte(4) {
		b = append(kbin.AppendUvarint(append(b, 100+tag), 1<<20), make([]byte, 1<<20)...)
	}
	if _, err := c.Write(prefixed(q.AppendTo(b))); err != nil {
		return err
	}
	if _, err := c.Receive(q, 1); err != nil {
		return err
	}
	if err := c.Alive(); err != nil {
		return errors.Join(errors.New("after the tags"), err)
	}
	return nil
}
