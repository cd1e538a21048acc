//go:build z27

package segment

const truncateAnywhere = true
