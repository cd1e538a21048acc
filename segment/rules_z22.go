//go:build z22

package segment

const forgetProducers = true
