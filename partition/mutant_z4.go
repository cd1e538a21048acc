//go:build z4

package partition

const mutant = 4
