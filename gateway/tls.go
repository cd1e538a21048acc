package gateway

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

const (
	tls12 = tls.VersionTLS12
	tls13 = tls.VersionTLS13
)

// certificates is the listener's TLS: what the files said when they were last read whole. Handshakes read it without a lock.
type certificates struct {
	now    atomic.Pointer[tls.Config]
	digest [sha256.Size]byte // of the files and what was asked of them; owned by who loads: the start, then the prober
}

// server is the configuration for listeners; it follows every load.
func (s *certificates) server() *tls.Config {
	return &tls.Config{
		MinVersion:         tls12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.now.Load(), nil },
	}
}

// read reads the files and returns what makes them count; nil if nothing changed. Files are compared by content, for
// symbolic links that are swapped defeat what watches files.
func (s *certificates) read(c TLSConfig) (use func(), err error) {
	store, err := readSecret(c.KeyStore)
	if err != nil {
		return nil, tlsError("ssl.keystore.location", c.KeyStore, err)
	}
	var trust []byte
	if c.TrustStore != "" {
		if trust, err = os.ReadFile(c.TrustStore); err != nil {
			return nil, tlsError("ssl.truststore.location", c.TrustStore, err)
		}
	}
	digest := sha256.Sum256(fmt.Appendf(bytes.Clone(store), "\x00%s\x00%s\x00%d", trust, c.ClientAuth, c.Min))
	if s.now.Load() != nil && digest == s.digest {
		return nil, nil
	}
	next := &tls.Config{MinVersion: max(c.Min, tls12)}
	pair, err := tls.X509KeyPair(store, store)
	if err != nil {
		return nil, tlsError("ssl.keystore.location", c.KeyStore, err)
	}
	next.Certificates = []tls.Certificate{pair}
	if trust != nil {
		if next.ClientCAs = x509.NewCertPool(); !next.ClientCAs.AppendCertsFromPEM(trust) {
			return nil, tlsError("ssl.truststore.location", c.TrustStore, errors.New("no certificate in it"))
		}
	}
	switch c.ClientAuth {
	case "requested":
		next.ClientAuth = tls.VerifyClientCertIfGiven
	case "required":
		next.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return func() {
		s.now.Store(next)
		s.digest = digest
	}, nil
}

// readSecret reads a file that others must not be able to read.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o004 != 0 {
		return nil, errors.New("everybody on this host may read the key: chmod o-r")
	}
	return os.ReadFile(path)
}

// tlsError never holds a byte of the files: tls and x509 name what is wrong, not what it is.
func tlsError(key, path string, err error) error {
	return &ConfigError{Key: key + "=" + path, Reason: err.Error(), Advice: "it must be a PEM file (key and certificate chain in the key store) that this process may read"}
}
