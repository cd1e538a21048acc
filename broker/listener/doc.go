// Package listener accepts connections, cuts them into frames and sends the answers back in order.
package listener
