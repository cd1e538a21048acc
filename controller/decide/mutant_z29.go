//go:build z29

package decide

const mutant = 29
