package broker

import "testing"

// One random id in 64 begins with a dash in its text form and is refused by the controller.
func TestNewIDsAreNeverReserved(t *testing.T) {
	for range 10_000 {
		if id := newUUID(); id.Reserved() {
			t.Fatalf("%s is reserved", id)
		}
	}
}
