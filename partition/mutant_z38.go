//go:build z38

package partition

const mutant = 38
