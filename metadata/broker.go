package metadata

import (
	"slices"
	"strconv"
	"strings"
)

// DecommissionKey is the dynamic config of one broker that says it is being emptied for good: it keeps what it has until
// that is moved, and is given nothing new.
const DecommissionKey = "cordwood.decommission"

// Endpoint is where a broker's listener is reached. Protocol is Kafka's number of the
// security protocol (0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL).
type Endpoint struct {
	Name     string `cbor:"1,keyasint"`
	Host     string `cbor:"2,keyasint"`
	Port     int32  `cbor:"3,keyasint"`
	Protocol int16  `cbor:"4,keyasint,omitempty"`
}

// VersionRange is what a broker can do for one feature.
type VersionRange struct {
	Min int16 `cbor:"1,keyasint"`
	Max int16 `cbor:"2,keyasint"`
}

// Broker is one registered broker. Epoch is the raft index of its registration entry,
// so it is unique and grows; a registration inside an image that is still being decided
// has the epoch 0 until the entry has its index.
type Broker struct {
	ID           NodeID                  `cbor:"1,keyasint"`
	Epoch        int64                   `cbor:"2,keyasint"`
	Incarnation  UUID                    `cbor:"3,keyasint"`
	Fenced       bool                    `cbor:"4,keyasint,omitempty"`
	ShuttingDown bool                    `cbor:"5,keyasint,omitempty"`
	Dirs         []DirID                 `cbor:"6,keyasint,omitempty"`
	Listeners    []Endpoint              `cbor:"7,keyasint,omitempty"`
	Rack         string                  `cbor:"8,keyasint,omitempty"`
	Features     map[string]VersionRange `cbor:"9,keyasint,omitempty"`
}

// Live reports whether the broker may lead and be in an ISR (I7).
func (b *Broker) Live() bool { return b != nil && !b.Fenced && !b.ShuttingDown }

// HasDir reports whether the broker has the directory; the zero id means "any of them".
func (b *Broker) HasDir(d DirID) bool { return d.IsZero() || slices.Contains(b.Dirs, d) }

// Endpoint returns the listener of that name, or nil.
func (b *Broker) Endpoint(name string) *Endpoint {
	for i := range b.Listeners {
		if b.Listeners[i].Name == name {
			return &b.Listeners[i]
		}
	}
	return nil
}

// Decommissioning reports whether a broker is being emptied for good.
func (i *Image) Decommissioning(id NodeID) bool {
	set := i.Config(ResourceBroker, strconv.Itoa(int(id)))[DecommissionKey]
	return strings.EqualFold(strings.TrimSpace(set), "true")
}

// Placeable reports whether a broker may be given replicas: it is live and stays.
func (i *Image) Placeable(id NodeID) bool { return i.Broker(id).Live() && !i.Decommissioning(id) }
