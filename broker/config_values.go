package broker

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"cordwood/metadata"
)

// The setters below turn the text of a property into a field, with the bounds of the key.

func checkType(t metadata.ConfigType, value string) (err error) {
	switch t {
	case metadata.ConfigBoolean:
		_, err = parseBool(value)
	case metadata.ConfigInt:
		_, err = parseInt(value, math.MinInt32, math.MaxInt32)
	case metadata.ConfigLong:
		_, err = parseInt(value, math.MinInt64, math.MaxInt64)
	case metadata.ConfigDouble:
		_, err = strconv.ParseFloat(value, 64)
	}
	return err
}

func parseBool(value string) (bool, error) {
	switch strings.ToLower(value) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errors.New("expected true or false")
}

func parseInt(value string, least, most int64) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, errors.New("expected a whole number")
	}
	if n < least || n > most {
		return 0, fmt.Errorf("expected a number from %d to %d", least, most)
	}
	return n, nil
}

func boolTo(field func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, value string) error {
		b, err := parseBool(value)
		if err == nil {
			*field(c) = b
		}
		return err
	}
}

// intTo sets an integer field; what counts as "no limit" in Kafka (2^31-1) stays that number.
func intTo[T ~int | ~int16 | ~int32 | ~int64](least, most int64, field func(*Config) *T) func(*Config, string) error {
	return func(c *Config, value string) error {
		n, err := parseInt(value, least, most)
		if err == nil {
			*field(c) = T(n)
		}
		return err
	}
}

// limitTo sets a limit for which Kafka writes "none" as 2^31-1 and the broker as 0.
func limitTo(field func(*Config) *int) func(*Config, string) error {
	return func(c *Config, value string) error {
		n, err := parseInt(value, 0, math.MaxInt32)
		if n == math.MaxInt32 {
			n = 0
		}
		if err == nil {
			*field(c) = int(n)
		}
		return err
	}
}

// timeTo sets a duration given as a number of units.
func timeTo(unit time.Duration, least int64, field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, value string) error {
		n, err := parseInt(value, least, math.MaxInt64)
		if err != nil {
			return err
		}
		if n > math.MaxInt64/int64(unit) {
			*field(c) = math.MaxInt64
			return nil
		}
		*field(c) = time.Duration(n) * unit
		return nil
	}
}

func textTo(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, value string) error {
		*field(c) = value
		return nil
	}
}

func listTo(field func(*Config) *[]string) func(*Config, string) error {
	return func(c *Config, value string) error {
		*field(c) = metadata.SplitList(value)
		return nil
	}
}
