// Command play plays bad inputs against a broker that runs.
//
//	play -addr 127.0.0.1:9092 -sections ABCDEIJ -times 1000 -workers 8
//
// It exits with 1 when an outcome is not the stated one. The broker must have the limits named by -max-frame and
// -max-fetch, and accept the creation of a few topics.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"cordwood/integration/abuse"
)

func main() {
	g := &abuse.Ground{}
	flag.StringVar(&g.Addr, "addr", "127.0.0.1:9092", "the broker")
	flag.StringVar(&g.Internal, "internal", "", "the active controller, for section H")
	flag.IntVar(&g.MaxFrame, "max-frame", 100<<20, "its socket.request.max.bytes")
	flag.IntVar(&g.MaxFetch, "max-fetch", 55<<20, "its fetch.max.bytes")
	sections := flag.String("sections", "ABCDEIJ", "what to play")
	times := flag.Int("times", 1, "how often")
	workers := flag.Int("workers", 4, "plays at once")
	least := flag.Duration("for", 0, "play again until so much time is over")
	flag.Parse()
	if err := run(g, *sections, *times, *workers, *least); err != nil {
		fmt.Fprintln(os.Stderr, "play:", err)
		os.Exit(1)
	}
}

func run(g *abuse.Ground, sections string, times, workers int, least time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := g.Prepare(ctx); err != nil {
		return err
	}
	return g.PlayAll(sections, times, workers, least)
}
