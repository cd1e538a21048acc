// Package controller keeps the cluster's metadata: one raft node, the decider that turns
// requests into facts while the node leads, and the feed that hands the facts on.
package controller
