//go:build z26

package partition

const mutant = 26
