//go:build z26

package segment

const retryFsync = true
