package metadata

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The functions here make a key's apply from the place its value goes to. The texts of
// their errors are Kafka's: clients and tools print them.

func boolean(to func(*TopicConfig) *bool) func(*TopicConfig, string) error {
	return func(c *TopicConfig, v string) error {
		switch {
		case strings.EqualFold(v, "true"):
			*to(c) = true
		case strings.EqualFold(v, "false"):
			*to(c) = false
		default:
			return errors.New("Expected value to be either true or false")
		}
		return nil
	}
}

// number parses as Java does: an optional sign and decimal digits.
func number(v string, bits int, lowest, highest int64) (int64, error) {
	n, err := strconv.ParseInt(v, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("Not a number of type %s", map[int]string{32: "INT", 64: "LONG"}[bits])
	}
	if n < lowest {
		return 0, fmt.Errorf("Value must be at least %d", lowest)
	}
	if n > highest {
		return 0, fmt.Errorf("Value must be no more than %d", highest)
	}
	return n, nil
}

func int32At(lowest int64, to func(*TopicConfig) *int) func(*TopicConfig, string) error {
	return func(c *TopicConfig, v string) error {
		n, err := number(v, 32, lowest, math.MaxInt32)
		*to(c) = int(n)
		return err
	}
}

func int64At(bits int, lowest int64, to func(*TopicConfig) *int64) func(*TopicConfig, string) error {
	return func(c *TopicConfig, v string) error {
		n, err := number(v, bits, lowest, math.MaxInt64)
		*to(c) = n
		return err
	}
}

func millis(lowest int64, to func(*TopicConfig) *time.Duration) func(*TopicConfig, string) error {
	return func(c *TopicConfig, v string) error {
		n, err := number(v, 64, lowest, math.MaxInt64)
		*to(c) = Millis(n)
		return err
	}
}

// Millis turns milliseconds into a Duration; what does not fit becomes the longest one.
func Millis(ms int64) time.Duration {
	const most = math.MaxInt64 / int64(time.Millisecond)
	switch {
	case ms > most:
		return math.MaxInt64
	case ms < -most:
		return math.MinInt64
	}
	return time.Duration(ms) * time.Millisecond
}

func level(lowest, highest int64, standard int64, to func(*TopicConfig) *int) func(*TopicConfig, string) error {
	return func(c *TopicConfig, v string) error {
		n, err := number(v, 32, math.MinInt32, math.MaxInt32)
		if err != nil {
			return err
		}
		if n != standard && (n < lowest || n > highest) {
			return fmt.Errorf("Value must be between %d and %d or equal to %d", lowest, highest, standard)
		}
		*to(c) = int(n)
		return nil
	}
}

func ratio(c *TopicConfig, v string) error {
	f, err := strconv.ParseFloat(v, 64)
	switch {
	case err != nil || math.IsNaN(f):
		return errors.New("Not a number of type DOUBLE")
	case f < 0:
		return errors.New("Value must be at least 0")
	case f > 1:
		return errors.New("Value must be no more than 1")
	}
	c.MinCleanableDirtyRatio = f
	return nil
}

func oneOf(v string, names ...string) (int, error) {
	if i := slices.Index(names, v); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("String must be one of: %s", strings.Join(names, ", "))
}

func compression(c *TopicConfig, v string) error {
	i, err := oneOf(v, "uncompressed", "zstd", "lz4", "snappy", "gzip", "producer")
	c.Compression = [...]Compression{CompressionNone, CompressionZstd, CompressionLZ4, CompressionSnappy, CompressionGzip, CompressionProducer}[i]
	return err
}

func timestampType(c *TopicConfig, v string) error {
	i, err := oneOf(v, "CreateTime", "LogAppendTime")
	c.LogAppendTime = i == 1
	return err
}

// SplitList splits a list value; the empty value is the empty list.
func SplitList(v string) []string {
	if v = strings.TrimSpace(v); v == "" {
		return nil
	}
	parts := strings.Split(v, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// policy accepts an empty list too: keep for ever.
func policy(c *TopicConfig, v string) error {
	c.Compact, c.Delete = false, false
	for _, p := range SplitList(v) {
		i, err := oneOf(p, "compact", "delete")
		if err != nil {
			return err
		}
		to := []*bool{&c.Compact, &c.Delete}[i]
		if *to {
			return errors.New("Duplicate values are not allowed")
		}
		*to = true
	}
	return nil
}

var throttle = regexp.MustCompile(`^([0-9]+:[0-9]+)?(,[0-9]+:[0-9]+)*$`)

func throttled(to func(*TopicConfig) *[]string) func(*TopicConfig, string) error {
	return func(c *TopicConfig, v string) error {
		list := SplitList(v)
		if joined := strings.Join(list, ","); joined != "*" && !throttle.MatchString(joined) {
			return errors.New("Value must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...")
		}
		*to(c) = list
		return nil
	}
}
