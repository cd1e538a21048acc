//go:build z12

package isr

const mutant = 12
