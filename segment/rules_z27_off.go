//go:build !z27

package segment

// truncateAnywhere cuts the log at the first bad batch, wherever it lies: what rule Z27 forbids.
const truncateAnywhere = false
