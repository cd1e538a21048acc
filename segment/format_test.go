package segment

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"cordwood/protocol/record"
	"cordwood/segment/producer"
)

// golden compares a file with the bytes that Kafka writes for the same records; spaces and line ends do not count.
func golden(t *testing.T, got []byte, want string) {
	t.Helper()
	want = strings.Join(strings.Fields(want), "")
	if hex.EncodeToString(got) != want {
		t.Fatalf("got\n%s\nwant\n%s", hex.EncodeToString(got), want)
	}
}

func TestSegmentFilesHaveKafkasBytes(t *testing.T) {
	m := newMem(t)
	o := options(m)
	o.Config.IndexInterval, o.Config.SegmentBytes, o.Config.SegmentAge, o.LogStart = 60, 1<<20, 0, 256
	l := open(t, o)
	for i := range int64(3) {
		b := record.NewBuilder(record.BuilderOptions{})
		b.Append(1000+i%2, []byte("k"), []byte("v"), nil)
		batch, err := b.Build()
		must(t, err)
		batch.Stamp(256+i, 7)
		must(t, l.Append([]record.Batch{batch}, 7))
	}
	txn := &record.Producer{ID: 5, Epoch: 1}
	b := stamped(t, 259, 7, record.BuilderOptions{Producer: txn, Transactional: true}, 1, 1)
	marker := record.BuildControl(record.Control{Type: record.Abort}, 5, 1, 2000)
	marker.Stamp(260, 7)
	must(t, l.Append([]record.Batch{b, marker}, 7))
	must(t, l.BeginEpoch(9))
	must(t, l.Close(true))

	file := func(suffix string) []byte { return read(t, m, fileName(logDir, 256, suffix)) }
	golden(t, file(logSuffix)[:70], `0000000000000100 0000003a 00000007 02 `+
		hex.EncodeToString(file(logSuffix)[17:21])+` 0000 00000000 00000000000003e8 00000000000003e8
		ffffffffffffffff ffff ffffffff 00000001 10 00 00 00 02 6b 02 76 00`)
	// Relative offset and position of the second, third, fourth and fifth batch.
	golden(t, file(indexSuffix), `00000001 00000046 00000002 0000008c 00000003 000000d2 00000004 0000011b`)
	// Timestamp and relative offset of the batch that has it, only where it rises.
	golden(t, file(timeSuffix), `00000000000003e9 00000001 0000018bcfd62fde 00000003`)
	golden(t, file(txnSuffix), `0000 0000000000000005 0000000000000103 0000000000000104 0000000000000105`)
	if got := string(read(t, m, filepath.Join(logDir, epochFile))); got != "0\n2\n7 256\n9 261\n" {
		t.Fatalf("%q", got)
	}
	if got := string(read(t, m, filepath.Join(logDir, partitionFile))); got != "version: 0\ntopic_id: wN4BAgMEBQYHCAkKCwwNDg" {
		t.Fatalf("%q", got)
	}
	if _, err := producer.Decode(read(t, m, fileName(logDir, 261, snapshotSuffix))); err != nil {
		t.Fatal(err)
	}
}

