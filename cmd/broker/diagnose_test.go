package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// serveOnce listens on a free port and gives each connection to f.
func serveOnce(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// answer reads the whole request, so that closing does not reset the connection, and answers.
func answer(b ...byte) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1<<16))
		_, _ = c.Write(b)
	}
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestConnectionFailuresAreToldApart(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	for _, c := range []struct{ name, addr, want string }{
		{"nothing listens", closed.Addr().String(), "connection refused: nothing listens on port"},
		{"an unknown name", "no-such-host.invalid:9092", "the name no-such-host.invalid is not known (DNS)"},
		{"no address", "x:y:z", "no address; write --brokers host:port"},
		{"TLS", serveOnce(t, func(c net.Conn) { _ = tls.Server(c, config).Handshake() }), "speaks TLS"},
		{"HTTP", strings.TrimPrefix(web.URL, "http://"), "speaks HTTP"},
		{"a login is wanted", serveOnce(t, answer()), "the other side hung up"},
		{"another protocol", serveOnce(t, answer([]byte("220 mail.example.com ready\r\n")...)), "not in the Kafka protocol"},
		{"half an answer", serveOnce(t, answer(0, 0, 0)), "not in the Kafka protocol"},
		{"an old broker", serveOnce(t, answer(0, 0, 0, 6, 0, 0, 0, 1, 0, 35)), "does not serve a version of the protocol"},
		{"a broker that just came up", serveOnce(t, answer(0, 0, 0, 10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)), "the broker answers now, but not before: cause; try again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := diagnose([]string{c.addr}, errors.New("cause"))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), c.addr+": ") {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestUnreachableBrokerFailsAtOnce(t *testing.T) {
	for _, line := range []string{"topic list", "produce t", "consume t", "group list", "topic create t"} {
		began := time.Now()
		code, out, errs := command(t, "x\n", append(strings.Fields(line), "-b", "127.0.0.1:1")...)
		if code != exitFailed || out != "" || !strings.Contains(errs, "127.0.0.1:1: connection refused") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q, %q", line, code, out, errs)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s: it took %s to say so", line, took)
		}
	}
}
