package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Setting is one configured value and where it was written.
type Setting struct {
	Value string
	File  string
	Line  int
}

// ErrConfig marks what only another configuration cures.
var ErrConfig = errors.New("gateway configuration")

// ConfigError is what is wrong with one key: where, what, and what to do.
type ConfigError struct {
	Key     string
	Setting Setting
	Reason  string
	Advice  string
}

func (e *ConfigError) Error() string {
	s := e.Key
	if e.Setting.File != "" {
		s = fmt.Sprintf("%s:%d: %s=%s", e.Setting.File, e.Setting.Line, e.Key, e.Setting.Value)
	}
	return s + ": " + e.Reason + "; " + e.Advice
}

// Is makes every ConfigError an ErrConfig.
func (e *ConfigError) Is(target error) bool { return target == ErrConfig }

// Config is what a gateway is told. FromProperties makes it.
type Config struct {
	Addr       string   // where clients come for the first time, host:port; port 0: any
	Protocol   string   // PLAINTEXT or SSL
	Advertised string   // host:port by which clients reach Addr; empty: as bound
	Upstream   []string // brokers that are asked for the others, host:port

	HostPattern string // name of a broker's own address, {node} in it; empty: a port per broker
	PortBase    int    // port of broker N is PortBase+N; 0: any free one, which a restart may change; -1: a host per broker

	TLS TLSConfig

	HTTPAddr       string        // empty: none
	HealthInterval time.Duration // between two looks at every broker
	ConnectTimeout time.Duration // of a connection to a broker
	DrainTimeout   time.Duration // for requests under way when a connection or the gateway ends
	IdleTimeout    time.Duration // connections.max.idle.ms

	MaxFrame       int // socket.request.max.bytes
	MaxConnections int // of each listener; 0: no limit
	MaxPerIP       int
	ConnectionRate int // new connections per second and address

	// Ready, if set, is called once, when the first round of looks at the brokers is done.
	Ready func(Addrs)
	Log   *zap.Logger
}

// TLSConfig names the PEM files of the listener. They are read again while the gateway runs.
type TLSConfig struct {
	KeyStore   string // private key and certificate chain
	TrustStore string // certificates that sign clients'
	ClientAuth string // none, requested or required
	Min        uint16 // tls.VersionTLS12 or 13
}

// key is one key of the file.
type key struct {
	name string
	set  func(c *Config, value string) error
	live bool // counts after a reload; others need a restart
}

// keys are all keys of a gateway's file. Kafka's names where Kafka has one.
var keys = []key{
	{"listeners", func(c *Config, v string) error { return c.setListener(v) }, true},
	{"advertised.listeners", func(c *Config, v string) error { return c.setAdvertised(v) }, true},
	{"gateway.upstream", func(c *Config, v string) error { return setAddrs(&c.Upstream, v) }, true},
	{"gateway.host.pattern", func(c *Config, v string) error { c.HostPattern = strings.ToLower(v); return nil }, true},
	{"gateway.port.base", func(c *Config, v string) error { return setInt(&c.PortBase, v, 0, 65535) }, true},
	{"gateway.health.interval.ms", func(c *Config, v string) error { return setMillis(&c.HealthInterval, v, 100) }, true},
	{"gateway.connect.timeout.ms", func(c *Config, v string) error { return setMillis(&c.ConnectTimeout, v, 100) }, true},
	{"ssl.keystore.type", setPEM, true},
	{"ssl.keystore.location", func(c *Config, v string) error { c.TLS.KeyStore = v; return nil }, true},
	{"ssl.truststore.type", setPEM, true},
	{"ssl.truststore.location", func(c *Config, v string) error { c.TLS.TrustStore = v; return nil }, true},
	{"ssl.client.auth", func(c *Config, v string) error { return c.TLS.setClientAuth(v) }, true},
	{"ssl.enabled.protocols", func(c *Config, v string) error { return c.TLS.setProtocols(v) }, true},
	{"gateway.drain.timeout.ms", func(c *Config, v string) error { return setMillis(&c.DrainTimeout, v, 1) }, false},
	{"cordwood.http.listener", func(c *Config, v string) error { return setHTTP(&c.HTTPAddr, v) }, false},
	{"connections.max.idle.ms", func(c *Config, v string) error { return setMillis(&c.IdleTimeout, v, 1000) }, false},
	{"socket.request.max.bytes", func(c *Config, v string) error { return setInt(&c.MaxFrame, v, 1024, 1<<31-1) }, false},
	{"max.connections", func(c *Config, v string) error { return setInt(&c.MaxConnections, v, 0, 1<<31-1) }, false},
	{"max.connections.per.ip", func(c *Config, v string) error { return setInt(&c.MaxPerIP, v, 0, 1<<31-1) }, false},
	{"max.connection.creation.rate", func(c *Config, v string) error { return setInt(&c.ConnectionRate, v, 0, 1<<31-1) }, false},
}

