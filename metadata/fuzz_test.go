package metadata

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A name that is accepted is one element of a path, on any system, with room for what is added to it.
func FuzzTopicName(f *testing.F) {
	for _, name := range []string{"a", "", ".", "..", "a/b", "a\\b", "con", "a\x00", strings.Repeat("x", 250), "ä", "a.b_c-9"} {
		f.Add(name, name)
	}
	f.Fuzz(func(t *testing.T, name, other string) {
		if err := ValidTopicName(name); err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		dir := name + "-2147483647"
		if len(dir)+len(".0123456789abcdef0123456789abcdef-delete") > 300 || filepath.Base(dir) != dir || filepath.Clean(dir) != dir {
			t.Errorf("%q is accepted", name)
		}
		for _, c := range []byte(name) {
			if c <= ' ' || c >= 0x7f || strings.IndexByte(`/\:*?"<>|%{}`, c) >= 0 {
				t.Errorf("%q is accepted", name)
			}
		}
		if TopicNamesCollide(name, other) != TopicNamesCollide(other, name) || !TopicNamesCollide(name, name) {
			t.Errorf("%q and %q collide one way", name, other)
		}
	})
}

// Every text of a topic's configuration is refused, or understood the same way again.
func FuzzTopicConfig(f *testing.F) {
	for _, k := range TopicKeys() {
		f.Add(k.Name, k.Default)
		f.Add(k.Name, "-1")
		f.Add(k.Name, "9223372036854775807")
	}
	f.Add("cleanup.policy", "compact,delete,")
	f.Fuzz(func(t *testing.T, key, value string) {
		overrides := map[string]string{key: value}
		valid := ValidateTopicConfig(overrides)
		c, err := DefaultTopicConfig().With(overrides)
		if (valid == nil) != (err == nil) {
			t.Errorf("%s=%q: %v, but %v", key, value, valid, err)
		}
		if again, err := c.With(overrides); valid == nil && (err != nil || !reflect.DeepEqual(again, c)) {
			t.Errorf("%s=%q: %+v became %+v, %v", key, value, c, again, err)
		}
	})
}
