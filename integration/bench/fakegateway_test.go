package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"cordwood/gateway"
)

// serveGateway is the gateway itself behind the command line of Cordwood's: what the bench asks of it needs no more of the
// property file than lines of key=value.
func serveGateway(args []string) error {
	f := flag.NewFlagSet("gateway", flag.ExitOnError)
	file := f.String("c", "", "")
	portFile := f.String("port-file", "", "")
	_ = f.Parse(args) // ExitOnError
	text, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	settings := map[string]gateway.Setting{}
	for line := range strings.Lines(string(text)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		settings[k] = gateway.Setting{Value: v}
	}
	cfg, err := gateway.FromProperties(settings)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var written error
	cfg.Ready = func(a gateway.Addrs) {
		b, err := json.Marshal(a)
		if err == nil {
			err = os.WriteFile(*portFile, b, 0o600)
		}
		if written = err; err != nil {
			stop()
		}
	}
	g, err := gateway.Open(cfg)
	if err != nil {
		return err
	}
	return errors.Join(g.Run(ctx), written)
}
