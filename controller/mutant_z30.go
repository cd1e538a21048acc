//go:build z30

package controller

const mutant = 30