func TestDirectoryFilesHaveKafkasText(t *testing.T) {
	m := newMem(t)
	c, err := OpenCheckpoints(m, dataDir, nil)
	must(t, err)
	o := options(m)
	o.Checkpoints = c
	l := open(t, o)
	o.Dir = dataDir + "/with-dash-12"
	other := open(t, o)
	fill(t, l, 3, 0)
	fill(t, other, 1, 0)
	must(t, l.Trim(4))
	_, err = l.Sync()
	must(t, err)
	must(t, c.Write(func(yield func(*Log) bool) { _ = yield(l) && yield(other) }))
	must(t, c.WriteHighWatermarks(func(yield func(string, int64) bool) { _ = yield("t-0", 9) && yield("with-dash-12", 3) }))
	for name, want := range map[string]string{
		recoveryFile:      "0\n2\nt 0 9\nwith-dash 12 0\n",
		startFile:         "0\n2\nt 0 4\nwith-dash 12 0\n",
		highWatermarkFile: "0\n2\nt 0 9\nwith-dash 12 3\n",
	} {
		if got := string(read(t, m, filepath.Join(dataDir, name))); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	must(t, WriteMeta(m, dataDir, Meta{ClusterID: "Iv0A2bcQTdyxbNtV8bh6Yw", NodeID: 3, DirectoryID: topicID}))
	if got := string(read(t, m, filepath.Join(dataDir, metaFile))); got !=
		"#\ncluster.id=Iv0A2bcQTdyxbNtV8bh6Yw\ndirectory.id=wN4BAgMEBQYHCAkKCwwNDg\nnode.id=3\nversion=1\n" {
		t.Errorf("%q", got)
	}
	must(t, WriteClean(m, dataDir, 17, nil))
	if got := string(read(t, m, filepath.Join(dataDir, kafkaCleanFile))); got != `{"version":0,"brokerEpoch":17}` {
		t.Errorf("%q", got)
	}
}

func TestMetaIsRead(t *testing.T) {
	kafka := "#\n#Fri Nov 21 10:00:00 UTC 2025\ncluster.id=5L6g3nShT-eMCtK--X86sw\ndirectory.id=wN4BAgMEBQYHCAkKCwwNDg\nnode.id=1\nversion=1\n"
	for _, c := range []struct {
		text string
		want Meta
		ok   bool
	}{
		{kafka, Meta{"5L6g3nShT-eMCtK--X86sw", 1, topicID}, true},
		{"version=1\ncluster.id=x\nnode.id=0\n", Meta{ClusterID: "x"}, true},
		{"version=0\ncluster.id=x\nbroker.id=0\n", Meta{}, false},
		{"version=1\ncluster.id=x\nnode.id=-1\n", Meta{}, false},
		{"version=1\ncluster.id=x\nnode.id=99999999999\n", Meta{}, false},
		{"version=1\nnode.id=1\n", Meta{}, false},
		{"version=1\ncluster.id=x\nnode.id=1\ndirectory.id=short\n", Meta{}, false},
		{"\x00\x01", Meta{}, false},
		{"", Meta{}, false},
	} {
		m := newMem(t)
		write(t, m, filepath.Join(dataDir, metaFile), []byte(c.text))
		got, found, err := ReadMeta(m, dataDir)
		if !found || (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%q: %+v, %v", c.text, got, err)
		}
	}
	if _, found, err := ReadMeta(newMem(t), dataDir); found || err != nil {
		t.Errorf("no file: %v, %v", found, err)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"t-0": "t 0 true", "a-b-12": "a-b 12 true", "t-": " 0 false", "-1": " 0 false", "t": " 0 false", "t-01": " 0 false",
		"t--1": "t- 1 true", "t-2147483648": " 0 false", "t-x": " 0 false", "t-0.aa-delete": " 0 false",
	} {
		topic, partition, ok := PartitionOf(name)
		if got := fmt.Sprint(topic, " ", partition, " ", ok); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	for name, ok := range map[string]bool{
		"00000000000000000042.log": true, "09223372036854775807.log": true, "09223372036854775808.log": false,
		"0000000000000000042.log": false, "000000000000000000042.log": false, "0000000000000000004x.log": false, "": false,
	} {
		if _, _, got := parseFileName(name); got != ok {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestOwnFilesHaveTheirBytes(t *testing.T) {
	// A change of these bytes needs a new version: the last life's files are read by the next binary.
	c := CleanLog{TopicID: topicID, Start: 5, End: 9, epochs: epochCache{{2, 5}}, state: []byte{0xaa},
		segments: []cleanSegment{{base: 4, end: 9, size: 300, maxTimestamp: 1000, created: 2000, faults: []fault{{6, 7, 100, 200}}}}}
	b := encodeManifest(3, map[string]CleanLog{"t-0": c})
	golden(t, b[:len(b)-4], `4357434c45414e00 00000001 0000000000000003 00000001 0000008c
		00000003 742d30 c0de0102030405060708090a0b0c0d0e 0000000000000005 0000000000000009
		00000001 00000002 0000000000000005
		00000001 0000000000000004 0000000000000009 000000000000012c 00000000000003e8 00000000000007d0
		00000001 0000000000000006 0000000000000007 0000000000000064 00000000000000c8
		00000001 aa`)
	again, err := decodeManifest(b)
	must(t, err)
	if fmt.Sprint(*again.Logs["t-0"]) != fmt.Sprint(c) {
		t.Fatalf("%+v, want %+v", *again.Logs["t-0"], c)
	}

	e := Entry{Base: 7, End: 9, Data: []byte{0xaa, 0xbb}, incarnation: 4, start: 1, synced: 6}
	b = appendRecord(nil, 2, kindData, journalKey{topicID, 3}, e)
	golden(t, b, `00000047 `+hex.EncodeToString(b[4:8])+` 0000000000000002 01 c0de0102030405060708090a0b0c0d0e 00000003
		0000000000000004 0000000000000007 0000000000000009 0000000000000001 0000000000000006 aabb`)
	if be.Uint32(b[4:]) != checksum(b[8:]) {
		t.Fatal("checksum")
	}
	if got := string(encodeFaults([]fault{{6, 7, 100, 200}})); got != "0\n1\n6 7 100 200\ncrc "+fmt.Sprintf("%08x", checksum([]byte("0\n1\n6 7 100 200\n")))+"\n" {
		t.Fatalf("%q", got)
	}
}
