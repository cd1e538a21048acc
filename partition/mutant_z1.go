//go:build z1

package partition

const mutant = 1
