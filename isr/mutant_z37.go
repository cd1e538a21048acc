//go:build z37

package isr

const mutant = 37
