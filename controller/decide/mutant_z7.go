//go:build z7

package decide

const mutant = 7
