package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fakeCluster is what one fake node knows of its cluster: topics are in a file that all share, a node lives that accepts
// connections, the first that lives decides and each partition is led by the first living one of its replicas.
type fakeCluster struct {
	addrs []string
	file  string
}

// join makes f a node; dir is its own directory.
func (f *fakeBroker) join(id, voters, dir string) error {
	c := &fakeCluster{file: filepath.Join(filepath.Dir(dir), strings.TrimSuffix(filepath.Base(dir), id)+"1", "topics")}
	for _, v := range strings.Split(voters, ",") {
		_, at, _ := strings.Cut(v, ":")
		port, err := strconv.Atoi(at)
		if err != nil {
			return fmt.Errorf("voters %q: %w", voters, err)
		}
		c.addrs = append(c.addrs, loopback(port-controllerPort))
	}
	f.cluster, f.kept = c, map[string][][]byte{}
	return nil
}

// living are the ids of the nodes that live.
func (c *fakeCluster) living() (ids []int32) {
	for i, addr := range c.addrs {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			ids = append(ids, int32(i+1))
		}
	}
	return ids
}

func (c *fakeCluster) topics() map[string]int32 {
	all := map[string]int32{}
	if b, err := os.ReadFile(c.file); err == nil { // there is none before the first topic
		_ = json.Unmarshal(b, &all) // written as a whole
	}
	return all
}

func (c *fakeCluster) create(topic string, partitions int32) {
	all := c.topics()
	all[topic] = partitions
	b, _ := json.Marshal(all) // a map of integers
	if os.WriteFile(c.file+".new", b, 0o600) != nil || os.Rename(c.file+".new", c.file) != nil {
		return // nobody will see the topic
	}
}

func (c *fakeCluster) metadata(q *kmsg.MetadataRequest, r *kmsg.MetadataResponse) {
	living := c.living()
	r.ControllerID = living[0]
	lives := map[int32]bool{}
	for _, id := range living {
		lives[id] = true
		host, port, _ := net.SplitHostPort(c.addrs[id-1]) // made by loopback
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host = id, host
		_, _ = fmt.Sscan(port, &b.Port)
		r.Brokers = append(r.Brokers, b)
	}
	topics := c.topics()
	for _, asked := range q.Topics {
		t := kmsg.NewMetadataResponseTopic()
		t.Topic = asked.Topic
		for i := range topics[*asked.Topic] {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Partition, p.Leader = i, -1
			for k := range int32(len(c.addrs)) {
				id := (i+k)%int32(len(c.addrs)) + 1
				p.Replicas = append(p.Replicas, id)
				if !lives[id] {
					continue
				}
				if p.ISR = append(p.ISR, id); p.Leader < 0 {
					p.Leader = id
				}
			}
			t.Partitions = append(t.Partitions, p)
		}
		r.Topics = append(r.Topics, t)
	}
}
