package abuse

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// BadTopics are names that no topic may have (124).
var BadTopics = []string{
	"..", ".", "", "../../etc/passwd", "a/b", "a\x00b", `C:\x`, strings.Repeat("x", 250), "a b", "\U0001f600", "a\nb", "con", Graffiti,
}

// path is a group's, member's or transaction's name that must stay a name.
const path = "../../etc/passwd\x00"

// names is section I.
func names(*Ground) []Case {
	var cases []Case
	for _, n := range BadTopics {
		cases = append(cases,
			Case{Number: 124, Name: fmt.Sprintf("CreateTopics of %.20q", n), Play: refuses(kerr.InvalidTopicException, ask(create(n)), createCode)},
			Case{Number: 124, Name: fmt.Sprintf("Metadata of %.20q", n), Play: refuses(kerr.InvalidTopicException, ask(metadata(true, n)), metadataCode)},
			Case{Number: 124, Name: fmt.Sprintf("Produce to %.20q", n), Play: refuses(kerr.UnknownTopicOrPartition, ask(produce(n, good(10))), produced)},
		)
	}
	long := strings.Repeat("g", 32767)
	for _, n := range []string{long, strings.Repeat("g", 250)} {
		cases = append(cases,
			Case{Number: 126, Name: fmt.Sprintf("FindCoordinator of %d characters", len(n)), Play: refuses(kerr.InvalidGroupID, ask(find(n)), findCode)},
			Case{Number: 126, Name: fmt.Sprintf("JoinGroup of %d characters", len(n)), Play: refuses(kerr.InvalidGroupID, ask(join(n, "")), joinCode)},
			Case{Number: 126, Name: fmt.Sprintf("OffsetCommit of %d characters", len(n)), Play: refuses(kerr.InvalidGroupID, ask(commit(n, "victim", 1, "")), commitCode)},
		)
	}
	transactional := kmsg.NewPtrInitProducerIDRequest()
	transactional.Version, transactional.TransactionalID, transactional.TransactionTimeoutMillis = 4, kmsg.StringPtr(path), 1000
	return append(cases,
		Case{Number: 125, Name: "names that differ in . and _", Play: collide},
		Case{Number: 126, Name: "compact group id of 64 KiB", Play: closes(frame(10, 3, true, []byte("\x81\x80\x04"+strings.Repeat("g", 65536)+"\x00\x00")))},
		Case{Number: 126, Name: "JoinGroup of no name", Play: refuses(kerr.InvalidGroupID, ask(join("", "")), joinCode)},
		Case{Number: 126, Name: "OffsetCommit of a group with a path", Play: accepts(ask(commit(path, "victim", 1, "")), commitCode)},
		Case{Number: 126, Name: "OffsetCommit of a group of control characters", Play: accepts(ask(commit(Graffiti, "victim", 1, "")), commitCode)},
		Case{Number: 126, Name: "member id of 32 KiB", Play: refuses(kerr.UnknownMemberID, ask(join("victims", long)), joinCode)},
		Case{Number: 126, Name: "member id with a path", Play: refuses(kerr.UnknownMemberID, ask(join("victims", path)), joinCode)},
		Case{Number: 126, Name: "transactional id with a path", Play: refuses(kerr.InvalidRequest, ask(transactional), func(r kmsg.Response) int16 {
			return r.(*kmsg.InitProducerIDResponse).ErrorCode
		})},
	)
}

// collide: the first play creates the one, every play fails to create the other.
func collide(c *Conn) error {
	resp, err := c.Ask(create("abuse.a_b"))
	if err != nil {
		return err
	}
	if code := createCode(resp); code != 0 && code != kerr.TopicAlreadyExists.Code {
		return is(code, nil)
	}
	if resp, err = c.Ask(create("abuse_a.b")); err != nil {
		return err
	}
	return is(createCode(resp), kerr.InvalidTopicException)
}
