//go:build !(z1 || z2 || z3 || z4 || z5 || z9 || z12 || z17 || z18 || z19 || z20 || z21 || z26 || z28 || z33 || z35 || z38)

package partition

// mutant is 0: the rules hold. A build with one of the tags breaks the rule of that number of the bug zoo, so that
// it can be seen that the tests notice.
const mutant = 0
