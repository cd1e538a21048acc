//go:build z10

package isr

const mutant = 10
