package zone

import (
	"encoding/base32"
	"fmt"
	"net/netip"
	"strings"

	"cordwood/metadata"
)

const (
	// maxLabel and maxName are DNS's limits for a label and for a whole name as text without the last dot (RFC 1035, 2.3.4).
	maxLabel = 63
	maxName  = 253
	// below is the longest there can be in front of the zone: p2147483647.<63 characters> and a dot.
	below = 11 + 1 + maxLabel + 1
)

var idText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// idLen is the length of the label of a topic id.
var idLen = len("t-") + idText.EncodedLen(len(metadata.TopicID{}))

// Label is the label that stands for a topic: its name in lower case if that is a legal label and alone says that no other
// topic's name is the same but for case, else that of its id.
func Label(name string, id metadata.TopicID, alone bool) string {
	if lower := strings.ToLower(name); alone && plain(lower) {
		return lower
	}
	return "t-" + idText.EncodeToString(id[:])
}

// plain reports whether a topic's lower-case name may be its label: one that may be part of a host's name, and means
// nothing else. Letters, digits and hyphens (RFC 1123, 2.1); no hyphens in places 3 and 4, which clients take for an
// encoded international name (RFC 5891, 4.2.3.1).
func plain(name string) bool {
	return hostLabel(name) && (len(name) < 4 || name[2:4] != "--") && !looksLikeID(name)
}

func hostLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// looksLikeID reports whether a label has the form of a topic id's: whoever named a topic so would stand where another is (N1).
func looksLikeID(label string) bool {
	if len(label) != idLen || label[:2] != "t-" {
		return false
	}
	for i := 2; i < len(label); i++ {
		if c := label[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// parseID reads what looks like the label of an id.
func parseID(label string) (id metadata.TopicID, ok bool) {
	n, err := idText.Decode(id[:], []byte(label[2:]))
	return id, err == nil && n == len(id) && Label("", id, false) == label // two spare bits could be anything
}

// Parse reads the name of a zone: lower case, without the last dot. It leaves room for the names below it.
func Parse(text string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	if _, err := netip.ParseAddr(name); err == nil || name == "" {
		return "", fmt.Errorf("%q is no domain name", text)
	}
	if len(name) > maxName-below {
		return "", fmt.Errorf("longer than %d characters: no room for names below it", maxName-below)
	}
	for _, label := range strings.Split(name, ".") {
		if !hostLabel(label) {
			return "", fmt.Errorf("%q cannot be part of a host's name", label)
		}
	}
	return name, nil
}

// Contains reports whether a host's name is that of a zone or below it.
func Contains(zone, host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == zone || strings.HasSuffix(host, "."+zone)
}
