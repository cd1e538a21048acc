package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cordwood/protocol/compress"
	"cordwood/protocol/record"
)

func logCommand(t *terminal) *cobra.Command {
	cmd := family("log", "Look into the files of a data directory; no broker is needed")
	cmd.AddCommand(logDump(t))
	return cmd
}

// dumping is a log dump command under way.
type dumping struct {
	out     *bufio.Writer
	json    bool
	batches bool // headers only
	codecs  *compress.Pool
	bad     int // batches that are not what they should be
}

func logDump(t *terminal) *cobra.Command {
	format, batches := "table", false
	cmd := &cobra.Command{
		Use: "dump FILE... [--batches]", Short: "Print the batches and records of a .log, or the entries of an .index or .timeindex",
		Long: "Print the batches and records of a .log, or the entries of an .index or .timeindex. Exits with 1 when a file is damaged,\n" +
			"after printing what can be read.",
		Example: "  cordwood log dump cordwood-data/greetings-0/00000000000000000000.log",
		Args:    arguments(1, -1, "a file"),
		RunE: func(_ *cobra.Command, args []string) error {
			if format != "table" && format != "json" {
				return usageErrorf("--format %q: use table or json", format)
			}
			d := &dumping{out: bufio.NewWriterSize(t.out, 64<<10), json: format == "json", batches: batches, codecs: compress.New()}
			var errs []error
			for _, name := range args {
				if err := d.file(name); err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", name, err))
				}
			}
			return errors.Join(append(errs, d.out.Flush())...)
		},
	}
	cmd.Flags().BoolVar(&batches, "batches", false, "only the headers of batches, not their records")
	cmd.Flags().StringVar(&format, "format", "table", "output: table or json (one object a line)")
	return cmd
}

func (d *dumping) file(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	base, err := strconv.ParseInt(strings.SplitN(filepath.Base(name), ".", 2)[0], 10, 64)
	if err != nil {
		base = 0 // a copy under another name: index entries are shown relative to 0
	}
	switch ext := filepath.Ext(name); ext {
	case ".log":
		return d.log(f, info.Size())
	case ".index":
		return d.entries(f, 8, func(e []byte) any {
			return offsetEntry{base + int64(int32(binary.BigEndian.Uint32(e))), int32(binary.BigEndian.Uint32(e[4:]))}
		})
	case ".timeindex":
		return d.entries(f, 12, func(e []byte) any {
			return timeEntry{int64(binary.BigEndian.Uint64(e)), base + int64(int32(binary.BigEndian.Uint32(e[8:])))}
		})
	default:
		return usageErrorf("%s: a %s file is not one this command reads; give it a .log, .index or .timeindex", name, ext)
	}
}

// offsetEntry: the batch that ends with Offset begins at byte Position of the .log.
type offsetEntry struct {
	Offset   int64 `json:"offset"`
	Position int32 `json:"position"`
}

func (e offsetEntry) String() string {
	return fmt.Sprintf("offset %d position %d", e.Offset, e.Position)
}

// timeEntry: Timestamp is the largest up to Offset.
type timeEntry struct {
	Timestamp int64 `json:"timestamp"`
	Offset    int64 `json:"offset"`
}

func (e timeEntry) String() string {
	return fmt.Sprintf("timestamp %s offset %d", showTime(e.Timestamp), e.Offset)
}

