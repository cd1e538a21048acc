//go:build !z36

package broker

// mutant is 0: the rules hold. A build with one of the tags breaks the rule of that number of the bug zoo, so that
// it can be seen that the tests notice.
const mutant = 0
