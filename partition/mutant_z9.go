//go:build z9

package partition

const mutant = 9
