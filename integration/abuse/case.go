package abuse

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Cost says what one play of a case takes.
type Cost int

const (
	Cheap Cost = iota // about a round trip
	Heavy             // megabytes, or milliseconds of the broker's time
	Slow              // ends at a deadline of the broker, half a minute later: play all of them at once
)

// Case is one bad input. Play gets a fresh connection and returns nil if the outcome is the stated one.
type Case struct {
	Number  int
	Section byte
	Name    string
	Cost    Cost
	Play    func(c *Conn) error
}

func (c Case) String() string { return fmt.Sprintf("%c%d %s", c.Section, c.Number, c.Name) }

// Cases lists every case, by section and number.
func Cases(g *Ground) []Case {
	var all []Case
	for _, s := range []struct {
		name  byte
		cases []Case
	}{
		{'A', framing(g)}, {'B', headers(g)}, {'C', append(bodies(g), everyAPI()...)}, {'D', batches(g)}, {'E', compression(g)},
		{'H', brokers(g)}, {'I', names(g)}, {'J', append(floods(g), impossible()...)},
	} {
		for _, c := range s.cases {
			c.Section = s.name
			all = append(all, c)
		}
	}
	return all
}

// closes sends bytes; the connection must end without an answer.
func closes(b ...[]byte) func(*Conn) error {
	return func(c *Conn) error {
		for _, part := range b {
			if _, err := c.Write(part); err != nil {
				break // the broker may have closed already
			}
		}
		return c.Closed()
	}
}

// refuses asks; the answer's code must be want, and the connection must stay.
func refuses(want *kerr.Error, q func() kmsg.Request, code func(kmsg.Response) int16) func(*Conn) error {
	return func(c *Conn) error {
		resp, err := c.Ask(q())
		if err != nil {
			return err
		}
		if err := is(code(resp), want); err != nil {
			return err
		}
		return c.Alive()
	}
}

// accepts is refuses with no error.
func accepts(q func() kmsg.Request, code func(kmsg.Response) int16) func(*Conn) error {
	return refuses(nil, q, code)
}

// is says how an error code differs from the wanted one; nil wants none.
func is(code int16, want *kerr.Error) error {
	wanted := int16(0)
	if want != nil {
		wanted = want.Code
	}
	if code == wanted {
		return nil
	}
	return fmt.Errorf("answered %s, want %s", name(code), name(wanted))
}

func name(code int16) string {
	if code == 0 {
		return "no error"
	}
	if e, ok := kerr.ErrorForCode(code).(*kerr.Error); ok {
		return e.Message
	}
	return fmt.Sprint(code)
}
