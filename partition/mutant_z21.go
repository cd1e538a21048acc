//go:build z21

package partition

const mutant = 21
