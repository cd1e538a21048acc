//go:build z34

package segment

const skipDirSync = true
