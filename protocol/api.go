package protocol

// Key is an api key.
type Key int16

// Listener is a set of listener kinds.
type Listener uint8

const (
	Client Listener = 1 << iota
	Internal
)

// API is one served key.
type API struct {
	Key                     Key
	Name                    string
	Min, Max, AdvertisedMin int16
	Flexible                int16 // first flexible request version, -1 never
	Listeners               Listener
	MaxFrame                int
}

func Lookup(k int16) *API          { return nil }
func APIs() []API                  { return nil }
func (a *API) Serves(v int16) bool { return v >= a.Min && v <= a.Max }
