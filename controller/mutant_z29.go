//go:build z29

package controller

const mutant = 29
