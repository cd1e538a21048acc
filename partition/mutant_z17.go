//go:build z17

package partition

const mutant = 17
