//go:build z33

package partition

const mutant = 33
