package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

const (
	pageSize   = 4096
	sectorSize = 512
)

type page [pageSize]byte

// extent is the bytes of a file; a nil page is all zeros, and what lies behind size is zero.
type extent struct {
	pages []*page
	size  int64
}

// contents is a file's bytes as a process sees them and as they are on disk.
//
// A page that is in both extents is never written again: whoever changes it copies it first. So a sync moves
// pointers only, and clones share all durable pages.
type contents struct {
	live, durable extent
	dirty         map[int]struct{} // pages that may differ
}

func pageCount(size int64) int { return int((size + pageSize - 1) / pageSize) }

// resize cuts or lengthens the list of pages. It does not clear the tail of the last one.
func (e *extent) resize(size int64) {
	n := pageCount(size)
	if n <= len(e.pages) {
		clear(e.pages[n:])
		e.pages = e.pages[:n]
	} else {
		e.pages = append(e.pages, make([]*page, n-len(e.pages))...)
	}
	e.size = size
}

func (e *extent) page(i int) *page {
	if i < len(e.pages) {
		return e.pages[i]
	}
	return nil
}

func (e *extent) read(p []byte, off int64) int {
	if off >= e.size {
		return 0
	}
	p = p[:min(int64(len(p)), e.size-off)]
	for done := 0; done < len(p); {
		at := int(off+int64(done)) % pageSize
		part := p[done:min(len(p), done+pageSize-at)]
		if pg := e.page(int((off + int64(done)) / pageSize)); pg != nil {
			copy(part, pg[at:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return len(p)
}

// writable returns a page of live that may be changed, and marks it dirty.
func (c *contents) writable(i int) *page {
	if c.dirty == nil {
		c.dirty = map[int]struct{}{}
	}
	c.dirty[i] = struct{}{}
	pg := c.live.pages[i]
	if pg == nil || pg == c.durable.page(i) {
		own := new(page)
		if pg != nil {
			*own = *pg
		}
		pg, c.live.pages[i] = own, own
	}
	return pg
}

func (c *contents) write(p []byte, off int64) {
	if end := off + int64(len(p)); end > c.live.size && len(p) > 0 {
		c.live.resize(end)
	}
	for done := 0; done < len(p); {
		pos := off + int64(done)
		done += copy(c.writable(int(pos / pageSize))[pos%pageSize:], p[done:])
	}
}

func (c *contents) truncate(size int64) {
	if c.dirty == nil {
		c.dirty = map[int]struct{}{}
	}
	for i := pageCount(size); i < len(c.live.pages); i++ {
		c.dirty[i] = struct{}{}
	}
	if size < c.live.size && size%pageSize != 0 {
		clear(c.writable(int(size / pageSize))[size%pageSize:])
	}
	c.live.resize(size)
}

func (c *contents) sync() {
	c.durable.resize(c.live.size)
	for i := range c.dirty {
		if i < len(c.live.pages) {
			c.durable.pages[i] = c.live.pages[i]
		}
	}
	clear(c.dirty)
}

func (c *contents) corrupt(off int64, bits byte) bool {
	if off < 0 || off >= c.live.size {
		return false
	}
	i := int(off / pageSize)
	for _, e := range []*extent{&c.live, &c.durable} {
		if i >= len(e.pages) {
			continue
		}
		own := new(page)
		if e.pages[i] != nil {
			*own = *e.pages[i]
		}
		own[off%pageSize] ^= bits
		e.pages[i] = own
	}
	if c.dirty == nil {
		c.dirty = map[int]struct{}{}
	}
	c.dirty[i] = struct{}{}
	return true
}

// luck says how much of what was not synced a power cut keeps. All and nothing get their share, because with many
// independent throws they would never come up.
type luck int

const (
	loseAll luck = iota
	keepAll
	keepSome
)

func throw(rng *rand.Rand) luck {
	if rng == nil {
		return loseAll
	}
	return [...]luck{loseAll, keepAll, keepSome, keepSome}[rng.IntN(4)]
}

// crash is what a power cut leaves of the file. A nil rng keeps nothing but what was synced.
func (c *contents) crash(rng *rand.Rand) contents {
	left := extent{pages: slices.Clone(c.durable.pages), size: c.durable.size}
	switch throw(rng) {
	case keepAll:
		left = c.live.copy(&c.durable)
	case keepSome:
		left.resize(max(c.live.size, c.durable.size))
		for _, i := range slices.Sorted(maps.Keys(c.dirty)) {
			if i < len(left.pages) {
				left.pages[i] = tear(rng, c.durable.page(i), c.live.page(i))
			}
		}
		left.cut(between(rng, c.durable.size, c.live.size))
	}
	return contents{live: left, durable: extent{pages: slices.Clone(left.pages), size: left.size}}
}

// tear is the old page, the new one, or a mix of their sectors.
func tear(rng *rand.Rand, before, after *page) *page {
	var mixed page
	kind := rng.IntN(3)
	for at := 0; at < pageSize; at += sectorSize {
		from := before
		if kind == 1 || kind == 2 && rng.IntN(2) == 1 {
			from = after
		}
		if from != nil {
			copy(mixed[at:at+sectorSize], from[at:])
		}
	}
	return &mixed
}

// between is one of two sizes or any in the middle.
func between(rng *rand.Rand, a, b int64) int64 {
	switch rng.IntN(3) {
	case 0:
		return a
	case 1:
		return b
	}
	return min(a, b) + rng.Int64N(max(a, b)-min(a, b)+1)
}

// cut shortens an extent and clears the tail of its last page.
func (e *extent) cut(size int64) {
	e.resize(size)
	if i := int(size / pageSize); size%pageSize != 0 && e.pages[i] != nil {
		own := *e.pages[i]
		clear(own[size%pageSize:])
		e.pages[i] = &own
	}
}

// copy makes an extent that shares only the pages that are also in durable.
func (e *extent) copy(durable *extent) extent {
	c := extent{pages: slices.Clone(e.pages), size: e.size}
	for i, pg := range c.pages {
		if pg != nil && pg != durable.page(i) {
			own := *pg
			c.pages[i] = &own
		}
	}
	return c
}

// clone is the file as a killed process leaves it: all of it, and as much of it unsynced as before.
func (c *contents) clone() contents {
	return contents{
		live:    c.live.copy(&c.durable),
		durable: extent{pages: slices.Clone(c.durable.pages), size: c.durable.size},
		dirty:   maps.Clone(c.dirty),
	}
}
