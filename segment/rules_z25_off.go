//go:build !z25

package segment

// keepCleanFiles leaves the clean-shutdown files in place while the logs are open: what rule Z25 forbids.
const keepCleanFiles = false
