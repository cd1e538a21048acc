//go:build z36

package broker

const mutant = 36
