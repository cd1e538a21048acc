package listener

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

// certificate signs itself for every name that a test asks for.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"*.kafka.example"}}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// named answers with the name the client asked for.
type named struct{ names chan string }

func (n named) Open(c *Conn) Session {
	n.names <- c.ServerName()
	return n
}
func (n named) Burst([][]byte) error { return io.EOF }
func (n named) Close()               {}

func secretListener(t *testing.T, n named) *Listener {
	t.Helper()
	l, err := New(Config{
		Name: "SSL", Addr: "127.0.0.1:0", Handler: n, HandshakeTimeout: 200 * time.Millisecond,
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}, MinVersion: tls.VersionTLS12},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- l.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestASessionKnowsTheNameTheClientAskedFor(t *testing.T) {
	n := named{make(chan string, 1)}
	l := secretListener(t, n)
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{ServerName: "b3.kafka.example", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := <-n.names; got != "b3.kafka.example" {
		t.Errorf("the name is %q", got)
	}
}

// Bad inputs 12, 99 and 100.
func TestWhatIsNoHandshakeEndsBeforeASession(t *testing.T) {
	n := named{make(chan string, 1)}
	l := secretListener(t, n)
	for name, speak := range map[string]func(nc net.Conn){
		"plaintext": func(nc net.Conn) { _, _ = nc.Write(op(1, 'e')) },
		"silence":   func(net.Conn) {},
		"TLS 1.1": func(nc net.Conn) {
			_ = tls.Client(nc, &tls.Config{MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true}).Handshake()
		},
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			before := l.Stats().Closed["tls_handshake"]
			speak(nc)
			_ = nc.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.Copy(io.Discard, nc); err != nil && name != "plaintext" && name != "TLS 1.1" {
				t.Error(err) // with bytes unread it may be a reset
			}
			for deadline := time.Now().Add(10 * time.Second); l.Stats().Closed["tls_handshake"] == before; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it is not counted")
				}
			}
		})
	}
	select {
	case <-n.names:
		t.Error("a session was opened")
	default:
	}
}
