//go:build z6

package decide

const mutant = 6
