//go:build z6

package isr

const mutant = 6