func showTime(ms int64) string {
	if ms < 0 {
		return strconv.FormatInt(ms, 10)
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// entries prints an index file of entries of size bytes.
func (d *dumping) entries(r io.Reader, size int, decode func([]byte) any) error {
	in, e := bufio.NewReader(r), make([]byte, size)
	for n := 0; ; n++ {
		switch got, err := io.ReadFull(in, e); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("entry %d: %d of %d bytes: %w", n, got, size, err)
		}
		if err := d.line("", decode(e)); err != nil {
			return err
		}
	}
}

// line prints one value: as JSON, or as it says itself.
func (d *dumping) line(indent string, v any) error {
	if d.json {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, err = d.out.Write(append(text, '\n'))
		return err
	}
	_, err := fmt.Fprintf(d.out, "%s%v\n", indent, v)
	return err
}

// log prints a segment. The file may be damaged or still be written to: what is not a batch ends it with an error.
func (d *dumping) log(r io.Reader, size int64) error {
	in := bufio.NewReaderSize(r, 1<<20)
	d.bad = 0
	for position := int64(0); position < size; {
		head, err := in.Peek(int(min(record.Overhead, size-position)))
		if err != nil {
			return err
		}
		n := int64(0)
		if len(head) >= record.LogOverhead {
			n = record.LogOverhead + int64(int32(binary.BigEndian.Uint32(head[8:])))
		}
		if len(head) < record.Overhead || n < record.Overhead {
			return fmt.Errorf("no batch at byte %d of %d; what follows is damaged, or was never finished", position, size)
		}
		if n > size-position {
			return fmt.Errorf("the batch at byte %d has %d bytes, %d are left; the file was cut, or is being written to", position, n, size-position)
		}
		bytes := make([]byte, n)
		if _, err := io.ReadFull(in, bytes); err != nil {
			return err
		}
		b, _, err := record.Next(bytes)
		if err != nil {
			return fmt.Errorf("byte %d: %w", position, err)
		}
		if err := d.batch(position, b); err != nil {
			return err
		}
		position += n
	}
	if d.bad > 0 {
		return fmt.Errorf("%d damaged batches", d.bad)
	}
	return nil
}

// dumpedBatch is the header of a batch.
type dumpedBatch struct {
	Position      int64  `json:"position"`
	Size          int    `json:"size"`
	BaseOffset    int64  `json:"base_offset"`
	LastOffset    int64  `json:"last_offset"`
	Count         int32  `json:"count"`
	LeaderEpoch   int32  `json:"leader_epoch"`
	Codec         string `json:"codec"`
	MaxTimestamp  int64  `json:"max_timestamp"`
	AppendTime    bool   `json:"log_append_time"`
	ProducerID    int64  `json:"producer_id"`
	ProducerEpoch int16  `json:"producer_epoch"`
	BaseSequence  int32  `json:"base_sequence"`
	Transactional bool   `json:"transactional"`
	Control       bool   `json:"control"`
	CRC           string `json:"crc"`
	Damaged       string `json:"damaged,omitempty"`
}

func (b dumpedBatch) String() string {
	s := fmt.Sprintf("batch %d..%d position %d size %d count %d epoch %d codec %s time %s",
		b.BaseOffset, b.LastOffset, b.Position, b.Size, b.Count, b.LeaderEpoch, b.Codec, showTime(b.MaxTimestamp))
	if b.ProducerID >= 0 {
		s += fmt.Sprintf(" producer %d/%d sequence %d", b.ProducerID, b.ProducerEpoch, b.BaseSequence)
	}
	for _, flag := range []struct {
		set  bool
		name string
	}{{b.AppendTime, "append-time"}, {b.Transactional, "transactional"}, {b.Control, "control"}} {
		if flag.set {
			s += " " + flag.name
		}
	}
	s += " crc " + b.CRC
	if b.Damaged != "" {
		s += " DAMAGED: " + b.Damaged
	}
	return s
}

// dumpedRecord is a record; nil key or value is null.
type dumpedRecord struct {
	Offset    int64          `json:"offset"`
	Timestamp int64          `json:"timestamp"`
	Key       *string        `json:"key"`
	Value     *string        `json:"value"`
	Headers   []dumpedHeader `json:"headers,omitempty"`
	Marker    string         `json:"marker,omitempty"`
}

type dumpedHeader struct {
	Key   string  `json:"key"`
	Value *string `json:"value"`
}

func (r dumpedRecord) String() string {
	s := fmt.Sprintf("%d %s ", r.Offset, showTime(r.Timestamp))
	if r.Marker != "" {
		return s + r.Marker
	}
	s += "key " + quoted(r.Key) + " value " + quoted(r.Value)
	for _, h := range r.Headers {
		s += fmt.Sprintf(" header %q=%s", h.Key, quoted(h.Value))
	}
	return s
}

func quoted(s *string) string {
	if s == nil {
		return "null"
	}
	return strconv.Quote(*s)
}

func orNull(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}

func (d *dumping) batch(position int64, b record.Batch) error {
	out := dumpedBatch{
		Position: position, Size: len(b), BaseOffset: b.BaseOffset(), LastOffset: b.LastOffset(), Count: b.Count(),
		LeaderEpoch: b.LeaderEpoch(), Codec: b.Codec().String(), MaxTimestamp: b.MaxTimestamp(), AppendTime: b.LogAppendTime(),
		ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(), BaseSequence: b.BaseSequence(),
		Transactional: b.Transactional(), Control: b.Control(), CRC: fmt.Sprintf("%08x", b.CRC()),
	}
	if err := b.CheckCRC(); err != nil {
		d.bad++
		out.Damaged = err.Error()
		return d.line("", out) // its records cannot be believed
	}
	if err := d.line("", out); err != nil || d.batches {
		return err
	}
	it := b.Records(d.codecs, record.DefaultMaxDecompressed)
	defer it.Close()
	for it.Next() {
		if err := d.line("  ", newDumpedRecord(it.Record(), b.Control())); err != nil {
			return err
		}
	}
	if err := it.Err(); err != nil {
		d.bad++
		if !d.json {
			fmt.Fprintf(d.out, "  DAMAGED: %v\n", err)
		}
	}
	return nil
}

func newDumpedRecord(r *record.Record, control bool) dumpedRecord {
	out := dumpedRecord{Offset: r.Offset, Timestamp: r.Timestamp, Key: orNull(r.Key), Value: orNull(r.Value)}
	for h := range r.Headers() {
		out.Headers = append(out.Headers, dumpedHeader{Key: string(h.Key), Value: orNull(h.Value)})
	}
	if control {
		if c, err := record.ParseControl(r); err != nil {
			out.Marker = "control record: " + err.Error()
		} else {
			out.Marker = fmt.Sprintf("%s marker, coordinator epoch %d", c.Type, c.CoordinatorEpoch)
		}
	}
	return out
}
