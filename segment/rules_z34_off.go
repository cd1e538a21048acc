//go:build !z34

package segment

// skipDirSync does not make the names of new files durable: what rule Z34 forbids.
const skipDirSync = false
