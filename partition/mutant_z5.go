//go:build z5

package partition

const mutant = 5
