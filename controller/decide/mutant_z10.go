//go:build z10

package decide

const mutant = 10
