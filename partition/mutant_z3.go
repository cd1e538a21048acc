//go:build z3

package partition

const mutant = 3
