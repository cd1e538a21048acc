//go:build z25

package partition

const mutant = 25
