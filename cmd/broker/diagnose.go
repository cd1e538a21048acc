package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// diagnose says why no broker answered: each address is tried once more by hand, so that a wrong name, a closed port,
// a TLS port, another protocol and an old broker can be told apart. cause is what the client library said.
func diagnose(brokers []string, cause error) error {
	var errs []error
	for _, addr := range brokers {
		errs = append(errs, diagnoseOne(addr, cause))
	}
	return errors.Join(errs...)
}

// diagnoseWait bounds each step of a diagnosis.
const diagnoseWait = 3 * time.Second

func diagnoseOne(addr string, cause error) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s: no address; write --brokers host:port", addr)
	}
	conn, err := net.DialTimeout("tcp", addr, diagnoseWait)
	if err != nil {
		return fmt.Errorf("%s: %s", addr, whyNoConnection(err, host, port))
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(diagnoseWait))
	if _, err := conn.Write(askVersions); err != nil {
		return fmt.Errorf("%s: the connection broke: %w", addr, err)
	}
	head := make([]byte, 10)
	n, err := io.ReadFull(conn, head)
	if n == 0 && speaksTLS(addr) {
		head, n = append(head[:0], tlsAlert...), len(tlsAlert)
	}
	return fmt.Errorf("%s: %s", addr, whyNoAnswer(head[:n], err, port, cause))
}

// tlsAlert is how a TLS server answers what is no TLS, if it says anything at all.
var tlsAlert = []byte{0x15, 3}

// speaksTLS tries a handshake. Whose certificate it is does not matter: nothing is sent.
func speaksTLS(addr string) bool {
	dialer := &net.Dialer{Timeout: diagnoseWait, Deadline: time.Now().Add(diagnoseWait)}
	conn, err := tls.DialWithDialer(dialer, "tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		conn.Close()
	}
	alert := new(tls.AlertError) // it wants our certificate, for example
	return err == nil || errors.As(err, alert)
}

func whyNoConnection(err error, host, port string) string {
	dns := new(net.DNSError)
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %s is not known (DNS); check its spelling, or use an IP address", host)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("connection refused: nothing listens on port %s; start a broker with `cordwood dev`, or name another one with --brokers", port)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no route to this address; check the network, or the address"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("no connection within %s; a firewall may swallow the packets, or the host is down", diagnoseWait)
	}
	return err.Error()
}

// askVersions is an ApiVersions request, version 0, correlation id 1, no client id: every broker answers it.
var askVersions = []byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff}

// whyNoAnswer looks at the first bytes that came back: of a Kafka broker length, correlation id and error code.
func whyNoAnswer(head []byte, err error, port string, cause error) string {
	text := string(head)
	switch {
	case bytes.HasPrefix(head, tlsAlert):
		return fmt.Sprintf("port %s speaks TLS, which this command does not; use the broker's PLAINTEXT listener", port)
	case strings.HasPrefix(text, "HTTP/"):
		return fmt.Sprintf("port %s speaks HTTP, not the Kafka protocol; the broker's listeners are in its start message", port)
	case len(head) == 0 && errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("connected, but nothing answered within %s; is the broker just starting or overloaded?", diagnoseWait)
	case len(head) == 0:
		return "connected, but the other side hung up: the port wants a login, or is no Kafka broker"
	case len(head) < 10 || binary.BigEndian.Uint32(head[4:]) != 1:
		return fmt.Sprintf("port %s answers, but not in the Kafka protocol", port)
	case binary.BigEndian.Uint16(head[8:]) != 0:
		return fmt.Sprintf("the broker does not serve a version of the protocol that this command speaks (code %d)", binary.BigEndian.Uint16(head[8:]))
	}
	if early := new(kgo.ErrFirstReadEOF); errors.As(cause, &early) {
		return fmt.Sprintf("port %s answers, but hung up on what came next: it is the port for other brokers, or it wants a login; the ports for clients are in the broker's start message", port)
	}
	return fmt.Sprintf("the broker answers now, but not before: %v; try again", cause)
}
