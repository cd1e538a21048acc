// Package coordinator runs coordinator machines, one per led partition of an internal topic.
package coordinator
