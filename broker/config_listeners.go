package broker

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"cordwood/protocol"
)

// Listeners as Kafka's files name them:
//
//	listeners=PLAINTEXT://:9092,CONTROLLER://127.0.0.1:9093
//	advertised.listeners=PLAINTEXT://broker1.example.com:9092        (or auto)
//	listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
//	controller.listener.names=CONTROLLER
//
// The controller listener is internal: it carries raft, the metadata feed and what brokers ask the controller. Brokers
// fetch from each other at inter.broker.listener.name; else at the controller listener; else, on a node that is a broker
// only, at the first listener, where fetches of followers are let in beside those of clients. A lone node without a
// controller listener gets one of its own on a free loopback port.

func isInternal(kind protocol.Listener) bool { return kind&protocol.Internal != 0 }

// resolveListeners turns the texts into addresses.
func (c *Config) resolveListeners(settings map[string]Setting, refuse func(key, reason, advice string)) {
	var listeners []ListenerConfig
	if _, set := settings["listeners"]; !set {
		listeners = []ListenerConfig{{Name: "PLAINTEXT", Addr: ":9092"}}
	}
	for name, addr := range splitListeners(c.listenersText) {
		if err := checkAddr(addr, true); name == "" || err != nil {
			refuse("listeners", fmt.Sprintf("%q is no NAME://host:port", name+"://"+addr), "write for example PLAINTEXT://:9092")
			return
		}
		for _, l := range listeners {
			if l.Name == name {
				refuse("listeners", "listener "+name+" is named twice", "give each listener a name of its own")
				return
			}
			if samePort(l.Addr, addr) {
				refuse("listeners", l.Name+" and "+name+" have the same port", "give each listener a port of its own")
				return
			}
		}
		listeners = append(listeners, ListenerConfig{Name: name, Addr: addr})
	}
	if len(listeners) == 0 {
		refuse("listeners", "no listener", "write for example PLAINTEXT://:9092")
		return
	}
	protocols := c.protocols()
	for i := range listeners {
		l := &listeners[i]
		if l.Protocol = protocols[l.Name]; l.Protocol == "" {
			refuse("listener.security.protocol.map", "no protocol for listener "+l.Name, "add "+l.Name+":PLAINTEXT")
		}
	}
	c.Listeners = c.withInternal(listeners, refuse)
	c.advertise(refuse)
}

// protocols is the protocol of each listener name; names of protocols stand for themselves.
func (c *Config) protocols() map[string]string {
	out := map[string]string{"PLAINTEXT": "PLAINTEXT", "SSL": "SSL", "SASL_PLAINTEXT": "SASL_PLAINTEXT", "SASL_SSL": "SASL_SSL"}
	if c.protocolsText == "" {
		out["CONTROLLER"] = "PLAINTEXT"
		for _, name := range c.controllerListeners {
			out[name] = "PLAINTEXT"
		}
	}
	for _, pair := range strings.Split(c.protocolsText, ",") {
		if name, p, ok := strings.Cut(strings.TrimSpace(pair), ":"); ok {
			out[strings.ToUpper(name)] = strings.ToUpper(p)
		}
	}
	return out
}

// withInternal marks the internal listener, or adds one; it is the last.
func (c *Config) withInternal(in []ListenerConfig, refuse func(key, reason, advice string)) []ListenerConfig {
	names := c.controllerNames()
	internal := -1
	for i := range in {
		in[i].Kind = protocol.Client
		if slices.Contains(names, in[i].Name) {
			in[i].Kind, internal = protocol.Internal, i
		}
	}
	switch {
	case internal >= 0:
		in = append(slices.Delete(slices.Clone(in), internal, internal+1), in[internal])
	case c.IsLone():
		in = append(in, ListenerConfig{Name: "INTERNAL", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Internal})
	case c.IsController():
		refuse("listeners", "other nodes must reach this controller, and there is no listener "+names[0], "add "+names[0]+"://:9093")
		return in
	}
	if c.InterBroker != "" && !slices.ContainsFunc(in, func(l ListenerConfig) bool { return l.Name == c.InterBroker }) && c.IsBroker() {
		refuse("inter.broker.listener.name", "there is no listener of this name", "add it to listeners")
	}
	return in
}

// controllerNames are the names a controller's listener may have.
func (c *Config) controllerNames() []string {
	if c.controllerListeners == nil {
		return []string{"CONTROLLER"}
	}
	return c.controllerListeners
}

// amongBrokers names the listener at which other brokers fetch from this one.
func (c *Config) amongBrokers() string {
	if c.InterBroker != "" || len(c.Listeners) == 0 {
		return c.InterBroker
	}
	for _, l := range c.Listeners {
		if isInternal(l.Kind) {
			return l.Name
		}
	}
	return c.Listeners[0].Name
}

// advertise takes over advertised.listeners; auto leaves the choice to each connection.
func (c *Config) advertise(refuse func(key, reason, advice string)) {
	if c.advertisedText == "" || strings.EqualFold(c.advertisedText, "auto") {
		return
	}
	for name, addr := range splitListeners(c.advertisedText) {
		i := slices.IndexFunc(c.Listeners, func(l ListenerConfig) bool { return l.Name == name })
		switch err := checkAddr(addr, false); {
		case i < 0:
			refuse("advertised.listeners", "there is no listener "+name, "name the listeners of the key listeners")
		case err != nil:
			refuse("advertised.listeners", err.Error(), "write an address clients can dial, or auto")
		default:
			c.Listeners[i].Advertised = addr
		}
	}
}

// splitListeners cuts NAME://host:port,… into pairs.
func splitListeners(text string) func(yield func(name, addr string) bool) {
	return func(yield func(name, addr string) bool) {
		for _, part := range strings.Split(text, ",") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			name, addr, _ := strings.Cut(part, "://")
			if !yield(strings.ToUpper(name), addr) {
				return
			}
		}
	}
}

// samePort says whether two addresses cannot both be bound.
func samePort(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || everywhere(hostA) || everywhere(hostB)
}

func everywhere(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// checkAddr refuses what is no host:port. An address to bind may have no host; one to advertise must be dialable.
func checkAddr(addr string, bind bool) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 && !bind {
		return fmt.Errorf("port %q is no number from 1 to 65535", port)
	}
	if !bind && everywhere(host) {
		return fmt.Errorf("%q is no address a client can dial", addr)
	}
	return nil
}
