//go:build z14

package isr

const mutant = 14
