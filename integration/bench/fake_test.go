package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// commands are the processes that the bench starts, as the test binary can be them: the one that measures the machine, a
// broker, and a gateway.
var commands = map[string]func(args []string) error{limitCommand: limitMain, "serve": serveFake, "gateway": serveGateway}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && commands[os.Args[1]] != nil {
		if err := commands[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveFake takes Cordwood's command line.
func serveFake(args []string) error {
	f := flag.NewFlagSet("serve", flag.ExitOnError)
	f.String("data-dir", "", "")
	portFile := f.String("port-file", "", "")
	settings := map[string]string{}
	f.Func("override", "", func(s string) error {
		k, v, _ := strings.Cut(s, "=")
		settings[k] = v
		return nil
	})
	_ = f.Parse(args) // ExitOnError
	addr, _, _ := strings.Cut(strings.TrimPrefix(settings["listeners"], "PLAINTEXT://"), ",")
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fake := newFake(ln)
	if voters := settings["controller.quorum.voters"]; voters != "" {
		if err := fake.join(settings["node.id"], voters, filepath.Dir(*portFile)); err != nil {
			return err
		}
	}
	fake.run()
	b, err := json.Marshal(map[string]any{"listeners": map[string]string{"PLAINTEXT": addr}, "pid": os.Getpid()})
	if err != nil {
		return err
	}
	if err := os.WriteFile(*portFile, b, 0o600); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	return nil
}

// fakeBroker answers what the bench asks, at old versions, and keeps nothing: every partition holds the same batches. A node of
// a cluster (fakecluster_test.go) keeps what it is sent.
type fakeBroker struct {
	ln       net.Listener
	batch    []byte
	batches  int64
	delay    time.Duration
	refuse   atomic.Int64 // so many Produce requests get an error first
	produced atomic.Int64
	created  atomic.Int64
	bad      atomic.Pointer[error]
	conns    sync.WaitGroup

	cluster *fakeCluster // nil: it is alone

	mu     sync.Mutex
	topics map[string]int32
	kept   map[string][][]byte // batches by topic and partition; nil: they are not kept
	grown  sync.Cond           // kept has grown
}

func newFake(ln net.Listener) *fakeBroker {
	f := &fakeBroker{ln: ln, batch: newBatch(16<<10, 1000), batches: 100, topics: map[string]int32{}}
	f.grown.L = &f.mu
	return f
}

// run begins to answer.
func (f *fakeBroker) run() {
	f.conns.Add(1)
	go func() {
		defer f.conns.Done()
		for {
			c, err := f.ln.Accept()
			if err != nil {
				return
			}
			f.conns.Add(1)
			go f.serve(c)
		}
	}()
}

func startFake(t *testing.T) *fakeBroker {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(ln)
	f.run()
	t.Cleanup(func() {
		ln.Close()
		f.conns.Wait()
		if err := f.bad.Load(); err != nil {
			t.Error(*err)
		}
	})
	return f
}

func (f *fakeBroker) addr() string { return f.ln.Addr().String() }

func (f *fakeBroker) serve(c net.Conn) {
	defer f.conns.Done()
	defer c.Close()
	for {
		var head [4]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		b := make([]byte, be.Uint32(head[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		key, version := int16(be.Uint16(b)), int16(be.Uint16(b[2:]))
		out := append([]byte{0, 0, 0, 0}, b[4:8]...)
		if key == 18 && version > 0 {
			out = append(out, 0, 35, 0, 0, 0, 0) // UNSUPPORTED_VERSION, and the client asks again with version 0
		} else {
			q := kmsg.RequestForKey(key)
			q.SetVersion(version)
			in := b[10+int(be.Uint16(b[8:])):]
			if q.IsFlexible() { // headers have tags then; none are sent
				in, out = in[1:], append(out, 0)
			}
			if err := q.ReadFrom(in); err != nil {
				err = fmt.Errorf("key %d version %d: %w", key, version, err)
				f.bad.Store(&err)
				return
			}
			time.Sleep(f.delay)
			out = f.answer(q).AppendTo(out)
		}
		if _, err := c.Write(sealed(out)); err != nil {
			return
		}
	}
}

func (f *fakeBroker) answer(q kmsg.Request) kmsg.Response {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := q.ResponseKind()
	switch q := q.(type) {
	case *kmsg.ProduceRequest:
		f.produce(q, r.(*kmsg.ProduceResponse))
	case *kmsg.FetchRequest:
		f.fetch(q, r.(*kmsg.FetchResponse))
	case *kmsg.ApiVersionsRequest:
		for _, k := range [][3]int16{{0, 3, 7}, {1, 4, 11}, {2, 1, 5}, {3, 1, 5}, {18, 0, 0}, {19, 2, 4}, {20, 1, 3},
			{43, 0, 0}, {44, 0, 0}, {55, 0, 0}} {
			a := kmsg.NewApiVersionsResponseApiKey()
			a.ApiKey, a.MinVersion, a.MaxVersion = k[0], k[1], k[2]
			r.(*kmsg.ApiVersionsResponse).ApiKeys = append(r.(*kmsg.ApiVersionsResponse).ApiKeys, a)
		}
	case *kmsg.MetadataRequest:
		if f.cluster != nil {
			f.cluster.metadata(q, r.(*kmsg.MetadataResponse))
			break
		}
		f.metadata(q, r.(*kmsg.MetadataResponse))
	case *kmsg.ListOffsetsRequest:
		for _, t := range q.Topics {
			rt := kmsg.NewListOffsetsResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewListOffsetsResponseTopicPartition()
				rp.Partition = p.Partition
				rt.Partitions = append(rt.Partitions, rp)
			}
			r.(*kmsg.ListOffsetsResponse).Topics = append(r.(*kmsg.ListOffsetsResponse).Topics, rt)
		}
	case *kmsg.CreateTopicsRequest:
		f.created.Add(1)
		for _, t := range q.Topics {
			n := max(t.NumPartitions, int32(len(t.ReplicaAssignment)))
			if f.topics[t.Topic] = n; f.cluster != nil {
				f.cluster.create(t.Topic, n)
			}
			rt := kmsg.NewCreateTopicsResponseTopic()
			rt.Topic = t.Topic
			r.(*kmsg.CreateTopicsResponse).Topics = append(r.(*kmsg.CreateTopicsResponse).Topics, rt)
		}
	case *kmsg.DeleteTopicsRequest:
		for _, t := range q.TopicNames {
			delete(f.topics, t)
			rt := kmsg.NewDeleteTopicsResponseTopic()
			rt.Topic = kmsg.StringPtr(t)
			r.(*kmsg.DeleteTopicsResponse).Topics = append(r.(*kmsg.DeleteTopicsResponse).Topics, rt)
		}
	case *kmsg.DescribeQuorumRequest:
		t, p := kmsg.NewDescribeQuorumResponseTopic(), kmsg.NewDescribeQuorumResponseTopicPartition()
		p.LeaderID = f.cluster.living()[0]
		t.Partitions = append(t.Partitions, p)
		r.(*kmsg.DescribeQuorumResponse).Topics = append(r.(*kmsg.DescribeQuorumResponse).Topics, t)
	}
	return r
}

func (f *fakeBroker) produce(q *kmsg.ProduceRequest, r *kmsg.ProduceResponse) {
	rt := kmsg.NewProduceResponseTopic()
	rt.Topic = q.Topics[0].Topic
	rp := kmsg.NewProduceResponseTopicPartition()
	rp.Partition = q.Topics[0].Partitions[0].Partition
	if f.refuse.Add(-1) >= 0 {
		rp.ErrorCode = 6
	} else {
		f.produced.Add(1)
		f.keep(q)
	}
	rt.Partitions = append(rt.Partitions, rp)
	r.Topics = append(r.Topics, rt)
}

func (f *fakeBroker) fetch(q *kmsg.FetchRequest, r *kmsg.FetchResponse) {
	rt := kmsg.NewFetchResponseTopic()
	rt.Topic = q.Topics[0].Topic
	rp := kmsg.NewFetchResponseTopicPartition()
	in := q.Topics[0].Partitions[0]
	if f.kept != nil {
		rp.RecordBatches = f.await(q)
		rt.Partitions = append(rt.Partitions, rp)
		r.Topics = append(r.Topics, rt)
		return
	}
	records := int64(batchRecords(f.batch))
	for at := in.FetchOffset / records; at < f.batches; at++ {
		b := bytes.Clone(f.batch)
		be.PutUint64(b, uint64(at*records))
		rp.RecordBatches = append(rp.RecordBatches, b...)
		if most := max(int(in.PartitionMaxBytes), len(b)); len(rp.RecordBatches) >= most {
			rp.RecordBatches = rp.RecordBatches[:most] // may cut a batch, as brokers do
			break
		}
	}
	rt.Partitions = append(rt.Partitions, rp)
	r.Topics = append(r.Topics, rt)
}

// keep appends what is produced to its partition.
func (f *fakeBroker) keep(q *kmsg.ProduceRequest) {
	if f.kept == nil {
		return
	}
	in := q.Topics[0].Partitions[0]
	at := fmt.Sprint(q.Topics[0].Topic, in.Partition)
	b := bytes.Clone(in.Records)
	be.PutUint64(b, uint64(len(f.kept[at])*batchRecords(b))) // all batches of a partition have as many records
	f.kept[at] = append(f.kept[at], b)
	f.grown.Broadcast()
}

// await returns all batches of single records from an offset on, and waits until there is one.
func (f *fakeBroker) await(q *kmsg.FetchRequest) []byte {
	in := q.Topics[0].Partitions[0]
	at := fmt.Sprint(q.Topics[0].Topic, in.Partition)
	for len(f.kept[at]) <= int(in.FetchOffset) {
		f.grown.Wait()
	}
	return bytes.Join(f.kept[at][in.FetchOffset:], nil)
}

func (f *fakeBroker) metadata(q *kmsg.MetadataRequest, r *kmsg.MetadataResponse) {
	r.ControllerID = 0
	b := kmsg.NewMetadataResponseBroker()
	b.Host, b.Port = "127.0.0.1", int32(f.ln.Addr().(*net.TCPAddr).Port)
	r.Brokers = append(r.Brokers, b)
	for _, asked := range q.Topics {
		t := kmsg.NewMetadataResponseTopic()
		t.Topic = asked.Topic
		for i := range f.topics[*asked.Topic] {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Partition, p.Replicas, p.ISR = i, []int32{0}, []int32{0}
			t.Partitions = append(t.Partitions, p)
		}
		r.Topics = append(r.Topics, t)
	}
}
