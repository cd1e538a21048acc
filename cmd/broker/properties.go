package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"cordwood/broker"
)

// A property file is read as Java reads it, so that Kafka's files mean here what they mean there:
//
//	# comment, also with !
//	key=value      key:value      key value      key            (empty value)
//	key = a long \
//	      value               a backslash at the end of a line continues it; leading blanks of the next one go
//	path=C\:\\data\u0020x     escapes: \t \n \r \f \uXXXX, and any other character after a backslash is itself
//
// Two things differ: the bytes are UTF-8, and a key given twice is an error, for one of the two was meant.

// maxPropertyFile bounds what is read; Kafka's own sample has 7 KB.
const maxPropertyFile = 1 << 20

// property is one key of a file and the line it begins on.
type property struct {
	key, value string
	line       int
}

// loadProperties reads a file into settings. All problems come at once, each with its line.
func loadProperties(path string) (map[string]broker.Setting, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("property file: %w; create it, or leave -c away to use the defaults", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPropertyFile+1))
	if err != nil {
		return nil, fmt.Errorf("property file: %w", err)
	}
	list, err := parseProperties(text)
	problems := []error{}
	for _, e := range split(err) {
		problems = append(problems, fmt.Errorf("%s:%w", path, e))
	}
	settings := map[string]broker.Setting{}
	for _, p := range list {
		if first, twice := settings[p.key]; twice {
			problems = append(problems, fmt.Errorf("%s:%d: %s is given twice, first on line %d; remove one", path, p.line, p.key, first.Line))
			continue
		}
		settings[p.key] = broker.Setting{Value: p.value, File: path, Line: p.line}
	}
	return settings, errors.Join(problems...)
}

// split takes joined errors apart.
func split(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// parseProperties reads the text of a property file. What can be read is returned also when there are errors; they
// begin with the number of the line.
func parseProperties(text []byte) ([]property, error) {
	if len(text) > maxPropertyFile {
		return nil, fmt.Errorf("1: the file is larger than %d bytes; is it a property file?", maxPropertyFile)
	}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%d: not UTF-8; write other characters as \\uXXXX", 1+bytes.Count(text[:firstInvalid(text)], []byte("\n")))
	}
	var out []property
	var problems []error
	s := lines{rest: strings.TrimPrefix(string(text), "\uFEFF")}
	for s.next() {
		p, err := parseProperty(s.line)
		p.line = s.first
		if err != nil {
			problems = append(problems, fmt.Errorf("%d: %w", s.first, err))
			continue
		}
		out = append(out, p)
	}
	return out, errors.Join(problems...)
}

func firstInvalid(text []byte) int {
	for i := 0; ; {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
}

const blanks = " \t\f"

// lines cuts a text into logical lines: no comments, no empty ones, continuations joined.
type lines struct {
	rest  string
	at    int // natural lines taken
	line  string
	first int // number of the natural line on which line begins
}

func (s *lines) next() bool {
	for s.rest != "" {
		natural := strings.TrimLeft(s.natural(), blanks)
		if natural == "" || natural[0] == '#' || natural[0] == '!' {
			continue
		}
		s.first = s.at
		if !continues(natural) {
			s.line = natural
			return true
		}
		var b strings.Builder // a file may be one logical line
		for continues(natural) && s.rest != "" {
			b.WriteString(natural[:len(natural)-1])
			natural = strings.TrimLeft(s.natural(), blanks)
		}
		b.WriteString(strings.TrimSuffix(natural, strings.Repeat("\\", trailing(natural)%2)))
		if s.line = b.String(); s.line == "" {
			continue
		}
		return true
	}
	return false
}

// natural takes one line; it ends with \n, \r or both.
func (s *lines) natural() string {
	s.at++
	i := strings.IndexAny(s.rest, "\r\n")
	if i < 0 {
		line := s.rest
		s.rest = ""
		return line
	}
	line, rest := s.rest[:i], s.rest[i+1:]
	if s.rest[i] == '\r' {
		rest = strings.TrimPrefix(rest, "\n")
	}
	s.rest = rest
	return line
}

// continues says whether a line goes on: it ends with a backslash that is not itself escaped.
func continues(line string) bool { return trailing(line)%2 == 1 }

func trailing(line string) int { return len(line) - len(strings.TrimRight(line, `\`)) }

// parseProperty cuts a logical line into key and value.
func parseProperty(line string) (property, error) {
	end := len(line)
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
			continue
		}
		if strings.IndexByte("=:"+blanks, line[i]) >= 0 {
			end = i
			break
		}
	}
	value := strings.TrimLeft(line[end:], blanks)
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = strings.TrimLeft(value[1:], blanks)
	}
	key, err := unescape(line[:end])
	if err != nil {
		return property{}, err
	}
	if key == "" {
		return property{}, fmt.Errorf("no key before %q; write key=value", line[end:])
	}
	value, err = unescape(value)
	if err != nil {
		return property{}, fmt.Errorf("%s: %w", key, err)
	}
	return property{key: key, value: value}, nil
}

var escapes = map[byte]byte{'t': '\t', 'n': '\n', 'r': '\r', 'f': '\f'}

// unescape resolves backslashes. Characters beyond 16 bits are two \u escapes, as Java writes them.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if s[i] != 'u' {
			if c, ok := escapes[s[i]]; ok {
				b.WriteByte(c)
			} else {
				b.WriteByte(s[i])
			}
			continue
		}
		r, err := unit(s[i+1:])
		if err != nil {
			return "", err
		}
		i += 4
		if utf16.IsSurrogate(r) && strings.HasPrefix(s[i+1:], `\u`) {
			low, err := unit(s[i+3:])
			if err != nil {
				return "", err
			}
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				r = pair
				i += 6
			}
		}
		b.WriteRune(r)
	}
	return b.String(), nil
}

// unit reads the four hexadecimal digits of a \u escape.
func unit(s string) (rune, error) {
	if len(s) < 4 {
		return 0, errors.New(`\u wants four hexadecimal digits; for a backslash write \\`)
	}
	n, err := strconv.ParseUint(s[:4], 16, 16)
	if err != nil {
		return 0, fmt.Errorf(`\u%s: want four hexadecimal digits; for a backslash write \\`, s[:4])
	}
	return rune(n), nil
}
