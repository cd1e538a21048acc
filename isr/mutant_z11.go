//go:build z11

package isr

const mutant = 11
