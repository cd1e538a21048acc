package abuse

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxFailures is how many differing outcomes are worth telling.
const maxFailures = 20

// PlayAll plays every case of the sections (O: the ordinary ones) so many times, by so many workers, and goes on for at least so long. Slow
// cases are played all at once beside the others, a connection for each.
func (g *Ground) PlayAll(sections string, times, workers int, least time.Duration) error {
	var quick, slow []Case
	for _, c := range slices.Concat(Cases(g), Ordinary(g)) {
		if !strings.ContainsRune(sections, rune(c.Section)) {
			continue
		}
		if c.Cost == Slow {
			slow = append(slow, c)
		} else {
			quick = append(quick, c)
		}
	}
	f := &failures{}
	var all sync.WaitGroup
	all.Go(func() { g.spread(f, slow, times, times*len(slow)) })
	for began := time.Now(); ; {
		g.spread(f, quick, times, workers)
		if time.Since(began) >= least {
			break
		}
	}
	all.Wait()
	return f.err()
}

// failures collects what went wrong, up to a bound.
type failures struct {
	mu    sync.Mutex
	list  []error
	total int
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.total++; f.total <= maxFailures {
		f.list = append(f.list, err)
	}
}

func (f *failures) err() error {
	if f.total == 0 {
		return nil
	}
	return errors.Join(append(f.list, fmt.Errorf("%d outcomes in all are not the stated ones", f.total))...)
}

// spread plays cases round after round, by workers.
func (g *Ground) spread(f *failures, cases []Case, times, workers int) {
	next := make(chan Case)
	var all sync.WaitGroup
	for range workers {
		all.Add(1)
		go func() {
			defer all.Done()
			for c := range next {
				if err := g.Play(c); err != nil {
					f.add(err)
				}
			}
		}()
	}
	for range times {
		for _, c := range cases {
			next <- c
		}
	}
	close(next)
	all.Wait()
}
