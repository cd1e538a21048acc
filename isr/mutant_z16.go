//go:build z16

package isr

const mutant = 16
