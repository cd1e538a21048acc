package broker

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"cordwood/broker/nameserver"
	"cordwood/broker/nameserver/zone"
	"cordwood/metadata"
)

// controllerLook is how often the name server's idea of the active controller is compared with this node's: that one changes
// without a change of metadata.
const controllerLook = 250 * time.Millisecond

// dnsKeys are the keys of the name server.
func dnsKeys() []Key {
	return []Key{
		{Name: "cordwood.dns.listener", Type: tString, Default: "none", Doc: "host:port of a DNS server for cordwood.dns.zone, over UDP and TCP: names of brokers, leaders and the controller; none: not served.",
			apply: func(c *Config, v string) error {
				if c.DNSAddr = v; strings.EqualFold(v, "none") || v == "" {
					c.DNSAddr = ""
					return nil
				}
				return checkAddr(v, true)
			}},
		{Name: "cordwood.dns.zone", Type: tString, Doc: "Zone of the DNS server, a domain name.",
			apply: func(c *Config, v string) (err error) { c.DNSZone, err = zone.Parse(v); return err }},
	}
}

// validateDNS refuses a name server that could not tell anybody anything.
func (c *Config) validateDNS(bad func(key, reason, advice string) error) error {
	switch {
	case c.DNSAddr == "":
		return nil
	case c.DNSZone == "":
		return bad("cordwood.dns.listener", "there is no zone to serve", "set cordwood.dns.zone, for example to kafka.example.com")
	case !c.IsBroker():
		return bad("cordwood.dns.listener", "a node that is a controller only has no client listener to name", "set it on brokers")
	}
	for _, l := range c.Listeners {
		if host, _, err := splitAddr(l.Advertised); err == nil && zone.Contains(c.DNSZone, host) {
			return bad("advertised.listeners", host+" is a name of cordwood.dns.zone, whose addresses are those that brokers advertise",
				"advertise an address, or a name that another DNS server knows")
		}
	}
	return nil
}

// listenDNS binds the name server's address, if there is one.
func (b *Broker) listenDNS() (err error) {
	if b.cfg.DNSAddr == "" {
		return nil
	}
	first := slices.IndexFunc(b.cfg.Listeners, func(l ListenerConfig) bool { return !isInternal(l.Kind) })
	b.names, err = nameserver.Open(nameserver.Config{
		Addr: b.cfg.DNSAddr, Log: b.log.Named("dns"), Informed: b.lease.informed,
		Zone: zone.Config{Name: b.cfg.DNSZone, Self: b.cfg.NodeID, Listener: b.cfg.Listeners[first].Name},
	})
	if err != nil {
		return fmt.Errorf("%w: cordwood.dns.listener=%s: %w", ErrConfig, b.cfg.DNSAddr, err)
	}
	return nil
}

// showNames hands each image to the name server as soon as the handlers have it.
func (b *Broker) showNames(ctx context.Context) error {
	look := time.NewTicker(controllerLook)
	defer look.Stop()
	for {
		p := b.published.Load()
		b.names.Show(p.image, b.whereController())
		select {
		case <-p.next:
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// whereController is where the active controller is, as far as this node knows.
func (b *Broker) whereController() zone.Controller {
	at := zone.Controller{ID: metadata.NoNode}
	addr := ""
	switch {
	case b.isActive():
		at.ID = b.cfg.NodeID
	case b.controller != nil:
		if at.ID = b.controller.Leader(); at.ID >= 0 {
			addr = b.controllerAddr(at.ID)
		}
	default:
		addr = b.controllers.latest()
	}
	if host, port, err := splitAddr(addr); err == nil {
		at.Host, at.Port = host, uint16(port)
	}
	return at
}

// TopicLabel is the DNS label that stands for a topic in the names of its partitions' leaders. all are the names of all
// topics: one whose name is the same but for case takes the plain label away.
func TopicLabel(name string, id [16]byte, all iter.Seq[string]) string {
	alone := true
	for other := range all {
		alone = alone && (other == name || !strings.EqualFold(other, name))
	}
	return zone.Label(name, id, alone)
}
