//go:build z8

package isr

const mutant = 8
