// Package segment is one partition's log on disk, in Kafka's exact format.
package segment
