//go:build z32

package isr

const mutant = 32
