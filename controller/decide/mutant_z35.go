//go:build z35

package decide

const mutant = 35
