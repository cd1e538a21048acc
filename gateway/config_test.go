package gateway

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// settingsOf makes settings of lines key=value.
func settingsOf(lines ...string) map[string]Setting {
	out := map[string]Setting{}
	for i, l := range lines {
		k, v, _ := strings.Cut(l, "=")
		out[k] = Setting{Value: v, File: "gateway.properties", Line: i + 1}
	}
	return out
}

func TestAConfigurationThatCannotWorkIsRefusedWithItsPlaceAndTheNextStep(t *testing.T) {
	good := []string{"gateway.upstream=a:1", "listeners=PLAINTEXT://127.0.0.1:9092", "gateway.port.base=19000"}
	for _, c := range []struct{ line, want string }{
		{"listeners=9092", "gateway.properties:2: listeners=9092: want PLAINTEXT://host:port"},
		{"listeners=SASL_SSL://:9092", "want PLAINTEXT://host:port or SSL://host:port"},
		{"listeners=PLAINTEXT://:9092,SSL://:9093", "a gateway has one"},
		{"listeners=PLAINTEXT://:99999", "no port between 0 and 65535"},
		{"listeners=PLAINTEXT://:9092", "advertised.listeners: clients cannot be told the empty host"},
		{"listeners=PLAINTEXT://0.0.0.0:9092", "clients cannot be told 0.0.0.0; write the host"},
		{"listeners=SSL://127.0.0.1:9092", "ssl.keystore.location: TLS needs a key"},
		{"advertised.listeners=PLAINTEXT://0.0.0.0:9092", "no host that a client can reach"},
		{"gateway.upstream=a", `"a" is not host:port`},
		{"gateway.upstream=", "is not host:port"},
		{"gateway.host.pattern=b{node}.x", "set either gateway.host.pattern"},
		{"gateway.port.base=70000", "want a number from 0 to 65535"},
		{"gateway.prot.base=1", "unknown key; a gateway's are listeners,"},
		{"ssl.keystore.type=JKS", "want PEM"},
		{"ssl.keystore.location=x", "the listener is plaintext"},
		{"ssl.client.auth=required", "name a PEM file in ssl.truststore.location"},
		{"ssl.client.auth=maybe", "want none, requested or required"},
		{"ssl.enabled.protocols=TLSv1.1", "want TLSv1.2, TLSv1.3 or both"},
		{"gateway.health.interval.ms=1", "want a number from 100"},
		{"cordwood.http.listener=9645", "is not host:port"},
	} {
		settings := settingsOf(good...)
		key, value, _ := strings.Cut(c.line, "=")
		line := settings[key].Line
		settings[key] = Setting{Value: value, File: "gateway.properties", Line: max(line, 4*min(1, 1-line))}
		_, err := FromProperties(settings)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", c.line, err)
		}
	}
}

func TestWhatAHostPerBrokerNeeds(t *testing.T) {
	for pattern, want := range map[string]string{
		"b.kafka.example": "not a host name with {node} in it once", "b{node}{node}.x": "once", "b{node}.x:9092": "not a host name",
	} {
		_, err := FromProperties(settingsOf("gateway.upstream=a:1", "listeners=SSL://:9093", "ssl.keystore.location=x", "gateway.host.pattern="+pattern))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", pattern, err)
		}
	}
	_, err := FromProperties(settingsOf("gateway.upstream=a:1", "listeners=PLAINTEXT://:9093", "gateway.host.pattern=b{node}.x"))
	if err == nil || !strings.Contains(err.Error(), "only TLS tells") {
		t.Errorf("a host per broker without TLS: %v", err)
	}
}

func TestAWholeConfiguration(t *testing.T) {
	c, err := FromProperties(settingsOf("gateway.upstream=a:1, b:2", "listeners=SSL://:9093", "gateway.host.pattern=B{node}.Kafka.Example",
		"ssl.keystore.location=k.pem", "ssl.keystore.type=PEM", "ssl.truststore.location=t.pem", "ssl.client.auth=required", "ssl.enabled.protocols=TLSv1.3",
		"gateway.connect.timeout.ms=500", "cordwood.http.listener=none", "max.connections=7"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Upstream) != 2 || c.Upstream[1] != "b:2" || c.HostPattern != "b{node}.kafka.example" || c.PortBase != -1 || c.HTTPAddr != "" ||
		c.TLS != (TLSConfig{KeyStore: "k.pem", TrustStore: "t.pem", ClientAuth: "required", Min: tls13}) || c.ConnectTimeout != 500*time.Millisecond || c.MaxConnections != 7 {
		t.Errorf("%+v", c)
	}
}

func TestEveryKeyThatNeedsARestartIsNamed(t *testing.T) {
	was := Defaults()
	other := map[string]string{
		"gateway.drain.timeout.ms": "77", "cordwood.http.listener": "127.0.0.1:77", "connections.max.idle.ms": "7777", "socket.request.max.bytes": "7777",
		"max.connections": "77", "max.connections.per.ip": "77", "max.connection.creation.rate": "77",
	}
	for _, k := range keys {
		is := Defaults()
		if value := other[k.name]; value != "" {
			if err := k.set(&is, value); err != nil {
				t.Fatal(err)
			}
		}
		if got := needRestart(&was, &is); (len(got) == 1 && got[0] == k.name) == k.live {
			t.Errorf("%s: live is %v, but a change needs a restart of %v", k.name, k.live, got)
		}
	}
}
