//go:build process

package process

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key}
}

// issue writes a PEM file with a new key and a certificate of this serial number for the names.
func (a *authority) issue(path string, serial int64, names ...string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) trust() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{RootCAs: pool}
}

// names resolves every name to the gateway, checks certificates against it, and remembers it.
type names struct {
	mu   sync.Mutex
	seen map[string]bool
	tls  *tls.Config
	to   string
}

func (n *names) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.seen[host] = true
	n.mu.Unlock()
	c := n.tls.Clone()
	c.ServerName = host
	return (&tls.Dialer{Config: c}).DialContext(ctx, network, n.to)
}

// One TLS port is enough for a cluster: the name in the handshake leads to the broker. Certificates and the file are read again
// while clients go on.
func TestOneTLSPortLeadsToEveryBrokerByItsName(t *testing.T) {
	t.Parallel()
	c := NewCluster(t, 3)
	c.Start()
	ca, store := newAuthority(t), filepath.Join(t.TempDir(), "gateway.pem")
	ca.issue(store, 10, "kafka.example", "*.kafka.example")
	lines := []string{"listeners=SSL://127.0.0.1:0", "advertised.listeners=SSL://kafka.example:9093", "gateway.host.pattern=b{node}.kafka.example",
		"gateway.health.interval.ms=200", "ssl.keystore.location=" + store, upstream(c)}
	g := NewGateway(t, lines...)
	g.Start()
	for i := range c.Nodes {
		g.AwaitMetric(fmt.Sprintf(`cordwood_gateway_upstream_up{node="%d"} 1`, i+1))
	}
	n := &names{seen: map[string]bool{}, tls: ca.trust(), to: g.Addr}
	ctx := Context(t, time.Minute)
	opts := []kgo.Opt{kgo.SeedBrokers("kafka.example:9093"), kgo.Dialer(n.dial)}
	cl := g.Client(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if r, err := kadm.NewClient(cl).CreateTopic(ctx, 6, 3, nil, "secret"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	var sent []*kgo.Record
	for i := range 600 {
		sent = append(sent, &kgo.Record{Topic: "secret", Partition: int32(i % 6), Value: []byte(strings.Repeat("x", i))})
	}
	if err := cl.ProduceSync(ctx, sent...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	reader := g.Client(append(opts, kgo.ConsumeTopics("secret"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	for got := 0; got < len(sent); {
		f := reader.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		got += f.NumRecords()
	}
	for _, host := range []string{"kafka.example", "b1.kafka.example", "b2.kafka.example", "b3.kafka.example"} {
		if !n.seen[host] {
			t.Errorf("nobody came by the name %s; %v", host, n.seen)
		}
	}
	if len(n.seen) != 4 {
		t.Errorf("clients heard of %v", n.seen)
	}
	g.renewed(ca, store, lines, n.tls)
}

// renewed changes the certificate, then breaks the file, and looks at what a new client is shown.
func (g *Gateway) renewed(ca *authority, store string, lines []string, trust *tls.Config) {
	g.t.Helper()
	serial := func() int64 {
		c := trust.Clone()
		c.ServerName = "b2.kafka.example"
		nc, err := tls.Dial("tcp", g.Addr, c)
		if err != nil {
			g.t.Fatal(err)
		}
		defer nc.Close()
		return nc.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if s := serial(); s != 10 {
		g.t.Errorf("the certificate is %d", s)
	}
	ca.issue(store, 11, "kafka.example", "*.kafka.example")
	g.Reload()
	g.awaitLog("configuration read again")
	if s := serial(); s != 11 {
		g.t.Errorf("after SIGHUP the certificate is %d", s)
	}
	g.Write(append(lines, "gateway.prot=1")...)
	g.Reload()
	g.awaitLog("gateway.properties:8: gateway.prot=1: unknown key")
	if s := serial(); s != 11 {
		g.t.Errorf("after a bad file the certificate is %d", s)
	}
}

// awaitLog waits until the process has said something.
func (g *Gateway) awaitLog(text string) {
	g.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(string(g.WholeLog()), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Fatalf("%q is not in\n%s", text, g.Log())
		}
	}
}
