package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"cordwood/broker"
)

func devCommand(t *terminal) *cobra.Command {
	f := serverFlags{dataDir: "./cordwood-data", logLevel: "warn"}
	port := 9092
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a broker for development: data in ./cordwood-data, clients on port 9092",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			settings, err := f.settings()
			if err != nil {
				return withCode(exitConfig, err)
			}
			if _, set := settings["listeners"]; !set {
				settings["listeners"] = broker.Setting{Value: fmt.Sprintf("PLAINTEXT://:%d", port), File: "--port"}
			}
			cfg, err := broker.FromProperties(settings)
			if err != nil {
				return withCode(exitConfig, err)
			}
			return f.serve(t, cfg, func(a broker.Addrs) { fmt.Fprint(t.out, banner(cfg, a)) })
		},
	}
	cmd.Flags().IntVar(&port, "port", port, "port for clients")
	f.register(cmd)
	return cmd
}

// banner says what runs and what to do with it, in at most six lines.
func banner(cfg broker.Config, a broker.Addrs) string {
	mode := "page-cache mode: an acknowledged record may be lost with the power"
	if cfg.Topic.FlushBeforeAck {
		mode = "durable mode: an acknowledged record is on disk"
	}
	at, flag := clientAddress(a), ""
	if at != defaultBrokers {
		flag = " -b " + at
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Cordwood %s serves Kafka clients on %s; data in %s\n", broker.Version, at, strings.Join(cfg.LogDirs, ","))
	fmt.Fprintf(&b, "%s\n", mode)
	if a.HTTP != "" {
		fmt.Fprintf(&b, "metrics: http://%s/metrics   stop: Ctrl-C\n", a.HTTP)
	}
	fmt.Fprintf(&b, "  echo hello | cordwood produce greetings%s\n", flag)
	fmt.Fprintf(&b, "  cordwood consume greetings -n 1%s\n", flag)
	fmt.Fprintf(&b, "  cordwood topic list%s\n", flag)
	return b.String()
}

// clientAddress is where a client on this machine reaches the broker.
func clientAddress(a broker.Addrs) string {
	for _, addr := range a.Listeners {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			continue
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		return net.JoinHostPort(host, port)
	}
	return defaultBrokers
}
