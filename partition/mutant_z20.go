//go:build z20

package partition

const mutant = 20
