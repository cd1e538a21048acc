//go:build z15

package isr

const mutant = 15
