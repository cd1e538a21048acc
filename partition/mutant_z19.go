//go:build z19

package partition

const mutant = 19
