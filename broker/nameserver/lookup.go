package nameserver

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"cordwood/broker/nameserver/zone"
)

// Names that brokers advertise are looked up beside the queries, never because of one: an answer waits for nobody else's
// name server, and nobody can make this node send queries.
const (
	lookupEvery   = 5 * time.Second
	lookupTimeout = 5 * time.Second
	lookupAtOnce  = 8
)

// lookUp keeps the addresses of advertised names up to date until ctx ends.
func (s *Server) lookUp(ctx context.Context) {
	known := map[string][]netip.Addr{}
	due := time.NewTicker(s.cfg.LookupEvery)
	defer due.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return
		case <-s.wanted:
		case <-due.C:
			all = true
		}
		hosts := s.zone.Load().Hosts()
		ask := slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { _, asked := known[h]; return asked && !all })
		next := make(map[string][]netip.Addr, len(hosts))
		for _, h := range hosts {
			next[h] = known[h]
		}
		for i, addrs := range s.lookUpAll(ctx, ask) {
			if len(addrs) > 0 { // else the old ones: most brokers outlive a failure of their resolver
				next[ask[i]] = addrs
			}
		}
		if !same(known, next) {
			s.change(func(z *zone.Zone) *zone.Zone { return z.Resolved(next) })
		}
		known = next
	}
}

// lookUpAll finds the addresses of each host, some at a time; none where that fails.
func (s *Server) lookUpAll(ctx context.Context, hosts []string) [][]netip.Addr {
	out := make([][]netip.Addr, len(hosts))
	var g errgroup.Group
	g.SetLimit(lookupAtOnce)
	for i, host := range hosts {
		g.Go(func() error {
			within, cancel := context.WithTimeout(ctx, lookupTimeout)
			defer cancel()
			addrs, err := s.cfg.Lookup(within, host)
			if err != nil && ctx.Err() == nil {
				s.counts.badLookups.Add(1)
				s.cfg.Log.Debug("dns: an advertised name has no address", zap.String("host", host), zap.Error(err))
			}
			for _, a := range addrs {
				out[i] = append(out[i], a.Unmap().WithZone(""))
			}
			slices.SortFunc(out[i], netip.Addr.Compare)
			out[i] = slices.Compact(out[i])
			return nil
		})
	}
	_ = g.Wait() // none of them fails
	return out
}

func same(a, b map[string][]netip.Addr) bool {
	if len(a) != len(b) {
		return false
	}
	for host, addrs := range a {
		if other, ok := b[host]; !ok || !slices.Equal(addrs, other) {
			return false
		}
	}
	return true
}