func findKey(name string) *key {
	if i := slices.IndexFunc(keys, func(k key) bool { return k.name == name }); i >= 0 {
		return &keys[i]
	}
	return nil
}

// Defaults is the configuration before any key.
func Defaults() Config {
	return Config{
		Addr: ":9092", Protocol: "PLAINTEXT", PortBase: -1, TLS: TLSConfig{ClientAuth: "none", Min: tls12},
		HTTPAddr: "127.0.0.1:9645", HealthInterval: 2 * time.Second, ConnectTimeout: 3 * time.Second, DrainTimeout: 10 * time.Second,
		IdleTimeout: 10 * time.Minute, MaxFrame: 100 << 20,
	}
}

// FromProperties reads the keys of a file. All problems come at once, each a *ConfigError.
func FromProperties(settings map[string]Setting) (Config, error) {
	c := Defaults()
	var problems []error
	refuse := func(name, reason, advice string) {
		problems = append(problems, &ConfigError{Key: name, Setting: settings[name], Reason: reason, Advice: advice})
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		k := findKey(name)
		if k == nil {
			refuse(name, "unknown key", "a gateway's are "+strings.Join(keyNames(), ", "))
			continue
		}
		if err := k.set(&c, settings[name].Value); err != nil {
			refuse(name, err.Error(), "see docs/gateway.md")
		}
	}
	if len(problems) == 0 {
		c.check(refuse)
	}
	return c, errors.Join(problems...)
}

func keyNames() []string {
	var out []string
	for _, k := range keys {
		out = append(out, k.name)
	}
	return out
}

// check refuses what cannot work together.
func (c *Config) check(refuse func(name, reason, advice string)) {
	hosts, ports := c.HostPattern != "", c.PortBase >= 0
	if len(c.Upstream) == 0 {
		refuse("gateway.upstream", "no broker is named", "write the brokers' addresses, as gateway.upstream=10.0.0.1:9092,10.0.0.2:9092")
	}
	switch {
	case hosts == ports:
		refuse("gateway.host.pattern", "clients need one address per broker", "set either gateway.host.pattern (SSL: a host per broker) or gateway.port.base (a port per broker)")
	case hosts && c.Protocol != "SSL":
		refuse("gateway.host.pattern", "only TLS tells by which name a client came", "use listeners=SSL://…, or gateway.port.base instead")
	case hosts && (strings.Count(c.HostPattern, "{node}") != 1 || strings.ContainsAny(c.HostPattern, ":/ ") || len(c.HostPattern) > 240):
		refuse("gateway.host.pattern", "not a host name with {node} in it once", "write it as b{node}.kafka.example")
	}
	if c.Protocol == "SSL" && c.TLS.KeyStore == "" {
		refuse("ssl.keystore.location", "TLS needs a key and a certificate", "name a PEM file with both")
	}
	if c.Protocol != "SSL" && c.TLS.KeyStore != "" {
		refuse("ssl.keystore.location", "the listener is plaintext", "use listeners=SSL://…, or remove it")
	}
	if c.TLS.ClientAuth != "none" && c.TLS.TrustStore == "" {
		refuse("ssl.client.auth", "nobody knows whose certificates to trust", "name a PEM file in ssl.truststore.location")
	}
	if host, _, _ := net.SplitHostPort(c.Addr); ports && c.Advertised == "" && wildcard(host) {
		refuse("advertised.listeners", "clients cannot be told "+cmp.Or(host, "the empty host"), "write the host by which clients reach this gateway, as advertised.listeners="+c.Protocol+"://kafka.example:9092")
	}
}

