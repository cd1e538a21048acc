//go:build !z6 && !z7 && !z10 && !z13 && !z29 && !z35

package decide

// mutant is 0: the rules hold. A build with one of the tags breaks the rule of that number of the bug zoo, so that
// it can be seen that the tests notice.
const mutant = 0
