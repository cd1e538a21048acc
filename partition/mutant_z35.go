//go:build z35

package partition

const mutant = 35
