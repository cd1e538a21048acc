//go:build z28

package partition

const mutant = 28
