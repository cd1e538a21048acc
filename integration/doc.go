// Package integration tests what no room can test alone: the architecture as a whole (arch_test.go holds the floors of
// the house as data), the rules whose breach must be noticed (mutants.sh), and, in packages of their own, real
// processes, real clients, lost power, the judgement of histories, and measurements.
package integration
