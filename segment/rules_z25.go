//go:build z25

package segment

const keepCleanFiles = true
