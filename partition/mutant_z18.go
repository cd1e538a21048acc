//go:build z18

package partition

const mutant = 18
