// Package zone says which nodes the names of a DNS zone stand for, given a metadata image.
//
//	metadata.Image ──At──┐
//	addresses of names ──┼──▶ Zone (immutable) ──Find(name, asker)──▶ Found{Near, Far}: nodes, their addresses and ports
//	active controller ───┘
//
//	(the zone itself)      name servers: every live broker
//	bootstrap              every live broker
//	controller             where the active controller is
//	p<N>.<label>           the leader of partition N of the topic of that label
//	b<id>                  one registered broker
//	<label>                nothing, but it exists: names below it do
//
// A broker is where its registration for one listener says, that of the node's own first client listener, as in Metadata
// on that listener; a broker without that listener is in no answer. What it advertises may be a name: the addresses of such
// names are handed in, nothing is looked up here. Names are relative to the zone and in lower case.
//
// Invariants
//
//	N1  A label stands for at most one topic. Two topics whose names differ only by case have neither the plain label; a
//	    name that looks like the label of an id is never a plain label. So nobody gains another topic's name by
//	    creating a topic.
//	N2  t-<topic id> stands for its topic whatever else there is.
//	N3  A name exists (NODATA) as soon as what it names does, whether or not that has a leader or an address: a name
//	    that does not exist would be remembered as such for everything below it.
//	N4  Each address is once in an answer (RFC 2181: a set of records has no duplicates).
//
// Cost: a lookup is a few map accesses, and for the names of several brokers a comparison with each live broker's address. At
// costs what differs between the images; the index of topics with upper-case letters is copied when one comes or goes.
//
// Goroutines and locks: none, the package is pure.
//
// Not here: messages and sockets (broker/nameserver), how names of hosts get addresses (its lookups).
package zone
