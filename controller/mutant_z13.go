//go:build z13

package controller

const mutant = 13
