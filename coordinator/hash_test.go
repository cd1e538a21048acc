package coordinator

import "testing"

// The hashes are Java's.
func TestPartitionForIsJavas(t *testing.T) {
	for key, want := range map[string]int32{
		"":                   0,
		"a":                  97 % 50,
		"hello":              99162322 % 50,
		"polygenelubricants": 0,               // hashCode is the smallest int
		"test-consumer":      1633106223 % 50, // hashCode is -1633106223
		"\U0001f600":         1772899 % 50,    // two units: d83d de00
		"é":                  233 % 50,
	} {
		if got := PartitionFor(key, 50); got != want {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
	}
	if PartitionFor("a", 0) != 0 {
		t.Error("no partitions")
	}
}
