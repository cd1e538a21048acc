//go:build z12

package partition

const mutant = 12
