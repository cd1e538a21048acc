// Package protocol is the wire's face: which messages this broker serves, what
// a frame's header says, which bodies may be decoded, and the two hot codecs.
package protocol
