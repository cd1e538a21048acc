//go:build z2

package partition

const mutant = 2
