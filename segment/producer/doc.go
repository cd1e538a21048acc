// Package producer holds what one log knows about the producers that wrote it.
package producer