func wildcard(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }

func (c *Config) setListener(v string) error {
	protocol, addr, err := endpoint(v)
	if err != nil {
		return err
	}
	c.Protocol, c.Addr = protocol, addr
	return nil
}

func (c *Config) setAdvertised(v string) error {
	_, addr, err := endpoint(v)
	if err != nil {
		return err
	}
	if host, _, _ := net.SplitHostPort(addr); wildcard(host) {
		return errors.New("no host that a client can reach")
	}
	c.Advertised = addr
	return nil
}

// endpoint reads PROTOCOL://host:port.
func endpoint(v string) (protocol, addr string, err error) {
	if strings.Contains(v, ",") {
		return "", "", errors.New("a gateway has one; brokers get theirs by gateway.host.pattern or gateway.port.base")
	}
	protocol, addr, ok := strings.Cut(v, "://")
	protocol = strings.ToUpper(protocol)
	if !ok || protocol != "PLAINTEXT" && protocol != "SSL" {
		return "", "", errors.New("want PLAINTEXT://host:port or SSL://host:port")
	}
	return protocol, addr, checkAddr(addr)
}

func checkAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not host:port", addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q has no port between 0 and 65535", addr)
	}
	return nil
}

func setAddrs(to *[]string, v string) error {
	for part := range strings.SplitSeq(v, ",") {
		part = strings.TrimSpace(part)
		if err := checkAddr(part); err != nil {
			return err
		}
		*to = append(*to, part)
	}
	return nil
}

func setInt(to *int, v string, least, most int) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return fmt.Errorf("want a number from %d to %d", least, most)
	}
	*to = n
	return nil
}

func setMillis(to *time.Duration, v string, least int) error {
	n := 0
	if err := setInt(&n, v, least, 1<<31-1); err != nil {
		return err
	}
	*to = time.Duration(n) * time.Millisecond
	return nil
}

func setHTTP(to *string, v string) error {
	if v == "none" {
		*to = ""
		return nil
	}
	*to = v
	return checkAddr(v)
}

func setPEM(_ *Config, v string) error {
	if v != "PEM" {
		return errors.New("want PEM; `openssl pkcs12 -in FILE -nodes -out FILE.pem` makes one of a PKCS12 store")
	}
	return nil
}

func (t *TLSConfig) setClientAuth(v string) error {
	if v != "none" && v != "requested" && v != "required" {
		return errors.New("want none, requested or required")
	}
	t.ClientAuth = v
	return nil
}

func (t *TLSConfig) setProtocols(v string) error {
	t.Min = tls13
	for part := range strings.SplitSeq(v, ",") {
		switch strings.TrimSpace(part) {
		case "TLSv1.2":
			t.Min = tls12
		case "TLSv1.3":
		default:
			return errors.New("want TLSv1.2, TLSv1.3 or both")
		}
	}
	return nil
}

// needRestart names the keys in which two configurations differ and that a reload cannot change.
func needRestart(was, is *Config) []string {
	var out []string
	differ := func(name string, d bool) {
		if d {
			out = append(out, name)
		}
	}
	differ("listeners", was.Protocol != is.Protocol)
	differ("gateway.drain.timeout.ms", was.DrainTimeout != is.DrainTimeout)
	differ("cordwood.http.listener", was.HTTPAddr != is.HTTPAddr)
	differ("connections.max.idle.ms", was.IdleTimeout != is.IdleTimeout)
	differ("socket.request.max.bytes", was.MaxFrame != is.MaxFrame)
	differ("max.connections", was.MaxConnections != is.MaxConnections)
	differ("max.connections.per.ip", was.MaxPerIP != is.MaxPerIP)
	differ("max.connection.creation.rate", was.ConnectionRate != is.ConnectionRate)
	return out
}
