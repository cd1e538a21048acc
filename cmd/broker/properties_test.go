package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// The rows are what java.util.Properties makes of the text.
func TestPropertiesAreReadAsJavaReadsThem(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []property
	}{
		{"nothing", "", nil},
		{"comments and blanks", "# a\n! b\n\n  \t\f\n   # c", nil},
		{"a comment does not go on", "# a \\\nb=c", []property{{"b", "c", 2}}},
		{"equals", "a=b", []property{{"a", "b", 1}}},
		{"colon", "a:b", []property{{"a", "b", 1}}},
		{"blank", "a b c", []property{{"a", "b c", 1}}},
		{"blanks around", "  a \t= \f b ", []property{{"a", "b ", 1}}},
		{"only the first separator", "a = = b", []property{{"a", "= b", 1}}},
		{"both separators", "a=:b", []property{{"a", ":b", 1}}},
		{"no value", "a\nb=\nc:", []property{{"a", "", 1}, {"b", "", 2}, {"c", "", 3}}},
		{"a comment sign in a value", "a=b # c", []property{{"a", "b # c", 1}}},
		{"escaped separators", `a\=b\:c\ d=e`, []property{{"a=b:c d", "e", 1}}},
		{"escapes", `a=\t\n\r\f\\\"\q`, []property{{"a", "\t\n\r\f\\\"q", 1}}},
		{"a blank value begins with a backslash", `a=\ b`, []property{{"a", " b", 1}}},
		{"unicode", `a=\u00e4\u20ac`, []property{{"a", "ä€", 1}}},
		{"beyond 16 bits", `a=\uD83D\uDE00`, []property{{"a", "😀", 1}}},
		{"half of a pair", `a=\uD83Dx`, []property{{"a", "\uFFFDx", 1}}},
		{"two first halves", `a=\uD83D\uD83D\uDE00`, []property{{"a", "\uFFFD😀", 1}}},
		{"UTF-8", "ä=€", []property{{"ä", "€", 1}}},
		{"byte order mark", "\uFEFFa=b", []property{{"a", "b", 1}}},
		{"continued", "a=b,\\\n   c\nd=e", []property{{"a", "b,c", 1}, {"d", "e", 3}}},
		{"continued key", "a\\\nb=c", []property{{"ab", "c", 1}}},
		{"continued thrice", "a=1\\\n2\\\r\n3\\\r4", []property{{"a", "1234", 1}}},
		{"an escaped backslash does not continue", "a=b\\\\\nc=d", []property{{"a", `b\`, 1}, {"c", "d", 2}}},
		{"three backslashes do", "a=b\\\\\\\nc", []property{{"a", `b\c`, 1}}},
		{"continued by a comment sign", "a=b\\\n#c", []property{{"a", "b#c", 1}}},
		{"continued into the end", "a=b\\", []property{{"a", "b", 1}}},
		{"continued into nothing", "\\\n\\\n", nil},
		{"line ends of three systems", "a=1\nb=2\r\nc=3\rd=4", []property{{"a", "1", 1}, {"b", "2", 2}, {"c", "3", 3}, {"d", "4", 4}}},
	} {
		got, err := parseProperties([]byte(c.text))
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q gives %+v, %v; want %+v", c.name, c.text, got, err, c.want)
		}
	}
}

func TestBadPropertiesAreRefusedWithTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"a=1\n=b":         `2: no key before "=b"`,
		"a=1\n\n:":        `3: no key before ":"`,
		`a=\u12`:          `1: a: \u wants four`,
		`a=\u12G4`:        `1: a: \u12G4: want four`,
		`a=C:\users`:      `1: a: \users: want four hexadecimal digits; for a backslash write \\`,
		`\uZZZZ=1`:        "1: \\uZZZZ",
		"a=1\nb=\xff":     "2: not UTF-8",
		"a=\\uD83D\\uZZ":  `\u`,
		"a=1\\\n\\uQQQQx": "1: a: \\uQQQQ",
	} {
		if _, err := parseProperties([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := parseProperties(make([]byte, maxPropertyFile+1)); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a file without end: %v", err)
	}
}

func TestPropertyFileProblemsComeTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.properties")
	if err := os.WriteFile(path, []byte("a=1\nb=\\u1\na=2\nc=3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := loadProperties(path)
	want := path + ":2: b: \\u wants four hexadecimal digits; for a backslash write \\\\\n" + path + ":3: a is given twice, first on line 1; remove one"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if s := got["c"]; s.Value != "3" || s.File != path || s.Line != 4 {
		t.Errorf("%+v", s)
	}
	if _, err := loadProperties(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "leave -c away") {
		t.Errorf("%v", err)
	}
}

// escape writes text so that reading gives it back, whatever it holds.
func escape(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		b.WriteString(`\u`)
		for shift := 12; shift >= 0; shift -= 4 {
			b.WriteByte("0123456789abcdef"[u>>shift&15])
		}
	}
	return b.String()
}

func FuzzProperties(f *testing.F) {
	f.Add([]byte("a = b\\\n c\n#d\n\\u00e4:\\t"))
	f.Add([]byte("\uFEFF\r\r\n\\\\\\\n=:"))
	f.Add([]byte("a\\"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parseProperties(text)
		natural := strings.Count(string(text), "\n") + strings.Count(string(text), "\r") + 1
		last := 0
		var again strings.Builder
		for _, p := range list {
			if p.key == "" || p.line <= last || p.line > natural || !utf8.ValidString(p.key+p.value) {
				t.Fatalf("%q: %+v after line %d", text, p, last)
			}
			last = p.line
			again.WriteString(escape(p.key) + "=" + escape(p.value) + "\n")
		}
		if err != nil || again.Len() > maxPropertyFile {
			return
		}
		back, err := parseProperties([]byte(again.String()))
		if err != nil || len(back) != len(list) {
			t.Fatalf("%q: written again as %q: %v", text, again.String(), err)
		}
		for i := range back {
			if back[i].key != list[i].key || back[i].value != list[i].value {
				t.Fatalf("%q: %+v became %+v", text, list[i], back[i])
			}
		}
	})
}
