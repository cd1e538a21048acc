//go:build !z6 && !z8 && !z10 && !z11 && !z12 && !z14 && !z15 && !z16 && !z32 && !z37

package isr

// mutant is 0: the rules hold. A build with one of the tags breaks the rule of that number of the bug zoo, so that
// it can be seen that the tests notice.
const mutant = 0
