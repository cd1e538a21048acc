package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// router is our own gateway before a node of ours.
type router struct {
	node *cordwood
	cmd  *exec.Cmd
	addr string
}

// behindGateway starts a node and a gateway before it, runs f, and removes both.
func (b *bench) behindGateway(f func(g *router) error) (err error) {
	node := newCordwood(b)
	defer func() { err = errors.Join(err, node.wipe()) }()
	if err := node.start(); err != nil {
		return err
	}
	g := &router{node: node}
	if err := g.start(); err != nil {
		return err
	}
	defer func() {
		_ = g.cmd.Process.Kill() // it keeps nothing
		_ = g.cmd.Wait()
	}()
	return f(g)
}

func (g *router) start() error {
	file, ports := filepath.Join(g.node.dir, "gateway.properties"), filepath.Join(g.node.dir, "gateway.json")
	text := "listeners=PLAINTEXT://127.0.0.1:0\ngateway.port.base=0\ncordwood.http.listener=none\ngateway.upstream=" + g.node.addr() + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	g.cmd = exec.Command(g.node.bin, "gateway", "-c", file, "--port-file", ports)
	var said strings.Builder
	g.cmd.Stderr = &said
	if err := g.cmd.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var p struct {
			Brokers map[string]string `json:"brokers"`
		}
		if text, err := os.ReadFile(ports); err == nil && json.Unmarshal(text, &p) == nil {
			for _, g.addr = range p.Brokers {
				return nil
			}
			return errors.New("the gateway found no broker")
		}
	}
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait()
	return fmt.Errorf("the gateway does not serve: %s", said.String())
}

// ways are the two measured in turn, with the processes that work.
func (g *router) ways() []way {
	return []way{{"direct", g.node.addr(), []int{g.node.pid()}}, {"gateway", g.addr, []int{g.node.pid(), g.cmd.Process.Pid}}}
}

type way struct {
	name, addr string
	pids       []int
}

// measured is one way in one round.
type measured struct {
	bytes int64
	p50   time.Duration
	usage
}

// compare measures both ways in every round and reports them with their ratio.
func (b *bench) compare(s *scenario, g *router, run func(w way, round int) (measured, error)) error {
	for round := range b.rounds {
		var cpu [2]float64
		var p50 [2]time.Duration
		for i, w := range g.ways() {
			m, err := run(w, round)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			gb := float64(m.bytes) / 1e9
			cpu[i], p50[i] = m.broker.Seconds()/gb, m.p50
			b.report.add(s, w.name+": rate", "MB/s", "Cordwood", gb*1e3/m.wall.Seconds())
			b.report.add(s, w.name+": CPU", "s/GB", "Cordwood", cpu[i])
			b.report.add(s, w.name+": others", "% of CPU", "Cordwood", 100*m.others)
			if m.p50 > 0 {
				b.report.add(s, w.name+": latency p50", "ms", "Cordwood", milliseconds(m.p50))
			}
		}
		b.report.add(s, "CPU, gateway / direct", "x", "Cordwood", cpu[1]/cpu[0])
		if p50[0] > 0 {
			b.report.add(s, "latency p50 added", "ms", "Cordwood", milliseconds(p50[1]-p50[0]))
		}
	}
	return nil
}

// gatewayProduce measures a produce load both ways.
func gatewayProduce(spec loadSpec) func(*bench, *scenario) error {
	return func(b *bench, s *scenario) error {
		return b.behindGateway(func(g *router) error {
			return b.compare(s, g, func(w way, round int) (m measured, err error) {
				topic := fmt.Sprintf("bench-%s-%02d", w.name, round)
				if err := createTopic(g.node, topic, spec.partitions, spec.configs(g.node)); err != nil {
					return m, err
				}
				if round == 0 && b.warm > 0 {
					if _, err := produce(leaders{w.addr}, topic, spec, b.warm, b.seconds); err != nil {
						return m, err
					}
				}
				b.quiet()
				if err := b.ownMemory(b.volume); err != nil {
					return m, err
				}
				meter, err := startMeter(w.pids...)
				if err != nil {
					return m, err
				}
				r, err := produce(leaders{w.addr}, topic, spec, b.volume, b.seconds)
				if err != nil {
					return m, err
				}
				if m.usage, err = meter.stop(); err != nil {
					return m, err
				}
				if m.bytes = r.bytes; spec.inFlight == 1 {
					m.p50 = r.latency.quantile(0.5)
				}
				return m, deleteTopic(g.node, topic)
			})
		})
	}
}

// gatewayLatency is a load of one request at a time.
func gatewayLatency(b *bench, s *scenario) error {
	spec := load16k
	spec.inFlight = 1
	small := *b
	small.volume, small.warm = b.volume/8, b.warm/8
	return gatewayProduce(spec)(&small, s)
}

// gatewayConsume measures reading from the page cache both ways.
func gatewayConsume(maxBytes int) func(*bench, *scenario) error {
	const topic = "bench-consume"
	return func(b *bench, s *scenario) error {
		return b.behindGateway(func(g *router) error {
			if err := createTopic(g.node, topic, 1, g.node.pageCache()); err != nil {
				return err
			}
			if _, err := produce(leaders{g.node.addr()}, topic, load64k, min(b.volume, 1e9), time.Minute); err != nil {
				return err
			}
			return b.compare(s, g, func(w way, _ int) (m measured, err error) {
				if _, _, err := consume(w.addr, topic, int32(maxBytes), b.warm, b.seconds); err != nil {
					return m, err
				}
				b.quiet()
				meter, err := startMeter(w.pids...)
				if err != nil {
					return m, err
				}
				if m.bytes, _, err = consume(w.addr, topic, int32(maxBytes), 2*b.volume, b.seconds); err != nil {
					return m, err
				}
				m.usage, err = meter.stop()
				return m, err
			})
		})
	}
}
