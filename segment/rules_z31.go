//go:build z31

package segment

const truncateToHint = true
