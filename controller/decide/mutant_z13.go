//go:build z13

package decide

const mutant = 13
